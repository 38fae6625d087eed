"""The records that travel between the rooms. Frozen, and free of heavy imports."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from qdrant_client.models import Filter

    FilterLike: TypeAlias = "Mapping[str, Any] | AllOf | AnyOf | NoneOf | IdIn | Filter"
    """A condition on metadata; see :mod:`t1_vectorstore.collection.filters`."""

    Vectors: TypeAlias = "npt.NDArray[np.float32]"
    """float32, shape ``(n, dimension)``, rows in the order of the texts, length 1 unless the checkpoint says no."""
    Vector: TypeAlias = "npt.NDArray[np.float32]"
    """float32, shape ``(dimension,)``."""
else:  # numpy and qdrant_client are slow to import and only needed for type checking here
    Vectors = Vector = FilterLike = Any

Role: TypeAlias = Literal["query", "document"]
"""Which of T1's two asymmetric paths a text takes."""

BackendName: TypeAlias = Literal["transformers", "vllm", "remote"]
"""What runs the model: torch in this process, vLLM in this process, or two vLLM servers."""

Truncation: TypeAlias = Literal["raise", "warn", "allow"]
"""What happens to a text longer than the checkpoint's limit. Whatever the policy, the result says what was cut."""

Fusion: TypeAlias = Literal["rrf", "dbsf"]
"""How two rankings become one: by the ranks (reciprocal rank fusion), or by the distribution of the scores."""

IndexKind: TypeAlias = Literal["keyword", "integer", "float", "bool", "datetime", "text"]
"""What an index takes a metadata field for."""

_FLOAT = re.compile(r"\d[.e]")
_EXACT_DIGITS, _EXACT_POWER = 2**53, 22  # within both, one correctly rounded operation gives the nearest float
_LARGEST_POWER = 308

StopReason: TypeAlias = Literal["emb_token", "end_token", "budget", "deadline", "given"]
"""Why a thought ended: the model closed it with its emb token, ended its turn without one, or met a limit; or it is not
the model's own, but was given."""

OnTokens: TypeAlias = Callable[[int, Sequence[int]], None]
"""Called with the index of a thought in the call, and the tokens by which it has grown."""


@dataclass(frozen=True, slots=True)
class AllOf:
    """All of several filters hold; with none of them, nothing is restricted."""

    filters: Sequence[FilterLike | None]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of several filters holds; with none of them, nothing matches."""

    filters: Sequence[FilterLike | None]


@dataclass(frozen=True, slots=True)
class NoneOf:
    """Not one of several filters holds."""

    filters: Sequence[FilterLike | None]


@dataclass(frozen=True, slots=True)
class IdIn:
    """The point is one of these, by the ids that its user gave."""

    ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Document:
    """One text of a corpus.

    Attributes:
        text: what is embedded and returned.
        id: any string; ``None`` means the hash of the text.
        metadata: JSON-compatible values, filterable in the store.
    """

    text: str
    id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document, the unit that is embedded and stored.

    Attributes:
        id: stable and unique in a collection; equal to ``document_id`` when the document is a single chunk.
        document_id: the document it was cut from.
        text: exactly ``document.text[start:end]``.
        start: offset of the first character in the document.
        end: offset after the last character.
        index: position among the document's chunks, from 0.
        metadata: the document's.
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
        """SHA-256 (hex) of text, metadata and, beyond a document's beginning, of where in it the text stands.

        Unchanged means that encoding and writing again would change nothing. What is read back has the hash of what was
        written, though engines do not keep every float: see ``floats.py``.
        """
        metadata = json.dumps(dict(self.metadata), sort_keys=True, allow_nan=False)
        if _FLOAT.search(metadata):
            metadata = json.dumps(
                json.loads(metadata, parse_float=lambda text: json_roundtrip(float(text))), sort_keys=True
            )
        place = f", {self.start}" if self.start else ""
        return hashlib.sha256(f"[{json.dumps(self.text)}, {metadata}{place}]".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Point:
    """A chunk and its vector, as a store takes them."""

    chunk: Chunk
    vector: Vector


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Whose vectors a collection holds.

    Attributes:
        model: the checkpoint's name, for people.
        fingerprint: changes whenever the checkpoint's vectors would.
        dimension: length of a vector.
    """

    model: str
    fingerprint: str
    dimension: int


@dataclass(frozen=True, slots=True)
class Truncated:
    """A text that did not fit: its position in the call, and how many of its tokens were left out of how many."""

    index: int
    dropped_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class DocumentEmbeddings:
    """What the document path returns.

    Attributes:
        vectors: float32 ``(n, dimension)``, in the order of the texts.
        tokens: prompt tokens that were prefilled, over all texts.
        seconds: wall time of tokenising and encoding.
        truncated: the texts that were cut, in order.
    """

    vectors: Vectors
    tokens: int
    seconds: float
    truncated: Sequence[Truncated] = ()


