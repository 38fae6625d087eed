"""The options of the public API. Each option is declared here, once, with its type, default and limits.

    ModelOptions         which model is loaded, and how it runs
    ThinkingOptions      how a query is thought about
    SearchOptions        what a search returns; includes the thinking options
    CollectionOptions    how a collection is opened or created
    Storage              how a collection stores its points

A function that takes such options is decorated with ``takes_options``: callers pass them as keyword arguments, and the
function receives one validated, frozen object. The adapters for LangChain and LlamaIndex inherit the fields.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Field, model_validator
from pydantic.functional_validators import AfterValidator, BeforeValidator, SkipValidation
from typing_extensions import Self

from t1_vectorstore.keyword_options import Flag, Integer, Number, Options, Secret, Text, Texts, as_mapping, set_options
from t1_vectorstore.model_names import DEFAULT_MODEL, backend_of, names_gguf, names_service
from t1_vectorstore.types import BackendName, Combination, FilterLike, Fusion, IndexKind, SparseEncoder, Truncation

MAX_CANDIDATES = 16_384
"""Largest number of candidates of a diverse search; Qdrant servers refuse more."""
_MIN_CANDIDATES = 50
MAX_REFINE_STEPS = 64
"""Largest number of refine steps. Each step costs as much as one generated token."""
_ENCODER_METHODS = ("embed_documents", "embed_query")
MAX_COUNT = 2**31 - 1
"""Largest number of hits, and of hits to skip."""

Aggregation: TypeAlias = Literal["mean", "last"]
"""How the hidden states of a refinement become one vector: their mean, or the state of the last step."""

Quantization: TypeAlias = Literal["int8", "binary"]
"""Compressed copies of the vectors, of a quarter (int8) or a thirty-second (binary) of the size."""

Dtype: TypeAlias = Literal["auto", "float32", "bfloat16", "float16"]
"""Number type of the weights. ``auto`` chooses bfloat16 where the device computes in it, else float32."""


def _check_encoder(value: object) -> object:
    if value in (None, "bm25") or all(callable(getattr(value, name, None)) for name in _ENCODER_METHODS):
        return value
    raise ValueError(f"sparse_encoder must be 'bm25', or have the methods {' and '.join(_ENCODER_METHODS)}: {value!r}")


if TYPE_CHECKING:
    Encoder: TypeAlias = SparseEncoder | Literal["bm25"]
else:
    Encoder = Annotated[Any, AfterValidator(_check_encoder)]


class LoadingOptions(Options):
    """How a model is loaded and run, whichever model it is."""

    preset: str | None = None
    """Hub id whose preset describes a checkpoint folder without a ``t1_config.json``."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    token: Secret | None = Field(default=None, exclude=True)
    """Access token of the hub, or API key of a T1 service. Default: the one that the hub's own client finds, such as
    ``HF_TOKEN``; for a service the environment variable ``T1_API_KEY``."""
    base: Path | None = None
    """GGUF file of the base model, for a model that is an adapter, such as ``t1-small``. Default: that of the installed
    Python package, else that in the hub's cache."""
    overrides: dict[str, Any] | None = None
    """Fields of the checkpoint's specification to change, such as ``{"truncate_dim": 256}``."""
    device: str = "auto"
    """Device name as in torch. ``auto`` chooses a GPU if there is one, else the CPU."""
    devices: list[str] | None = None
    """Several devices that share the documents, such as ``["cuda:0", "cuda:1"]``, instead of ``device``. Queries run on
    the first one; each other one gets its own process."""
    dtype: Dtype = "auto"
    """Number type of the weights: ``auto``, ``float32``, ``bfloat16`` or ``float16``."""
    batch_tokens: Integer | None = Field(default=None, ge=1)
    """Maximum number of tokens in a forward pass; fewer need less memory. Default: chosen by the type of device."""
    threads: Integer | None = Field(default=None, ge=1)
    """Number of CPU threads used for inference. Default: one for a small model, else the backend's own number."""
    truncation: Truncation = "warn"
    """What to do with a text longer than the model's limit: ``raise``, ``warn`` or ``allow``."""
    remote_code: Flag = False
    """Run Python code that comes with the checkpoint. It can do anything, so it is off by default."""
    backend: BackendName = "transformers"
    """What runs the model. ``transformers``: the local backend, with this package's decoder where that supports the
    model, else with transformers. ``llama-cpp``: llama.cpp in this process, the default for GGUF files. ``vllm``: vLLM
    in this process. ``remote``: servers of vLLM or llama.cpp. ``service``: a T1 service, the default for a URL."""
    cache: Path | None = None
    """Folder in which thoughts and vectors of queries are kept, so that the model is not run twice for a query. It has
    the texts of thoughts; a new one is readable only by its owner. Default: none. See
    ``t1_vectorstore.embedding.cache``."""
    cache_size: Integer = Field(default=256 * 2**20, ge=2**20)
    """Maximum size of that folder in bytes; the entries that were used least recently are deleted."""
    lazy: Flag = False
    """Load the weights at the first call that needs them, and raise errors in them then. With a cache, a query that was
    asked before needs none."""
    engine_options: dict[str, Any] | None = Field(default=None, exclude=True, repr=False)
    """Options of the backend's engine. For ``llama-cpp``: the fields of ``EngineOptions``. For ``vllm``: engine
    arguments, such as ``{"tensor_parallel_size": 2}``. For ``remote``: the fields of ``Servers``."""

    @model_validator(mode="before")
    @classmethod
    def _choose_backend(cls, given: Any) -> Any:  # noqa: ANN401 - not checked yet
        """Choose llama.cpp for a GGUF file, and a service for a URL. The field of the model's name is a subclass's."""
        names = (given.get("model", ""), given.get("model_name", "")) if isinstance(given, dict) else ()
        if "backend" not in given and (chosen := [name for model in names if (name := backend_of(model))]):
            return {**given, "backend": chosen[0]}
        return given

    @model_validator(mode="after")
    def _check_backend(self) -> Self:
        """Refuse options that the chosen backend does not have."""
        if self.devices is not None:
            if self.device != "auto":
                raise ValueError(f"device={self.device!r} and devices={self.devices!r}: give one of them")
            if not self.devices or "auto" in self.devices:
                raise ValueError(f"devices must name each device, such as ['cuda:0', 'cuda:1'], got {self.devices!r}")
        if self.backend == "transformers":
            # Before the model is named, this may be a default that a GGUF file changes.
            if self.engine_options and {"backend", "model", "model_name"} & self.model_fields_set:
                names = sorted(self.engine_options)  # not their values, which may be secret
                raise ValueError(f"engine_options {names} are for the backends 'llama-cpp', 'vllm' and 'remote'")
        elif self.backend == "llama-cpp":
            if self.dtype != "auto":
                raise ValueError(f"dtype={self.dtype!r}, but a GGUF file has the number types of its weights")
            for name in ("device", "devices"):
                if (value := getattr(self, name)) not in (None, "auto"):
                    raise ValueError(
                        f"{name}={value!r} is for backend='transformers'; 'llama-cpp' has engine_options n_gpu_layers "
                        "and main_gpu"
                    )
        elif self.backend == "service":
            for name in ("device", "devices", "batch_tokens", "threads", "dtype", "engine_options", "revision", "base"):
                if (value := getattr(self, name)) not in (None, "auto"):
                    raise ValueError(f"{name}={value!r} is chosen where the service is started, not by its clients")
        elif self.backend in ("vllm", "remote"):
            for name in ("device", "devices", "batch_tokens", "threads"):
                if (value := getattr(self, name)) not in (None, "auto"):
                    raise ValueError(
                        f"{name}={value!r} is for backend='transformers'; {self.backend!r} has engine_options"
                    )
            if self.backend == "remote" and self.dtype != "auto":
                raise ValueError(
                    f"dtype={self.dtype!r} is chosen where the servers are started, not by backend='remote'"
                )
        return self

    @property
    def known_fingerprint(self) -> str | None:
        """The checkpoint's fingerprint, if the options state it: a remote model's weights are not on this machine."""
        return (self.engine_options or {}).get("fingerprint") if self.backend == "remote" else None


