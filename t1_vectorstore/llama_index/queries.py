"""Translates LlamaIndex's ``VectorStoreQuery`` into the options of ``Collection.search``."""

from __future__ import annotations

from typing import Any

from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode
from pydantic import Field

from t1_vectorstore.collection import Collection
from t1_vectorstore.engines import OWN_KEY
from t1_vectorstore.keyword_options import Flag, Integer, Number, Options
from t1_vectorstore.llama_index.filters import to_filter
from t1_vectorstore.options import MAX_COUNT
from t1_vectorstore.types import AllOf, DocumentIn, FilterLike, IdIn

_BY_WORDS = (VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.TEXT_SEARCH)
_MODES = (VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.HYBRID, *_BY_WORDS, VectorStoreQueryMode.MMR)
_MMR_THRESHOLD = 0.5  # LlamaIndex's default


class PassageOptions(Options):
    """What found nodes tell about themselves."""

    passage_in_metadata: Flag = False
    """Add to each node's metadata, where no prompt shows it, the passage that was found: ``t1_passage`` with ``text``,
    and ``start`` and ``end`` in the node. Without ``chunk`` it is the whole node."""


class QueryKwargs(PassageOptions):
    """Options that are passed beside a query; an index passes its ``vector_store_kwargs``."""

    filter: FilterLike | None = None
    """A further filter: this package's, or Qdrant's own."""
    qdrant_filters: FilterLike | None = None
    """The same, under the name of LlamaIndex's own store, where it replaces the query's ``filters``. The keys of a
    Qdrant ``Filter`` are metadata fields, or payload paths."""
    score_threshold: Number | None = Field(default=None, ge=-1, le=1)
    """Minimum cosine similarity of a node."""
    mmr_prefetch_k: Integer | None = Field(default=None, ge=1, le=MAX_COUNT)
    """For the mode ``mmr``: number of candidates to choose from. Default: four times the number of nodes, and at least
    50."""
    mmr_threshold: Number | None = Field(default=None, ge=0, le=1)
    """For the mode ``mmr``: 1 is relevance only, 0 is difference only. It replaces the query's."""
    group: Flag = False
    """Return only the best node of each document."""


class _QueryNumbers(Options):
    """The numbers in a ``VectorStoreQuery``."""

    similarity_top_k: Integer = Field(default=1, ge=1, le=MAX_COUNT)
    hybrid_top_k: Integer | None = Field(default=None, ge=1, le=MAX_COUNT)
    sparse_top_k: Integer | None = Field(default=None, ge=1, le=MAX_COUNT)
    alpha: Number | None = Field(default=None, ge=0, le=1)
    mmr_threshold: Number | None = Field(default=None, ge=0, le=1)


def to_search_options(
    query: VectorStoreQuery,
    collection: Collection,
    *,
    chunks: bool = False,
    **kwargs: Any,  # noqa: ANN401 - checked by pydantic
) -> tuple[list[float], dict[str, Any]]:
    """Return the vector to search with, and the options of the search.

    Args:
        query: The query.
        collection: The collection to search.
        chunks: Whether the nodes are stored as chunks.
        kwargs: The fields of ``QueryKwargs``.

    Raises:
        TypeError: An unknown option, or a value of the wrong type.
        ValueError: No vector, an unsupported mode, or a value that an option does not accept.
    """
    extra = QueryKwargs(**kwargs)
    numbers = _QueryNumbers(**{name: getattr(query, name) for name in _QueryNumbers.model_fields})
    by_words = query.mode in _BY_WORDS
    if query.query_embedding is None and not by_words:
        raise ValueError("the query has no embedding; query through an index or a retriever, or embed it first")
    if query.mode not in _MODES:
        known = ", ".join(repr(mode.value) for mode in _MODES)
        raise ValueError(f"this store has no query mode {VectorStoreQueryMode(query.mode).value!r}; it has {known}")
    if query.query_str is None and (by_words or query.mode == VectorStoreQueryMode.HYBRID):
        raise ValueError(
            f"a query of the mode {VectorStoreQueryMode(query.mode).value!r} needs its words: set query_str"
        )
    if (by_words or query.mode == VectorStoreQueryMode.HYBRID) and not collection.schema.hybrid:
        raise ValueError(
            f"the query mode {VectorStoreQueryMode(query.mode).value!r} needs the words of the nodes, which this "
            "collection does not store; create it with enable_hybrid=True (hybrid=True of T1QdrantVectorStore.open)"
        )
    filters: list[FilterLike | None] = [
        to_filter(query.filters) if extra.qdrant_filters is None else None,
        None if query.doc_ids is None else {"doc_id": query.doc_ids},
        (DocumentIn if chunks else IdIn)(query.node_ids)
        if query.node_ids
        else None,  # an index passes an empty list for no restriction
        extra.filter,
        on_metadata(extra.qdrant_filters, collection.schema.metadata_key),
    ]
    options: dict[str, Any] = {
        "limit": numbers.similarity_top_k,
        "filter": AllOf(filters),
        "score_threshold": extra.score_threshold,
        "group": extra.group,
    }
    if by_words:
        limit = numbers.sparse_top_k or numbers.similarity_top_k
        options |= {"text": query.query_str, "vector_weight": 0, "candidates": limit, "limit": limit}
    if query.mode == VectorStoreQueryMode.HYBRID:
        options |= {"text": query.query_str, "vector_weight": numbers.alpha, "candidates": numbers.sparse_top_k}
        options["limit"] = numbers.hybrid_top_k or numbers.similarity_top_k
    threshold = numbers.mmr_threshold if extra.mmr_threshold is None else extra.mmr_threshold
    if query.mode == VectorStoreQueryMode.MMR:
        options["diversity"] = 1 - (_MMR_THRESHOLD if threshold is None else threshold)
        options["candidates"] = extra.mmr_prefetch_k
    elif threshold is not None:
        raise ValueError(
            f"mmr_threshold={threshold!r} is for the query mode 'mmr', and this one is {query.mode.value!r}"
        )
    elif extra.mmr_prefetch_k is not None:
        raise ValueError(
            f"mmr_prefetch_k={extra.mmr_prefetch_k!r} is for the query mode 'mmr', and this one is {query.mode.value!r}"
        )
    # A search for words only needs some vector to show similarities to.
    vector = query.query_embedding
    if vector is None:
        vector = [1.0, *[0.0] * (collection.identity.dimension - 1)]
    return vector, options


def on_metadata(filter: FilterLike | None, metadata_key: str) -> FilterLike | None:
    """Return a Qdrant ``Filter`` on metadata fields with their payload paths; another filter is returned unchanged."""
    if not metadata_key or type(filter).__name__ != "Filter":
        return filter
    dumped = filter.model_dump(mode="json", by_alias=True, exclude_none=True)  # type: ignore[union-attr]
    prefixed: FilterLike = type(filter).model_validate(_prefixed(dumped, metadata_key))  # type: ignore[union-attr]
    return prefixed


def _prefixed(clause: Any, metadata_key: str) -> Any:  # noqa: ANN401 - JSON
    if isinstance(clause, list):
        return [_prefixed(part, metadata_key) for part in clause]
    if not isinstance(clause, dict):
        return clause
    found = {name: _prefixed(part, metadata_key) for name, part in clause.items()}
    key = found.get("key")
    if isinstance(key, str) and key.split(".")[0] not in (metadata_key, OWN_KEY):
        found["key"] = f"{metadata_key}.{key}"
    return found
