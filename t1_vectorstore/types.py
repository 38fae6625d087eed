"""Public data classes: frozen, and free of heavy imports."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from t1_vectorstore.metadata import short_repr, to_json

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from qdrant_client.models import Filter

    FilterLike: TypeAlias = "Mapping[str, Any] | AllOf | AnyOf | NoneOf | IdIn | DocumentIn | Filter"
    """Condition on the metadata; see ``t1_vectorstore.collection.filters``."""

    Vectors: TypeAlias = "npt.NDArray[np.float32]"
    """float32, shape ``(n, dimension)``: one row for each text, in order, of length 1 if the checkpoint normalises."""
    Vector: TypeAlias = "npt.NDArray[np.float32]"
    """float32, shape ``(dimension,)``."""
else:  # numpy and qdrant_client are slow to import and only needed for type checking here
    Vectors = Vector = FilterLike = Any

Role: TypeAlias = Literal["query", "document"]
"""Which of T1's two paths a text takes."""

BackendName: TypeAlias = Literal["transformers", "llama-cpp", "vllm", "remote", "service"]
"""What runs the model: torch, llama.cpp or vLLM in this process, two vLLM servers, or a T1 service."""

Truncation: TypeAlias = Literal["raise", "warn", "allow"]
"""What to do with a text longer than the checkpoint's limit. Results list the truncated texts under each policy."""

Fusion: TypeAlias = Literal["rrf", "dbsf"]
"""How two rankings are combined: by ranks (reciprocal rank fusion), or by the distribution of the scores."""

Combination: TypeAlias = Literal["mean", "rrf"]
"""How several thoughts become one ranking: by the mean of their vectors, or by one ranking each, which are fused."""

IndexKind: TypeAlias = Literal["keyword", "integer", "float", "bool", "datetime", "text"]
"""Type of an indexed metadata field."""

StopReason: TypeAlias = Literal["emb_token", "end_token", "budget", "deadline", "given"]
"""Why a thought ended: the model generated its emb token or another end token, a limit was reached, or the caller gave
the thought."""

OnTokens: TypeAlias = Callable[[int, Sequence[int]], None]
"""Called with the index of a thought in the call, and its new tokens."""

_FLOAT = re.compile(r"\d[.e]")


