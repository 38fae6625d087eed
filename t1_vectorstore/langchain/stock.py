"""langchain-qdrant's constructor arguments, translated into this package's options.

What has the same meaning here is accepted under its name there. What this package decides by itself is accepted and
changes nothing, such as ``batch_size``. What would change results that this package promises is refused, and the error
says what to write instead.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import Enum
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from langchain_core.embeddings import Embeddings
from pydantic import Field

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.engines.schema import Creation
from t1_vectorstore.errors import CollectionMismatch
from t1_vectorstore.keyword_options import Flag, Integer, Number, Text, set_options
from t1_vectorstore.langchain.searching import embedder_of
from t1_vectorstore.options import ChunkOptions, CollectionOptions, Encoder
from t1_vectorstore.vectorstore import StoreOptions

CONTENT_KEY = "page_content"
METADATA_KEY = "metadata"
VECTOR_NAME = ""
SPARSE_VECTOR_NAME = "langchain-sparse"


class RetrievalMode(str, Enum):
    """What a store searches by, under langchain-qdrant's names."""

    DENSE = "dense"
    SPARSE = "sparse"
    HYBRID = "hybrid"


class OpenOptions(ChunkOptions, StoreOptions):
    """The options of ``T1QdrantVectorStore.open``: where the collection is, and the collection's options.

    They have the names of langchain-qdrant where it has one.
    """

    client: Any = None
    """A ``qdrant_client.QdrantClient`` of any mode, which stays the caller's."""
    location: str | os.PathLike[str] | None = None
    """A folder (embedded engine), ``:memory:``, or the URL of a Qdrant server."""
    url: str | os.PathLike[str] | None = None
    """The same, as langchain-qdrant names it."""
    path: str | os.PathLike[str] | None = None
    """The same, as langchain-qdrant names it."""
    host: Text | None = None
    """A server's host name, with ``port``, ``https`` and ``prefix``, instead of its URL."""
    port: Integer | None = Field(default=None, ge=1, le=65_535)
    """A server's port, if the URL has none. Default: 6333."""
    https: Flag | None = None
    """Whether ``host`` is reached over https. Default: if there is an ``api_key``."""
    prefix: Text | None = None
    """Path before the server's interface, as of a proxy."""
    prefer_grpc: Flag | None = None
    """Changes nothing: gRPC is used where it is reachable."""
    check_compatibility: Flag | None = None
    """Changes nothing: the features in use are checked."""
    timeout: Number | None = Field(default=None, gt=0)  # type: ignore[assignment] # None as in langchain-qdrant
    """Seconds that one call to a server may take. Default: 30."""
    name: Text | None = Field(default=None, min_length=1, alias="collection_name")  # type: ignore[assignment] # as above
    """Name of the collection. Default: ``t1``."""
    content_key: str | None = Field(default=None, alias="content_payload_key")
    """Payload key of the text. Default: ``page_content``."""
    metadata_key: str | None = Field(default=None, alias="metadata_payload_key")
    """Payload key of the metadata. Default: ``metadata``."""
    distance: Any = None
    """``COSINE``, which is what this package ranks by."""
    retrieval_mode: RetrievalMode | None = None
    """What is searched by: the vectors, sparse vectors, or both. Default: what the collection has."""
    sparse_encoder: Encoder | None = Field(default=None, alias="sparse_embedding", exclude=True, repr=False)
    """What encodes the words in the modes ``hybrid`` and ``sparse``. Default: this package's BM25 terms."""
    force_recreate: Flag = False
    """Delete the collection first, with all its points, in memory or on a server."""
    collection_create_options: Mapping[str, Any] | None = None
    """Further arguments of Qdrant's ``create_collection``, in memory or on a server; see ``storage``."""
    vector_params: Mapping[str, Any] | None = None
    """Further arguments of its ``VectorParams``."""
    sparse_vector_params: Mapping[str, Any] | None = None
    """Further arguments of its ``SparseVectorParams``."""
    batch_size: Integer | None = None
    """Changes nothing: batches are measured in tokens."""
    validate_embeddings: Flag = True
    """Changes nothing: embeddings are always checked."""
    validate_collection_config: Flag = True
    """Changes nothing: the collection is always checked."""
    id_in_metadata: Flag | None = None
    """Add ``_id`` and ``_collection_name`` to the metadata of found documents, as langchain-qdrant does. Default: if a
    ``client`` is given, or embeddings of another package."""


def open_collection(embedding: Embeddings | None, options: OpenOptions) -> tuple[Collection, T1Embedder]:
    """Open the collection that the options describe, and the model.

    Raises:
        ValueError: Not exactly one place, or no embeddings.
        CollectionMismatch: Another distance than the cosine, or see ``Collection.open``.
    """
    distance = getattr(options.distance, "value", options.distance)
    mode = options.retrieval_mode
    by_vector = mode is not RetrievalMode.SPARSE
    if by_vector and distance is not None and str(distance).lower() != "cosine":
        raise CollectionMismatch(
            f"distance={options.distance!r}: this package ranks by cosine similarity; leave distance out"
        )
    if by_vector and embedding is None:
        raise ValueError("embedding is required, except with retrieval_mode='sparse'; give T1Embeddings()")
    place = _place(options)
    embedder = embedder_of(embedding if by_vector else None)
    given = set_options(options, CollectionOptions)
    given = {name: value for name, value in given.items() if value is not None}
    if mode is RetrievalMode.DENSE:
        given = {name: value for name, value in given.items() if not name.startswith("sparse_")}
    elif mode is not None:
        given["hybrid"] = True
    if mode is RetrievalMode.SPARSE:
        given.pop("vector_name", None)
    if "sparse_encoder" in given:
        given["hybrid"] = True
        if options.create:
            given.setdefault("sparse_vector_name", SPARSE_VECTOR_NAME)
    creation = Creation(
        options.vector_params or {}, options.sparse_vector_params or {}, options.collection_create_options or {}
    )
    if creation != Creation():
        given["creation"] = creation
    given |= {"identity": embedder.identity, "recreate": options.force_recreate}
    if options.compatible_with is not None:
        if not by_vector or options.force_recreate:
            raise ValueError(
                f"compatible_with={options.compatible_with!r} searches the vectors of an existing collection; leave it "
                "out with retrieval_mode='sparse' and with force_recreate"
            )
        given |= {"identity": None, "create": False}
    try:
        collection = Collection.open(place, **given)
    except CollectionMismatch as error:
        if by_vector:
            raise
        remedy = "if it has dense vectors as well, use retrieval_mode='hybrid', and search it with vector_weight=0"
        raise CollectionMismatch(f"{error}; {remedy}") from error
    return collection, embedder


def _place(options: OpenOptions) -> Any:
    """Return the location for ``Collection.open``."""
    places = [options.client, options.location, options.url, options.path, options.host]
    places = [place for place in places if place is not None]
    if len(places) != 1:
        raise ValueError(
            f"give exactly one of location=, url= and path=, got {len(places)}: {places!r}; location=':memory:' "
            "keeps the collection in memory"
        )
    [place] = places
    if options.host is not None:
        https = options.https if options.https is not None else options.api_key is not None
        place = f"{'https' if https else 'http'}://{options.host}"
    elif not (isinstance(place, str) and place.startswith(("http://", "https://"))):
        return place
    parts = urlsplit(place)
    if options.port is not None and parts.port is None:
        parts = parts._replace(netloc=f"{parts.netloc}:{options.port}")
    if options.prefix is not None:
        parts = parts._replace(path=f"/{options.prefix.strip('/')}")
    return urlunsplit(parts)