class ModelOptions(LoadingOptions):
    """Which model is loaded, and how it runs."""

    model: str | Path = DEFAULT_MODEL
    """``t1-mini`` (bundled), ``t1-small``, a checkpoint folder, a hub id such as ``ForwardAILabs/MRE-T1``, a ``.gguf``
    file, or one on the hub: ``owner/name:file.gguf``. Or the URL of a T1 service (``t1 serve``), followed by ``#`` and
    the model's name if the service has several."""

    @model_validator(mode="after")
    def _check_file(self) -> Self:
        """Refuse a GGUF file for other backends, and other checkpoints for llama.cpp."""
        if names_service(self.model) != (self.backend == "service"):
            named = f"model={str(self.model)!r} and backend={self.backend!r} do not fit"
            raise ValueError(f"{named}: backend='service' is for the URL of a T1 service, and for nothing else")
        is_gguf = names_gguf(self.model)
        if is_gguf and self.backend in ("transformers", "vllm"):
            raise ValueError(f"model={str(self.model)!r} is a GGUF file, and backend={self.backend!r} does not read it")
        if not is_gguf and self.backend == "llama-cpp":
            named = f"model={str(self.model)!r} is not a GGUF file, and backend='llama-cpp' reads only those"
            raise ValueError(f"{named}: write one with `t1 export gguf MODEL OUT`")
        return self

    def with_model(self, model: str | Path) -> ModelOptions:
        """Return the same options for another model. Its backend is chosen by its name, unless it was given.

        Raises:
            ValueError: The model's backend does not accept an option.
        """
        given = set_options(self, ModelOptions) | {"model": model}
        if names_gguf(self.model) and self.backend == "llama-cpp":  # what is chosen without being given
            del given["backend"]
        return ModelOptions(**given)


