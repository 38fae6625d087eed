"""The part that ``:memory:`` and a server share: an engine's methods as calls of a ``QdrantClient``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from qdrant_client import QdrantClient, models

from t1_vectorstore.engines.base import (
    OVERSAMPLING,
    RRF_K,
    Engine,
    FilterJSON,
    Nearest,
    Row,
    Scored,
    Sparse,
    payload_selector,
    row_of,
    to_point_id,
    vector_selector,
)
from t1_vectorstore.engines.ids import PointId
from t1_vectorstore.engines.schema import OWN_KEY, Creation, NoteName, OpenOptions, Schema, Words
from t1_vectorstore.errors import CollectionMismatch, WriteNotVerified
from t1_vectorstore.network import with_port
from t1_vectorstore.types import ModelIdentity

NOTE_KEY = "t1_{}"
"""Key of a note in a collection's metadata."""


class ClientEngine(Engine):
    """The methods over one client; a subclass makes the calls."""

    @property
    def client(self) -> QdrantClient:
        """The client of the library, for calls that this package has no name for.

        Raises:
            StoreError: The collection is closed.
        """
        raise NotImplementedError

    def _call(self, method: str, **arguments: Any) -> Any:  # noqa: ANN401 - what the client's method returns
        raise NotImplementedError

    def write(self, rows: Sequence[Row]) -> None:
        """Insert or replace rows, and wait until they can be read."""
        points = [models.PointStruct(id=row.id, vector=_vectors(row, self.schema), payload=row.payload) for row in rows]
        check_completed(self._call("upsert", points=points, wait=True))

    def read(self, ids: Sequence[PointId], *, fields: Sequence[str] | None = None, vectors: bool = False) -> list[Row]:
        """Return the rows that exist among ``ids``."""
        found = self._call("retrieve", ids=list(ids), **self._selected(fields, vectors))
        return [row_of(record, self.schema) for record in found]

    def erase(self, ids: Sequence[PointId]) -> None:
        """Delete points, and wait until they are gone."""
        check_completed(self._call("delete", points_selector=models.PointIdsList(points=list(ids)), wait=True))

    def nearest(self, query: Nearest) -> list[Scored]:
        """Answer a query, best row first."""
        return scored_rows(self._call("query_points", **query_arguments(query, self.schema)), self.schema)

    def count(self, filter: FilterJSON | None) -> int:
        """Return the exact number of points that match."""
        return int(self._call("count", count_filter=_filter(filter), exact=True).count)

    def page(
        self,
        filter: FilterJSON | None,
        *,
        limit: int,
        after: PointId | None,
        fields: Sequence[str] | None = None,
        vectors: bool = False,
    ) -> tuple[list[Row], PointId | None]:
        """Return one page in the order of point ids, and where the next one starts."""
        selected = self._selected(fields, vectors)
        found, following = self._call("scroll", scroll_filter=_filter(filter), limit=limit, offset=after, **selected)
        rows = [row_of(record, self.schema) for record in found]
        return rows, None if following is None else to_point_id(following)

    def read_note(self, name: NoteName) -> Any:  # noqa: ANN401 - JSON
        """Return the record that was written last, by any client."""
        return _notes(self._call("get_collection")).get(name)

    def write_note(self, name: NoteName, record: Mapping[str, Any]) -> None:
        """Store a record in the collection's metadata."""
        if self.schema.uid:
            self._call("update_collection", metadata={NOTE_KEY.format(name): record})

    def _selected(self, fields: Sequence[str] | None, vectors: bool) -> dict[str, Any]:
        return {"with_payload": payload_selector(fields), "with_vectors": vector_selector(vectors, self.schema)}


def found_schema(found: models.CollectionInfo, options: OpenOptions, where: str) -> Schema:
    """Return the schema of an existing collection; ``where`` names it in errors.

    The names of its vectors are those that it records, or that the options give, or else the only ones that it has.

    Raises:
        CollectionMismatch: It does not have the named vectors, or has several and none is named.
        StoreError: The description is damaged, or was written by a later version of this package.
    """
    vectors = found.config.params.vectors or {}
    dense = {"": vectors} if isinstance(vectors, models.VectorParams) else vectors
    dense = {name: params for name, params in dense.items() if params.multivector_config is None}
    record = (found.config.metadata or {}).get(OWN_KEY)
    if record is not None:
        schema = Schema.from_json(record, f"the metadata of {where}")
        schema = replace(schema, name=options.name, notes=_notes(found))
        if schema.has_dense:
            _chosen("vector_name", schema.vector_name, dense, where)
    else:
        sparse = found.config.params.sparse_vectors or {}
        schema = replace(options.undescribed(ModelIdentity("(not recorded)", "", 1)), uid="")
        only_sparse = bool(sparse) and not dense and options.vector_name is None
        if not only_sparse:
            schema = replace(schema, vector_name=_chosen("vector_name", options.vector_name, dense, where))
        if sparse or options.sparse_vector_name is not None:
            sparse_vector_name = _chosen("sparse_vector_name", options.sparse_vector_name, sparse, where)
            words: Words = "bm25" if options.sparse_encoder == "bm25" else "other"
            schema = replace(schema, hybrid=True, words=words, sparse_vector_name=sparse_vector_name)
        if only_sparse:
            schema = replace(schema, identity=replace(schema.identity, dimension=0))
    if not schema.has_dense:
        return schema
    params = dense[schema.vector_name]
    identity = replace(schema.identity, dimension=params.size)
    return replace(schema, identity=identity, distance=params.distance.value.lower())