@dataclass(frozen=True, slots=True)
class Trajectory:
    """What a backend's ``think`` returns for one prompt, in the model's own terms.

    Attributes:
        ids: the generated tokens, the closing token not among them.
        stop: why generation ended.
        state: float32 ``(hidden,)``, the hidden state at the emb token that closes prompt and thought.
        closing: the token that the model closed its thought with; ``None`` where it was cut, or the backend does not
            tell.
    """

    ids: Sequence[int]
    stop: StopReason
    state: Vector
    closing: int | None = None


@dataclass(frozen=True, slots=True)
class Thought:
    """A reasoning trajectory and how it ended.

    Attributes:
        text: the trajectory, without the closing token.
        tokens: how many tokens were generated for it, the closing token not counted.
        stop: why it ended; ``budget`` and ``deadline`` mean that it was cut.
    """

    text: str
    tokens: int
    stop: StopReason

    @property
    def cut(self) -> bool:
        """Whether the thought was ended by a limit rather than by the model."""
        return self.stop in ("budget", "deadline")


@dataclass(frozen=True, slots=True)
class QueryEmbedding:
    """What the query path returns for one query.

    Attributes:
        query: the text that was asked.
        vector: float32 ``(dimension,)``.
        thoughts: the reasoning behind the vector; empty when thinking was off.
        seconds: wall time of the call that made it, shared by all queries of a batch.
        truncated: set when the query did not fit.
    """

    query: str
    vector: Vector
    thoughts: Sequence[Thought]
    seconds: float
    truncated: Truncated | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result.

    Attributes:
        id: the chunk's id, as the user gave it.
        score: cosine similarity to the query's vector, higher is closer. That is what it is and what a threshold is
            compared with on every path; where terms or diversity decide the order, it does not fall from hit to hit.
        text: the stored text.
        metadata: the stored metadata.
        document_id: the document the chunk was cut from.
        start: character offset of the chunk in its document.
        end: character offset after the chunk.
    """

    id: str
    score: float
    text: str
    metadata: Mapping[str, Any]
    document_id: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Indexing:
    """What a server's optimizer is doing.

    Attributes:
        status: ``green`` all is done; ``yellow`` it is at work; ``grey`` work is waiting for the next change; ``red``
            it has failed.
        indexed: vectors in the graph. Small segments are searched without one, so this may stay below ``points``.
        points: how many there are, about.
        deferred: a bulk load is under way, or was cut off: nothing is indexed until indexing is restored.
        error: the optimizer's own words, when it has failed.
    """

    status: Literal["green", "yellow", "grey", "red"]
    indexed: int
    points: int
    deferred: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """How documents were cut, so that a rerun and a verification need not be told, and whether the load ended.

    Attributes:
        chunk_size: characters of a chunk at most.
        overlap: characters that a chunk repeats of the one before.
        began: when, ISO 8601 in UTC; to the microsecond, and so the load's name, too.
        finished: false while it is under way, and after it was cut off. What it could not store is not told here.
    """

    chunk_size: int
    overlap: int
    began: str
    finished: bool

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: object) -> LoadRecord | None:
        """Read what ``to_json`` wrote; ``None`` for anything else, since nothing depends on it that cannot be said."""
        if not isinstance(record, Mapping):
            return None
        try:
            size, overlap = int(record["chunk_size"]), int(record["overlap"])
            return cls(size, overlap, str(record["began"]), bool(record["finished"]))
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What a collection is and how large.

    Attributes:
        name: the collection's name.
        engine: what keeps it: ``embedded``, ``memory`` or ``server``.
        location: where it is, as it was opened.
        identity: the model whose vectors it holds.
        points: how many points there are.
        disk_bytes: bytes used on disk, where known.
        indexing: what a server's optimizer is doing; the other engines have none.
        load: what is remembered of the latest load, if one was noted.
    """

    name: str
    engine: Literal["embedded", "memory", "server"]
    location: str
    identity: ModelIdentity
    points: int
    disk_bytes: int | None
    indexing: Indexing | None = None
    load: LoadRecord | None = None


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of wall time: thinking and embedding the query, searching, and all of it."""

    embed: float
    search: float

    @property
    def total(self) -> float:
        """Embedding and searching together."""
        return self.embed + self.search


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer to one query: it remembers the question, the thoughts and what they cost."""

    query: str
    hits: Sequence[Hit]
    thoughts: Sequence[Thought]
    timings: Timings
    truncated: Truncated | None = None


def json_roundtrip(number: float) -> float:
    """The value of a finite float after any number of round trips through Qdrant's JSON.

    Qdrant, embedded or as a server, parses JSON numbers with serde_json's fast algorithm, which can miss the nearest
    float by one unit in the last place: 116.32650514309171 is read back as 116.3265051430917. A hash that must be equal
    before and after storage is computed from the value that repeated round trips converge to. Where they cycle between
    values, this is the smallest of the cycle.
    """
    path = [number]
    while (read := _read_back(path[-1])) not in path:
        path.append(read)
    return min(path[path.index(read) :])


def _read_back(number: float) -> float:
    """The float that serde_json 1.0 (without ``float_roundtrip``) parses from ``repr(number)``; its ``f64_from_parts``."""
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