class ThinkingOptions(Options):
    """How a query is thought about. ``None`` leaves an option to the next level: retriever, model, checkpoint."""

    think: Flag | Literal["auto"] | None = None
    """Whether to generate a thought. Default: whether the checkpoint was trained to. ``auto``: a search first ranks
    without a thought, and thinks only if that ranking is unsure; see ``t1_vectorstore.searching.deciding``."""
    think_threshold: Number | None = Field(default=None, ge=0, le=1)
    """For ``think="auto"``: how unsure the ranking must be for a thought, from 0 (always think) to 1 (never). Default:
    what ``t1 calibrate`` has saved with the collection, else the default of ``t1_vectorstore.searching.deciding``."""
    budget: Integer | None = Field(default=None, ge=0)
    """Maximum length of the thought in tokens."""
    deadline: Number | None = Field(default=None, gt=0)
    """Seconds after which the thought is closed, wherever it is."""
    samples: Integer | None = Field(default=None, ge=1)
    """Number of thoughts, each sampled with its own random numbers. The vector is the normalised mean of theirs, a
    default of this project: T1's paper has one thought; HyDE averages its hypothetical documents (arXiv:2212.10496)."""
    task: str | None = None
    """Name of one of the checkpoint's task instructions."""
    instruction: Text | None = Field(default=None, min_length=1)
    """An own instruction in the place of the checkpoint's, if its prompt of queries has one."""
    refine_steps: Integer | None = Field(default=None, ge=0, le=MAX_REFINE_STEPS)
    """Refine Thought: number of passes in hidden space after the thought, or after the query without a thought. 0 turns
    it off. A deadline does not end them. See ``checkpoints.spec.Refining``."""
    refine: Aggregation | None = None
    """How the hidden states of these passes become the vector: ``mean`` or ``last``."""

    @model_validator(mode="after")
    def _check_instruction(self) -> Self:
        if self.task is not None and self.instruction is not None:
            raise ValueError(f"task={self.task!r} and instruction={self.instruction!r}: give one of them")
        return self


class EmbedQueryOptions(ThinkingOptions):
    """How one query is embedded."""

    truncation: Truncation | None = None
    """What to do with a query longer than the model's limit. Default: the embedder's policy."""


class EmbedQueriesOptions(EmbedQueryOptions):
    """How several queries are embedded."""

    thoughts: Texts | None = None
    """One thought for each query, used instead of generated ones."""


class PageOptions(Options):
    """Which part of a ranking is returned."""

    limit: Integer = Field(default=10, ge=1, le=MAX_COUNT)
    """Maximum number of hits."""
    offset: Integer = Field(default=0, ge=0, le=MAX_COUNT)
    """Number of best hits to skip."""