def _chosen(option: str, wanted: str | None, names: Collection[str], where: str) -> str:
    """Return the name of a vector: the wanted one, or the only one that there is."""
    if wanted is None and len(names) == 1:
        return next(iter(names))
    if wanted is None or wanted not in names:
        kind = "sparse" if option == "sparse_vector_name" else "dense"
        if not names:
            raise CollectionMismatch(f"{where} has no {kind} vector")
        problem = f"none is named {wanted!r}" if wanted is not None else f"give one of them as {option}="
        raise CollectionMismatch(f"{where} has the {kind} vectors {', '.join(map(repr, sorted(names)))}, and {problem}")
    return wanted


def _notes(found: models.CollectionInfo) -> dict[NoteName, Any]:
    metadata = found.config.metadata or {}
    return {name: metadata[key] for name in get_args(NoteName) if (key := NOTE_KEY.format(name)) in metadata}


def client_location(client: QdrantClient) -> str:
    """Return where a client's collections are: ``:memory:``, a folder, or the URL of a server."""
    given = client.init_options
    if place := given["location"] or given["url"] or given["path"]:
        place = str(place)
        return with_port(place, given["port"]) if place.startswith(("http://", "https://")) else place
    scheme = "https" if given["https"] else "http"
    return f"{scheme}://{given['host'] or 'localhost'}:{given['port']}"


def scored_rows(answer: models.QueryResponse, schema: Schema) -> list[Scored]:
    """Convert the answer to a query."""
    return [(point.score, row_of(point, schema)) for point in answer.points]


def vector_params(schema: Schema, given: Creation | None) -> dict[str, Any]:
    """Return the arguments of ``create_collection`` that describe the vectors."""
    size, on_disk = schema.identity.dimension, schema.storage.on_disk or None
    dense: dict[str, Any] = {"size": size, "distance": models.Distance.COSINE, "on_disk": on_disk}
    terms: dict[str, Any] = {"modifier": models.Modifier.IDF if schema.words == "bm25" else None}
    params = models.VectorParams(**{**dense, **(given.dense if given else {})}) if schema.has_dense else None
    sparse = models.SparseVectorParams(**{**terms, **(given.sparse if given else {})})
    by_name = {} if params is None else {schema.vector_name: params}
    return {
        "vectors_config": by_name if given or schema.vector_name or params is None else params,
        "sparse_vectors_config": {schema.sparse_vector_name: sparse} if schema.hybrid else None,
    }


def check_completed(result: models.UpdateResult) -> None:
    """Refuse an answer that does not confirm that a write is completed."""
    if result.status != models.UpdateStatus.COMPLETED:
        raise WriteNotVerified(f"the server answered {result.status.value!r} to a write that it was to complete")


def query_arguments(query: Nearest, schema: Schema) -> dict[str, Any]:
    """Return the arguments of ``query_points``."""
    vector, filter = query.vector.tolist(), _filter(query.filter)
    using = schema.vector_name or None  # what has no name is used by default
    given = dict(query.params or {})
    if (quantization := schema.storage.quantization) is not None:
        rescored = models.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING[quantization])
        given = {"quantization": rescored, **given}
    params = models.SearchParams(**given) if given else None
    shared: dict[str, Any] = {"limit": query.limit, "offset": query.offset, "with_payload": True}
    if query.consistency is not None:
        shared["consistency"] = query.consistency
    if not query.scored_by_cosine:
        shared["with_vectors"] = vector_selector(True, schema)
        terms: dict[str, Any] = {}
        if query.sparse is not None:
            terms = {"query": _sparse_vector(query.sparse), "using": schema.sparse_vector_name}
        if terms and query.fusion is None:
            return {**shared, **terms, "query_filter": filter}
        depth: dict[str, Any] = {"limit": query.candidates, "filter": filter}
        by_rank = models.RrfQuery(rrf=models.Rrf(k=RRF_K))
        by_vectors = [
            models.Prefetch(query=each.tolist(), using=using, params=params, **depth)
            for each in query.vectors or [query.vector]
        ]
        if not terms:
            return {**shared, "prefetch": by_vectors, "query": by_rank}
        # The terms once for each vector, so that they have as much weight as all vectors together.
        by_terms = [models.Prefetch(**terms, **depth)] * len(by_vectors)
        fusion = by_rank if query.fusion == "rrf" else models.FusionQuery(fusion=models.Fusion.DBSF)
        return {**shared, "prefetch": [*by_vectors, *by_terms], "query": fusion}
    nearest: Any = vector
    if query.diversity is not None:
        mmr = models.Mmr(diversity=query.diversity, candidates_limit=query.candidates)
        nearest = models.NearestQuery(nearest=vector, mmr=mmr)
    return {**shared, "query": nearest, "using": using, "query_filter": filter, "search_params": params}


def _filter(filter: FilterJSON | None) -> models.Filter | None:
    return models.Filter.model_validate(filter) if filter else None


def _sparse_vector(sparse: Sparse) -> models.SparseVector:
    return models.SparseVector(indices=list(sparse.indices), values=list(sparse.values))


def _vectors(row: Row, schema: Schema) -> Any:  # noqa: ANN401 - one vector, or several by name
    dense = [] if row.vector is None else row.vector.tolist()
    if row.sparse is None and schema.has_dense and not schema.vector_name:
        return dense
    named: dict[str, Any] = {schema.vector_name: dense} if schema.has_dense else {}
    return named if row.sparse is None else {**named, schema.sparse_vector_name: _sparse_vector(row.sparse)}