@dataclass(frozen=True, slots=True)
class AllOf:
    """Matches if all filters match; without filters, everything does."""

    filters: Sequence[FilterLike | None]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Matches if at least one filter matches; without filters, nothing does."""

    filters: Sequence[FilterLike | None]


@dataclass(frozen=True, slots=True)
class NoneOf:
    """Matches if no filter matches."""

    filters: Sequence[FilterLike | None]


@dataclass(frozen=True, slots=True)
class IdIn:
    """Matches points by id."""

    ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class DocumentIn:
    """Matches all chunks of documents, by the documents' ids."""

    ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Document:
    """One text of a corpus.

    Attributes:
        text: The text, which is embedded and returned.
        id: Any string; ``None`` stands for the hash of the text.
        metadata: JSON values, by which searches can filter. Dates, UUIDs, paths, sets, enums, decimals and NumPy's
            values are converted: see ``t1_vectorstore.metadata``.
    """

    text: str
    id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a document: the unit that is embedded and stored.

    Attributes:
        id: Stable and unique in a collection; equal to ``document_id`` if the document is a single chunk.
        document_id: Id of the document.
        text: Exactly ``document.text[start:end]``.
        start: Offset of the first character in the document.
        end: Offset after the last character.
        index: Position among the document's chunks, from 0.
        metadata: The document's metadata.
    """

    id: str
    document_id: str
    text: str
    start: int
    end: int
    index: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) of the text, the metadata and, unless it is 0, the offset in the document.

        If it is unchanged, encoding and writing the chunk again would change nothing. A stored chunk has the same hash
        as before, although Qdrant changes some floats (see ``json_roundtrip``), and other types are stored as JSON.

        Raises:
            TypeError: Metadata of a type that is not converted to JSON.
            ValueError: Metadata with a value that JSON does not have.
        """
        try:
            metadata = json.dumps(dict(self.metadata), sort_keys=True, allow_nan=False)
        except (TypeError, ValueError, RecursionError):  # not JSON as it is
            converted = to_json(self.metadata, f"the chunk {short_repr(self.id)}")
            metadata = json.dumps(converted, sort_keys=True, allow_nan=False)
        if _FLOAT.search(metadata):
            metadata = json.dumps(
                json.loads(metadata, parse_float=lambda text: json_roundtrip(float(text))), sort_keys=True
            )
        place = f", {self.start}" if self.start else ""
        return hashlib.sha256(f"[{json.dumps(self.text)}, {metadata}{place}]".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Point:
    """A chunk and its vector."""

    chunk: Chunk
    vector: Vector


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """The model whose vectors a collection holds.

    Attributes:
        model: Name of the checkpoint, for people.
        fingerprint: Hash that changes whenever the checkpoint's document vectors would.
        dimension: Length of a vector.
    """

    model: str
    fingerprint: str
    dimension: int


@dataclass(frozen=True, slots=True)
class Truncated:
    """A text that was longer than the limit.

    Attributes:
        index: Position of the text in the call.
        dropped_tokens: Number of tokens that were left out at its end.
        total_tokens: Number of tokens of the whole text.
    """

    index: int
    dropped_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class DocumentEmbeddings:
    """The vectors of documents.

    Attributes:
        vectors: float32 ``(n, dimension)``, in the order of the texts.
        tokens: Number of prompt tokens of all texts.
        seconds: Wall time of tokenising and encoding.
        truncated: The truncated texts, in order.
    """

    vectors: Vectors
    tokens: int
    seconds: float
    truncated: Sequence[Truncated] = ()


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One thought in tokens, as a backend generates it.

    Attributes:
        ids: The generated tokens, without the closing token.
        stop: Why generation ended.
        state: float32 ``(hidden,)``, the hidden state at the emb token after prompt and thought.
        closing: The token with which the model closed the thought; ``None`` if a limit ended it, or if the backend does
            not report it.
    """

    ids: Sequence[int]
    stop: StopReason
    state: Vector
    closing: int | None = None


@dataclass(frozen=True, slots=True)
class Thought:
    """A thought about a query, and how it ended.

    Attributes:
        text: The thought, without the closing token.
        tokens: Number of its tokens, without the closing token.
        stop: Why it ended.
    """

    text: str
    tokens: int
    stop: StopReason

    @property
    def cut(self) -> bool:
        """Whether a limit ended the thought, and not the model."""
        return self.stop in ("budget", "deadline")


@dataclass(frozen=True, slots=True)
class QueryEmbedding:
    """The vector of a query, and the thoughts behind it.

    Attributes:
        query: The query.
        vector: float32 ``(dimension,)``.
        thoughts: The thoughts behind the vector; empty without thinking.
        seconds: Wall time of the call, shared by all queries of a batch.
        truncated: Set if the query was longer than the limit.
        cached: Whether thoughts and vector are those of an earlier call, so that the model was not run.
        thought_vectors: float32 ``(thoughts, dimension)``: the vector of each thought. ``vector`` is their normalised
            mean. ``None`` without thoughts.
    """

    query: str
    vector: Vector
    thoughts: Sequence[Thought]
    seconds: float
    truncated: Truncated | None = None
    cached: bool = False
    thought_vectors: Vectors | None = None


@dataclass(frozen=True, slots=True)
class SentenceEffect:
    """What one sentence of the query or of its thought adds to the score of a hit.

    Attributes:
        source: Which text the sentence is in.
        text: The sentence.
        start: Offset of its first character in that text.
        end: Offset after its last character.
        effect: The score of the hit minus its score when this sentence is left out: positive if the sentence pulls the
            hit up.
        thought: Position of the sentence's thought among the thoughts of the result; ``None`` for the query.
    """

    source: Literal["query", "thought"]
    text: str
    start: int
    end: int
    effect: float
    thought: int | None = None


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a passage, embedded as a document of its own.

    Attributes:
        text: The sentence.
        start: Offset of its first character in the text of the hit.
        end: Offset after its last character.
        score: Cosine similarity to the query's vector.
    """

    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a search found a hit; see ``SearchOptions.explain``.

    Attributes:
        score_without_thinking: The score of the hit for the query's vector without a thought.
        rank_without_thinking: The rank of the hit, from 1, in the same search without a thought and without a score
            threshold; ``None`` if it is not among the first ``candidates``.
        sentences: The effect of each sentence of the query and the thoughts, in the order of the text. A query of one
            sentence has none.
        passage: The sentence of the hit that is closest to the query; ``None`` if the hit is a single sentence.
    """

    score_without_thinking: float
    rank_without_thinking: int | None
    sentences: Sequence[SentenceEffect]
    passage: Sentence | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, for metadata and messages."""
        return {**asdict(self), "sentences": [asdict(sentence) for sentence in self.sentences]}


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result.

    Attributes:
        id: Id of the chunk.
        score: Cosine similarity to the query's vector; higher is closer. It is so in every kind of search, and a
            threshold applies to it. If words or diversity decide the order, it does not fall from hit to hit.
        text: The stored text.
        metadata: The stored metadata.
        document_id: Id of the chunk's document.
        start: Character offset of the chunk in its document.
        end: Character offset after the chunk.
        explanation: Why it was found, if the search was asked to explain its hits.
    """

    id: str
    score: float
    text: str
    metadata: Mapping[str, Any]
    document_id: str
    start: int
    end: int
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True)
class Indexing:
    """State of a server's optimizer.

    Attributes:
        status: ``green``: finished; ``yellow``: running; ``grey``: waiting for the next change; ``red``: failed.
        indexed: Number of vectors in the graph. Small segments are searched without a graph, so this may stay below
            ``points``.
        points: Approximate number of points.
        deferred: Whether indexing is deferred, because a bulk load is running or was interrupted.
        error: The optimizer's message if it failed.
    """

    status: Literal["green", "yellow", "grey", "red"]
    indexed: int
    points: int
    deferred: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """Record of a load: how it cut documents, which reruns and verifications need, and whether it finished.

    Attributes:
        chunk_size: Maximum length of a chunk in characters.
        overlap: Number of characters that a chunk repeats from the one before.
        began: Start time, ISO 8601 in UTC. With its microseconds it also identifies the load.
        finished: Whether the load ran to its end. Single documents may have failed nevertheless.
    """

    chunk_size: int
    overlap: int
    began: str
    finished: bool

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: object) -> LoadRecord | None:
        """Read the output of ``to_json``; return ``None`` for anything else, since the record is not essential."""
        if not isinstance(record, Mapping):
            return None
        try:
            size, overlap = int(record["chunk_size"]), int(record["overlap"])
            return cls(size, overlap, str(record["began"]), bool(record["finished"]))
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class Calibration:
    """From what score on ``think="auto"`` thinks about a query, and what that was fitted on.

    Attributes:
        threshold: The score, in [0, 1]; see ``t1_vectorstore.searching.deciding``.
        queries: Number of queries.
        labelled: Whether they had relevance judgements.
        quality: Measured quality, as a share of that of always thinking.
        tokens: Measured thought tokens, as a share of those of always thinking.
        fitted: Time, ISO 8601 in UTC.
    """

    threshold: float
    queries: int
    labelled: bool
    quality: float
    tokens: float
    fitted: str

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: object) -> Calibration | None:
        """Read the output of ``to_json``; return ``None`` for anything else, for which the default is used."""
        if not isinstance(record, Mapping):
            return None
        try:
            threshold, quality, tokens = (float(record[name]) for name in ("threshold", "quality", "tokens"))
            if not 0 <= threshold <= 1:
                return None
            queries, labelled = int(record["queries"]), bool(record["labelled"])
            return cls(threshold, queries, labelled, quality, tokens, str(record["fitted"]))
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """Description of a collection.

    Attributes:
        name: Name of the collection.
        engine: What stores it: ``embedded``, ``memory``, ``server`` (Qdrant) or ``service`` (``t1 serve``).
        location: Where it is, as it was opened.
        identity: The model whose vectors it holds.
        points: Number of points.
        disk_bytes: Bytes used on disk, if known.
        indexing: State of a server's optimizer; the other engines have none.
        load: Record of the latest load, if there is one.
        previous_build: Whether the build before the last reindex is kept, to which ``t1 reindex --rollback`` goes back.
        calibration: When ``think="auto"`` thinks; ``None`` if that was not calibrated, and the default applies.
    """

    name: str
    engine: Literal["embedded", "memory", "server", "service"]
    location: str
    identity: ModelIdentity
    points: int
    disk_bytes: int | None
    indexing: Indexing | None = None
    load: LoadRecord | None = None
    previous_build: bool = False
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True)
class Timings:
    """Wall time in seconds of embedding the query, with its thought, and of searching and explaining hits."""

    embed: float
    search: float

    @property
    def total(self) -> float:
        """Sum of both."""
        return self.embed + self.search


@dataclass(frozen=True, slots=True)
class ThinkDecision:
    """Why a search with ``think="auto"`` did or did not think.

    Attributes:
        thought: Whether a thought was generated.
        score: How unsure the ranking without a thought is, in [0, 1].
        threshold: Score from which a thought is generated.
        reason: The reason in words, with the figures behind the score.
    """

    thought: bool
    score: float
    threshold: float
    reason: str


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The hits of one query, with its thoughts and timings.

    Attributes:
        query: The query.
        hits: The hits, best first.
        thoughts: The thoughts behind the query's vector; empty without thinking.
        timings: Wall time of embedding and searching.
        truncated: Set if the query was longer than the limit.
        cached: Whether the thoughts and the vector are those of an earlier call, so that the model was not run.
        decision: Set if ``think="auto"`` decided whether to think.
    """

    query: str
    hits: Sequence[Hit]
    thoughts: Sequence[Thought]
    timings: Timings
    truncated: Truncated | None = None
    cached: bool = False
    decision: ThinkDecision | None = None


def json_roundtrip(number: float) -> float:
    """Return the value to which repeated round trips through Qdrant's JSON converge.

    Qdrant, embedded or as a server, parses JSON numbers with serde_json's fast algorithm, which can miss the nearest
    float by one unit in the last place: 116.32650514309171 is read back as 116.3265051430917. A hash that must be equal
    before and after storage is computed from the value that repeated round trips converge to. If they cycle between
    values, it is the smallest of the cycle.

    Args:
        number: A finite float.
    """
    path = [number]
    while (read := _serde_parse(path[-1])) not in path:
        path.append(read)
    return min(path[path.index(read) :])


_EXACT_DIGITS, _EXACT_POWER = 2**53, 22  # within both, one correctly rounded operation gives the nearest float
_LARGEST_POWER = 308


def _serde_parse(number: float) -> float:
    """Parse ``repr(number)`` as serde_json 1.0 does without ``float_roundtrip``, in its ``f64_from_parts``."""
    sign, digits, power = Decimal(repr(number)).as_tuple()
    whole = int("".join(map(str, digits)))
    if not isinstance(power, int) or (whole <= _EXACT_DIGITS and abs(power) <= _EXACT_POWER):
        return number
    value = float(whole)
    while power < -_LARGEST_POWER:
        value /= 1e308
        power += _LARGEST_POWER
    value = value * float(f"1e{power}") if power >= 0 else value / float(f"1e{-power}")
    return -value if sign else value


class SparseEncoder(Protocol):
    """Encodes texts as sparse vectors, objects with ``indices`` and ``values``; langchain-qdrant's classes are such."""

    def embed_documents(self, texts: list[str]) -> Sequence[Any]:
        """Return a sparse vector for each stored text."""
        ...

    def embed_query(self, text: str) -> Any:  # noqa: ANN401
        """Return the sparse vector to search for."""
        ...