class RankingOptions(Options):
    """Which points are found, and how they are ranked."""

    filter: FilterLike | None = None
    """Condition on the metadata, such as ``{"country": "France", "year": {"gte": 2000}}``; see
    ``t1_vectorstore.collection.filters``."""
    score_threshold: Number | None = Field(default=None, ge=-1, le=1)
    """Minimum cosine similarity of a hit. It also applies to hits that were found by their words."""
    fusion: Fusion = "rrf"
    """How the rankings by vector and by words are combined: ``rrf`` (reciprocal rank fusion with k = 2) uses ranks,
    ``dbsf`` the distribution of the scores."""
    vector_weight: Number | None = Field(default=None, ge=0, le=1)
    """Weight of the vector in a fusion by ranks: 0 is words only, 1 is vector only. Costs a second query. Default: both
    have the same weight."""
    diversity: Number | None = Field(default=None, ge=0, le=1)
    """Choose hits that are also unlike each other, by maximal marginal relevance: 0 is relevance only, 1 is difference
    only. Hits are returned in the order of choice."""
    candidates: Integer | None = Field(default=None, ge=1, le=MAX_COUNT)
    """Number of candidates for a fusion or a diverse choice, from vector and words each. Pages of one ranking need the
    same number. Default: four times ``limit``, and at least 50. A page beyond them continues with further ones."""
    group: Flag = False
    """Return only the best chunk of each document."""
    search_params: Annotated[Mapping[str, Any] | None, BeforeValidator(as_mapping)] = None
    """Qdrant's own ``SearchParams``, or the same as a mapping, such as ``{"exact": True}`` or ``{"hnsw_ef": 256}``: how
    thoroughly a graph is searched."""
    consistency: Any = None
    """Qdrant's ``ReadConsistency`` for a cluster: how many replicas must agree. One process is always consistent."""

    @model_validator(mode="after")
    def _check_ranking(self) -> Self:
        most = max(getattr(self, "limit", 1), self.candidates or 0)
        if self.diversity is not None and most > MAX_CANDIDATES:
            raise ValueError(f"a diverse search chooses from at most {MAX_CANDIDATES} candidates, got {most}")
        if self.vector_weight is not None and self.fusion != "rrf":
            weight = f"vector_weight={self.vector_weight!r}"
            raise ValueError(f"{weight} weights ranks, and fusion={self.fusion!r} adds scores; leave one of them out")
        return self


class VectorSearchOptions(RankingOptions, PageOptions):
    """The options of ``Collection.search``, which takes a vector."""

    fused_vectors: Annotated[Sequence[Any], SkipValidation()] = ()  # checked by the collection
    """Rank by these vectors instead, each of shape ``(dimension,)``: one ranking each, fused by their ranks in the same
    query of the engine. Scores stay the similarity to ``vector``."""
    text: Text | None = None
    """Also search for the words of this text, in a hybrid collection. A text without words changes nothing; with
    ``vector_weight=0`` it finds nothing."""

    @property
    def pool(self) -> int:
        """Number of candidates for a fusion or a diverse choice; at least ``limit``."""
        default = min(max(4 * self.limit, _MIN_CANDIDATES), MAX_CANDIDATES)
        return max(self.limit, self.candidates or default)

    @model_validator(mode="after")
    def _check_weight(self) -> Self:
        if self.vector_weight is not None and self.text is None:
            raise ValueError(
                f"vector_weight={self.vector_weight!r} weights the vector against words, and this search has no words; "
                "search by words as well, in a hybrid collection (t1 reindex --hybrid makes one), or leave it out"
            )
        return self


class QueryOptions(EmbedQueryOptions, RankingOptions):
    """How a query in words is answered."""

    hybrid: Flag | None = None
    """Search by words as well as by the vector. Default: if the collection stores the words."""
    thought_terms: Flag = True
    """Search for the words of the thoughts as well as for those of the query."""
    combine: Combination = "mean"
    """How several ``samples`` become one ranking: ``mean`` searches once, with the mean of their vectors; ``rrf`` ranks
    by the vector of each thought, and fuses these rankings by their ranks. Scores are of the mean either way."""
    explain: Flag = False
    """Explain each hit: the effect of each sentence of query and thought on its score, its rank without thinking (among
    as many as ``candidates``), and its own best sentence. Costs a forward pass for each sentence; see
    ``t1_vectorstore.searching.explaining``."""


class SearchOptions(QueryOptions, PageOptions):
    """The options of ``T1VectorStore.search``."""


class Storage(Options):
    """How a collection stores its points; fixed at its creation."""

    on_disk: Flag = False
    """Read the full vectors from disk instead of holding them in memory. Quantised vectors stay in memory."""
    payload_on_disk: Flag | None = None
    """The same for texts and metadata. Default: the engine's choice, which is on disk."""
    quantization: Quantization | None = None
    """Choose candidates by compressed vectors, and hits by the full ones. ``int8`` finds nearly the same hits; try
    ``binary`` with the model's own vectors first, of 1,000 dimensions or more. The embedded engine compresses when it
    is optimised, and searches exactly until then."""
    m: Integer | None = Field(default=None, ge=2)
    """Edges of each node in the graph. Default: the engine's choice, 16."""
    ef_construct: Integer | None = Field(default=None, ge=4)
    """Candidates for a node's edges while the graph is built. Default: the engine's choice, 100."""
    shards: Integer | None = Field(default=None, ge=1)
    """Number of shards of a server's collection; with ``shard_keys``, of each key."""
    replicas: Integer | None = Field(default=None, ge=1)
    """Number of servers that hold each shard."""
    write_consistency: Integer | None = Field(default=None, ge=1)
    """Number of replicas that must have a write before it is acknowledged."""
    shard_keys: tuple[Annotated[Text, Field(min_length=1)], ...] = ()
    """Names of custom shards. A writer chooses one with ``Collection.open(shard_key=)``."""

    @model_validator(mode="after")
    def _check_replicas(self) -> Self:
        if (self.write_consistency or 1) > (self.replicas or 1):
            needed = f"write_consistency={self.write_consistency}"
            raise ValueError(f"{needed} needs more servers than replicas={self.replicas or 1}")
        if len(set(self.shard_keys)) != len(self.shard_keys):
            raise ValueError(f"shard_keys names a shard twice: {list(self.shard_keys)!r}")
        return self

    def changed(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, as JSON."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def __repr__(self) -> str:
        return f"Storage({', '.join(f'{name}={value!r}' for name, value in self.changed().items())})"


@dataclass(frozen=True, slots=True)
class Retry:
    """How transient errors of a server are retried.

    Attributes:
        budget: Seconds after which a call gives up, over all attempts and waits.
        attempts: Maximum number of attempts.
        first_wait: Upper limit in seconds of the random wait before the second attempt; it doubles from there.
        longest_wait: Upper limit in seconds of a single wait.
        sleep: Function that waits, in calls that are not awaited.
    """

    budget: float = 30.0
    attempts: int = 50
    first_wait: float = 0.2
    longest_wait: float = 5.0
    sleep: Callable[[float], None] = time.sleep


class ChunkOptions(Options):
    """How the adapters' stores store long texts."""

    chunk: Flag | Annotated[Integer, Field(ge=1)] = False
    """Cut long documents (LlamaIndex: nodes) into chunks, each with its own vector, of at most this many characters, or
    ``True`` for 1,600; never more than the model reads. Searches return each document once, as it was added. Give it
    each time that the collection is opened."""


class CollectionOptions(Options):
    """How a collection is opened, and how it is created if it does not exist.

    ``content_key`` to ``storage`` are fixed at creation; ``None`` accepts what an existing collection has.
    """

    name: Text = Field(default="t1", min_length=1)
    """Name of the collection."""
    create: Flag = True
    """Create the collection if it does not exist."""
    read_only: Flag = False
    """Open a collection that exists, for reading only. A folder may then be unwritable, or open in another process: its
    files are copied into a temporary folder, so later changes are seen only after it is opened again."""
    adopt: Flag = False
    """Accept a collection that does not record which model made its vectors, such as another package's. Nothing is
    written to it, so the option is needed each time it is opened."""
    content_key: str | None = None
    """Payload key of the text. Default: ``page_content``."""
    metadata_key: str | None = None
    """Payload key of the metadata. Default: ``metadata``. Empty: the rest of the payload is the metadata, as in
    collections of llama-index-vector-stores-qdrant."""
    hybrid: Flag | None = None
    """Store the words of the texts beside the vectors, so that a search can use both. Default: no."""
    vector_name: Text | None = None
    """Name of the dense vector; a new collection's has no name by default, which is ``""``. ``None`` opens an existing
    collection if it has one dense vector."""
    sparse_vector_name: Text | None = Field(default=None, min_length=1)
    """The same of the sparse vector, which a hybrid collection has beside it. Default for a new one: ``bm25``."""
    sparse_encoder: Encoder | None = Field(default=None, exclude=True, repr=False)
    """What encodes the words of a hybrid collection: an object such as langchain-qdrant's ``FastEmbedSparse``, or
    ``bm25``, this package's own terms. Default for a new collection: ``bm25``. For another package's collection, the
    encoder of its sparse vectors; without it, only its dense vectors are searched and written."""
    indexes: Mapping[str, IndexKind] | None = None
    """Metadata fields to index for filters, such as ``{"year": "integer"}``. An integer index refuses floats, and a
    datetime index numbers. The embedded engine and servers build them at creation; ``:memory:`` needs none."""
    tenant: str | None = None
    """Metadata field that names the tenant of a point. Its index keeps each tenant's points together; searches still
    need a ``filter``."""
    storage: Storage | None = None
    """How the points are stored: on disk, quantised, on how many servers. Default: the engine's choice."""
    shard_key: str | None = None
    """The one of ``storage.shard_keys`` to write to and read from. Default: read all."""
    api_key: str | None = Field(default=None, repr=False)
    """API key of the Qdrant server."""
    timeout: Number = Field(default=30.0, gt=0)
    """Seconds that one call to a server may take."""
    grpc_port: Integer | None = Field(default=None, ge=1, le=65_535)
    """The server's gRPC port. Default: the port after the one in the URL. Without gRPC there, REST is used."""
    retry: Retry = Retry()
    """How transient errors of a server are retried."""
