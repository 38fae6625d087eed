"""The collection: validated and verified access to the stored points of one model."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, TypeVar, overload

from t1_vectorstore.collection.deferred_indexing import DeferredIndexing
from t1_vectorstore.collection.filters import compile_filter
from t1_vectorstore.collection.notes import Notes
from t1_vectorstore.collection.number_checks import NumberChecks
from t1_vectorstore.collection.payload import (
    HASH_FIELDS,
    OWN_FIELDS,
    PointState,
    adopted_schema,
    stored_hash,
    stored_id,
    to_chunk,
    to_payload,
    to_vector,
    whole_document,
)
from t1_vectorstore.collection.search import Search, SearchSteps, arun, find_hits, run
from t1_vectorstore.collection.words import word_encoder
from t1_vectorstore.collection.writer import BATCH_POINTS, Writer
from t1_vectorstore.engines import (
    DOCUMENT_PATH,
    Engine,
    EngineKind,
    FilterJSON,
    Location,
    OpenOptions,
    Row,
    Schema,
    location_name,
    open_engine,
)
from t1_vectorstore.engines.ids import PointId, page_start, point_id, unique_ids
from t1_vectorstore.engines.schema import with_model
from t1_vectorstore.errors import CollectionMismatch, FilterWarning, StoreError, external_stacklevel
from t1_vectorstore.iteration import batched
from t1_vectorstore.keyword_options import takes_options
from t1_vectorstore.metadata import check_text
from t1_vectorstore.options import VectorSearchOptions
from t1_vectorstore.types import (
    Calibration,
    Chunk,
    CollectionInfo,
    FilterLike,
    Hit,
    Indexing,
    LoadRecord,
    ModelIdentity,
    Point,
    SparseEncoder,
    Vector,
)

_Engine = TypeVar("_Engine")


class Collection:
    """The points of one model. Thread-safe.

    A point's id is any string. Writing a point whose id exists replaces it. ``Hit.score`` is the cosine similarity, in
    [-1, 1] and rounded to six decimals (the precision of float32), on every engine and however the hits were found and
    sorted; every threshold means ``score >= threshold``.

    Attributes:
        location: Where the collection is, as it was opened.
        engine: What stores it: ``embedded`` (a folder), ``memory`` or ``server``.
        name: Name of the collection.
        identity: The model whose vectors it holds; without a fingerprint if that is not recorded.
        hybrid: Whether it stores the words of its texts, and has their encoder, so that a search can use them.
        uid: Random id given at creation, unlike that of a later collection in the same place. Empty if not recorded.
        metadata_key: Payload key of the metadata; empty if the rest of the payload is the metadata.
        read_only: Whether it was opened for reading only.
        notes: The records that it stores about itself, for the rest of this package.
    """

    def __init__(
        self,
        engine: Engine,
        location: str,
        sparse_encoder: SparseEncoder | str | None = None,
        *,
        read_only: bool = False,
    ) -> None:
        """Wrap an open engine. Call ``Collection.open`` instead."""
        self._words = word_encoder(engine.schema, sparse_encoder)
        self.read_only = read_only
        self.location = location
        self.engine: EngineKind = engine.kind
        self.name = engine.schema.name
        self.identity: ModelIdentity = engine.schema.identity
        self.hybrid: bool = self._words is not None
        self.uid: str = engine.schema.uid
        self.metadata_key: str = engine.schema.metadata_key
        self._engine = self.storage = engine
        self._writer = Writer(engine, location, self._words)
        self._warns_of_words = engine.schema.hybrid and not self.hybrid
        self._indexing = DeferredIndexing(engine, location)
        self._number_checks = NumberChecks(engine)
        self.notes = Notes(engine, location)

    @classmethod
    @takes_options(OpenOptions)
    def open(cls, location: Location, options: OpenOptions) -> Collection:
        """Open a collection, and create it if it does not exist.

        Args:
            location: ``:memory:``, the http(s) URL of a Qdrant server (1.16 or later to create), or else a folder. Or
                the URL of a T1 service (``t1 serve``), such as ``t1+http://localhost:8321``; ``name`` is then the name
                of the index there. Or a ``qdrant_client.QdrantClient`` of any mode, which stays open when the
                collection is closed: several collections can share one, also one in memory.
            options: Keyword arguments: ``identity``, the model to be used, and the fields of
                ``CollectionOptions``. Without an identity the collection must exist, and
                any model's is opened.

        Raises:
            CollectionNotFound: Nothing to open, or a folder with other files, which is left untouched.
            CollectionMismatch: It was made for another model, dimension, distance or payload; the message names both.
            CollectionLocked: The folder is open in another process, and ``read_only`` is off.
            StoreUnavailable: The server does not answer, or the folder is not writable.
            StoreError: The server is too old, or is not the cluster that ``storage`` needs.
            ValueError: The location is invalid, an index cannot be created, or the engine does not have an option of
                ``storage``.
        """
        engine = open_engine(location, options)
        name = location_name(location)
        try:
            if options.adopt:
                keys_given = not (options.content_key is None is options.metadata_key)
                if (adopted := adopted_schema(engine, name, keys_given=keys_given)) is not engine.schema:
                    engine.schema = adopted
        except BaseException:
            engine.close()
            raise
        return cls(engine, name, options.sparse_encoder, read_only=options.read_only)

    @property
    def client(self) -> Any:  # noqa: ANN401 - a QdrantClient, which is slow to import
        """The ``QdrantClient`` behind a collection in memory or on a server, for what this package has no name for.

        Raises:
            AttributeError: A folder has none.
        """
        if self.engine in ("embedded", "service"):
            raise AttributeError(f"{self!r} has no QdrantClient; use the methods of this object, or a Qdrant server")
        return self._engine.client  # type: ignore[attr-defined] # of the two other engines

    @takes_options(VectorSearchOptions)
    def search(self, vector: Vector | Sequence[float], options: VectorSearchOptions) -> list[Hit]:
        """Return the points nearest to a vector, best first; equal ones in the order of their ids.

        Args:
            vector: Shape ``(dimension,)``, of any length.
            options: Keyword arguments, the fields of ``VectorSearchOptions``.

        Raises:
            ValueError: The vector, an option or the filter cannot be used, or the collection stores no words.

        Warns:
            FilterWarning: Nothing is found, and the filter compares a field with numbers that has none (once a field).
        """
        hits = run(self._steps(vector, options), self._engine.nearest)
        if not hits and options.filter is not None:
            self._warn(list(self._number_checks.explain(self._compile(options.filter))))
        return hits

    @takes_options(VectorSearchOptions)
    async def asearch(self, vector: Vector | Sequence[float], options: VectorSearchOptions) -> list[Hit]:
        """``search`` without blocking the event loop; on a server only the first search needs a thread."""
        if options.text is not None and self.hybrid and self.schema.words == "other":  # an encoder may be a model
            steps = await asyncio.to_thread(self._steps, vector, options)
        else:
            steps = self._steps(vector, options)
        hits = await arun(steps, self._engine.anearest)
        if not hits and options.filter is not None:
            explanations = self._number_checks.explain(self._compile(options.filter))
            self._warn(await asyncio.to_thread(list, explanations))
        return hits

    def check_search(self, **options: Any) -> VectorSearchOptions:  # noqa: ANN401 - checked by pydantic
        """Refuse what ``search`` would refuse, before a query is thought about.

        Raises:
            ValueError: An option has a value that it does not accept.
            TypeError: An unknown option, or a value of the wrong type.
        """
        checked = VectorSearchOptions(**options)
        self._check_search(checked)
        return checked

    def get(self, ids: Iterable[str]) -> dict[str, Chunk]:
        """Return the chunks that exist among ``ids``, by id."""
        return {row_id: to_chunk(row, self.schema) for row_id, row in self._rows(ids, None)}

    def get_documents(self, document_ids: Iterable[str]) -> dict[str, Chunk]:
        """Return the documents that exist among ``document_ids``, by id, each as a single chunk.

        The text is put together from the stored chunks. It is exactly the document's if they were cut with
        ``Chunker(keep_spaces=True)``; otherwise the white space between chunks is stored nowhere, and becomes spaces.
        """
        documents: dict[str, Chunk] = {}
        for wanted in batched(unique_ids(document_ids), BATCH_POINTS):
            parts: dict[str, list[Chunk]] = {}
            for row in self.scan({"must": [{"key": DOCUMENT_PATH, "match": {"any": wanted}}]}):
                chunk = to_chunk(row, self.schema)
                parts.setdefault(chunk.document_id, []).append(chunk)
            found = {name: whole_document(chunks) for name, chunks in parts.items()}
            single = self.get(name for name in wanted if name not in found)  # also points of another package
            documents |= {name: found.get(name) or single[name] for name in wanted if name in found or name in single}
        return documents

    def content_hashes(self, ids: Iterable[str]) -> dict[str, str]:
        """Return ``Chunk.content_hash`` of the points that exist among ``ids``, as it was when they were written."""
        states = self.point_states(ids).items()
        return {
            chunk_id: state.content_hash for chunk_id, state in states if state.content_hash and state.id == chunk_id
        }

    def count(self, filter: FilterLike | None = None) -> int:
        """Return the number of points, or of those that match a filter; exact on every engine."""
        compiled = self._compile(filter)
        found = self._engine.count(compiled)
        if not found and compiled is not None:
            self._warn(list(self._number_checks.explain(compiled)))
        return found

    @overload
    def scroll(
        self, filter: FilterLike | None = None, *, batch: int = 256, with_vectors: Literal[False] = False
    ) -> Iterator[Chunk]: ...

    @overload
    def scroll(
        self, filter: FilterLike | None = None, *, batch: int = 256, with_vectors: Literal[True]
    ) -> Iterator[Point]: ...

    def scroll(
        self, filter: FilterLike | None = None, *, batch: int = 256, with_vectors: bool = False
    ) -> Iterator[Chunk] | Iterator[Point]:
        """Iterate over all points, or all that match a filter.

        Args:
            filter: Condition on the metadata.
            batch: Number of points read at a time.
            with_vectors: Return ``Point`` (chunk and vector of unit length) instead of ``Chunk``.
        """
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise ValueError(f"batch must be a whole number of at least 1, got {batch!r}")
        rows = self.scan(self._compile(filter), batch=batch, vectors=with_vectors)
        if not with_vectors:
            return (to_chunk(row, self.schema) for row in rows)
        return (Point(to_chunk(row, self.schema), row.vector) for row in rows if row.vector is not None)

    def page(self, filter: FilterLike | None, limit: int, after: str | None) -> tuple[list[Chunk], str | None]:
        """Return a page of what ``scroll`` returns, and ``after`` for the next page; ``None`` on the last one."""
        start = None if after is None else page_start(after)
        rows, following = self._engine.page(self._compile(filter), limit=limit, after=start)
        return [to_chunk(row, self.schema) for row in rows], None if following is None else str(following)

    @property
    def latest_load(self) -> LoadRecord | None:
        """The record of the load that began last; ``None`` if there is none. See ``loading``."""
        return self.notes.load

    @property
    def calibration(self) -> Calibration | None:
        """When ``think="auto"`` thinks, as it was when the collection was opened; ``None``: by the default."""
        return self.notes.calibration

    def save_calibration(self, calibration: Calibration) -> None:
        """Store when ``think="auto"`` thinks; other objects that are open keep what they have."""
        self.check_writable()
        self.notes.save_calibration(calibration)

    def info(self) -> CollectionInfo:
        """Describe the collection and its size."""
        return CollectionInfo(
            name=self.name,
            engine=self.engine,
            location=self.location,
            identity=self.identity,
            points=self._engine.count(None),
            disk_bytes=self._engine.disk_bytes(),
            indexing=self._engine.indexing(),
            load=self.latest_load,
            calibration=self.calibration,
            previous_build=self._engine.has_previous_build(),
        )

    def check_model(self, identity: ModelIdentity, *, adopt: bool = False) -> None:
        """Check that the collection holds a model's vectors; with ``adopt`` it need not record whose they are.

        Raises:
            CollectionMismatch: It holds another model's, or does not record whose.
        """
        found = with_model(self.schema, identity, self.location, adopt=adopt)
        if found is not self.schema:  # adopted
            self._engine.schema, self.identity = found, found.identity

    def check_writable(self) -> None:
        """Raise ``StoreError`` if the collection was opened for reading only."""
        if self.read_only:
            raise StoreError(f"{self.location} was opened with read_only=True; open it without, to change it")

    def check(self, chunk: Chunk) -> None:
        """Refuse what ``upsert`` would refuse with any vector, before a chunk is encoded.

        Raises:
            ValueError: Its id, text or metadata cannot be stored here.
            TypeError: One of them has the wrong type.
        """
        to_payload(chunk, self.schema)

    def upsert(self, points: Iterable[Point]) -> int:
        """Insert or replace points, in batches. Each is checked before it is written, and read back afterwards.

        A batch is stored as a whole or, if one of its points is refused, not at all; the batches before it stay stored.
        (If only the server refuses a point, it is found by writing parts of its batch, which stay stored, too.) The
        same point given twice is stored once. Two points of one id that differ in text or metadata are refused, since
        one of them would be lost.

        Args:
            points: Any iterable; a generator is read batch by batch.

        Returns:
            The number of different points that were stored.

        Raises:
            ValueError: A vector, id, text or metadata cannot be stored. Like every error of this call it has an
                attribute ``stored``, the number of points that were stored before it.
            TypeError: Something other than a ``Point``.
            WriteRefused: The server refuses a point, which the message names.
            WriteNotVerified: A point was not found as it was written.
            StoreError: The engine failed.
        """
        self.check_writable()
        self._warn_of_words()
        return self._writer.upsert(points)

    def delete(self, ids: Iterable[str] | None = None, *, filter: FilterLike | None = None) -> int:
        """Delete points by id, or all that match a filter.

        Returns:
            The number of deleted points.

        Raises:
            ValueError: Neither or both are given, or the filter restricts nothing.
            WriteNotVerified: Points still exist afterwards.
        """
        if (ids is None) == (filter is None):
            raise ValueError("delete needs either ids or a filter; to delete everything, remove the collection")
        self.check_writable()
        if ids is not None:
            removed = 0
            for wanted in batched(unique_ids(ids), BATCH_POINTS):
                with self._writer.lock:
                    removed += self._writer.erase([point_id(row_id) for row_id, _ in self._rows(wanted, HASH_FIELDS)])
            return removed
        compiled = self._compile(filter)
        if compiled is None:
            raise ValueError(f"the filter {filter!r} restricts nothing and would delete every point")
        removed = self._writer.erase_matching(compiled)
        if not removed:
            self._warn(list(self._number_checks.explain(compiled)))
        return removed

    def delete_documents(self, document_ids: Iterable[str]) -> int:
        """Delete documents with all their chunks; a point that another package wrote is a document by its own id.

        Returns:
            The number of deleted points.
        """
        self.check_writable()
        removed = 0
        for wanted in batched(unique_ids(document_ids), BATCH_POINTS):
            removed += self._writer.erase_matching({"must": [{"key": DOCUMENT_PATH, "match": {"any": wanted}}]})
            with self._writer.lock:
                foreign = [row.id for _, row in self._rows(wanted, HASH_FIELDS) if stored_hash(row) is None]
                removed += self._writer.erase(foreign)
        return removed

    def unknown_documents(self, document_ids: Iterable[str]) -> list[str]:
        """Return those of some document ids of which nothing is stored, in the given order."""
        unknown: list[str] = []
        for wanted in batched(unique_ids(document_ids), BATCH_POINTS):
            own = self.scan({"must": [{"key": DOCUMENT_PATH, "match": {"any": wanted}}]}, fields=OWN_FIELDS)
            stored = {to_chunk(row, self.schema).document_id for row in own}
            stored.update(row_id for row_id, row in self._rows(wanted, HASH_FIELDS) if stored_hash(row) is None)
            unknown += [document_id for document_id in wanted if document_id not in stored]
        return unknown

    def bulk(self) -> AbstractContextManager[None]:
        """Defer a server's indexing for the length of a ``with`` block, which makes a large load faster.

        The end of the block restores it, also after an error; ``settle`` then waits for it. The former setting is kept
        in the collection, so after a crash the end of the next block, or ``restore_indexing``, restores it. Until then
        searches are exact, complete and slow, and ``info().indexing.deferred`` is true. Blocks may be nested and may
        overlap, also with other clients': the first client to end restores indexing for all. The embedded engine and
        ``:memory:`` have nothing to defer.
        """
        self.check_writable()
        return self._indexing.bulk()

    def loading(self, *, chunk_size: int, overlap: int) -> AbstractContextManager[None]:
        """Record a load of a source for the length of a ``with`` block.

        The collection stores how documents are cut into chunks, for reruns and for ``verify``, and that the load is
        finished if the block ends without an error; see ``latest_load``. Of overlapping loads it has the one that began
        last. Nothing is written to a collection that another package has created.
        """
        self.check_writable()
        return self.notes.loading(chunk_size, overlap)

    def restore_indexing(self) -> None:
        """Restore indexing that an interrupted bulk load left deferred; otherwise change nothing."""
        self.check_writable()
        self._engine.restore_indexing()

    def settle(
        self, *, timeout: float | None = None, on_progress: Callable[[Indexing], None] | None = None
    ) -> Indexing | None:
        """Wait until a server has indexed all points. Searches are answered meanwhile.

        Args:
            timeout: Maximum wait in seconds; ``None`` waits as long as it takes.
            on_progress: Called each time the state is read, at least once a second.

        Returns:
            The final state; ``None`` for engines without an optimizer. While indexing is deferred there is nothing to
            wait for, and the state says so.

        Raises:
            StoreError: The optimizer has failed (with its own message), or the time is over.
        """
        return self._indexing.settle(timeout, on_progress)

    def optimize(self) -> None:
        """Build a graph for a large embedded index, and the compressed vectors that its ``storage`` asks for.

        It pays above about 50,000 points; below that, exact search takes milliseconds. A copy is optimised in a process
        of its own, in about a minute for 100,000 vectors of 384 dimensions. Meanwhile searches are answered, writes
        wait, and the disk holds the index twice; searches wait while files are copied and exchanged, about a second per
        250 MB. Points written later are searched exactly until the next call. A server optimises by itself.

        Raises:
            StoreError: It failed; the index is unchanged.
        """
        self.check_writable()
        self._engine.optimize()

    def close(self) -> None:
        """Release the folder or the connection. Calling it twice is harmless."""
        self._engine.close()

    def __enter__(self) -> Collection:
        """Close at the end of a ``with`` block."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Collection({self.name!r} at {self.location!r}, {self.engine}, model {self.identity.model!r})"

    # The following members are for the rest of this package: loads, audits, reindexing and snapshots.

    @property
    def schema(self) -> Schema:
        """The collection's description."""
        return self._engine.schema

    def point_states(self, ids: Iterable[str]) -> dict[str, PointState]:
        """Return what is stored at the point of each id; ids whose point is free are left out."""
        rows = self._points_of(ids, HASH_FIELDS)
        return {row_id: PointState(stored_id(row), stored_hash(row)) for row_id, row in rows}

    def chunks_of_documents(self, document_ids: Iterable[str], *, except_ids: Iterable[str] = ()) -> list[Chunk] | None:
        """Return the stored chunks of some documents, without text and metadata.

        Args:
            document_ids: The documents.
            except_ids: Ids of chunks to leave out.

        Returns:
            The chunks, in no order; ``None`` if the collection has no index by document, without which this would read
            every point.
        """
        if not self.schema.by_document:
            return None
        filter: dict[str, Any] = {"must": [{"key": DOCUMENT_PATH, "match": {"any": list(document_ids)}}]}
        if excepted := [point_id(chunk_id) for chunk_id in except_ids]:
            filter["must_not"] = [{"has_id": excepted}]
        return [to_chunk(row, self.schema) for row in self.scan(filter, fields=OWN_FIELDS)]

    def write(self, points: Iterable[Point]) -> int:
        """``upsert`` that does not read the points before and after it writes them, for callers that do so themselves.

        A point whose id falls on that of another chunk replaces it.
        """
        self.check_writable()
        self._warn_of_words()
        return self._writer.upsert(points, verify=False)

    def scan(
        self,
        filter: FilterJSON | None = None,
        *,
        batch: int = BATCH_POINTS,
        fields: Sequence[str] | None = None,
        vectors: bool = False,
    ) -> Iterator[Row]:
        """Iterate over all rows, or all that match, in the order of point ids, which is the same on each engine."""
        after: PointId | None = None
        while True:
            rows, after = self._engine.page(filter, limit=batch, after=after, fields=fields, vectors=vectors)
            yield from rows
            if after is None:
                return

    def read_points(self, ids: Iterable[str]) -> Iterator[Point]:
        """Read the points that exist among ``ids``, with their vectors of unit length."""
        for wanted in batched(ids, BATCH_POINTS):
            for row in self._engine.read([point_id(name) for name in wanted], vectors=True):
                if row.vector is not None:
                    yield Point(to_chunk(row, self.schema), row.vector)

    def pause_writes(self) -> AbstractContextManager[bool]:
        """Block other threads' writes through this object for the length of a ``with`` block."""
        return self._writer.lock

    def engine_as(self, kind: type[_Engine]) -> _Engine:
        """Return the engine, which must be of the given class."""
        assert isinstance(self._engine, kind)
        return self._engine

    def _steps(self, vector: Vector | Sequence[float], options: VectorSearchOptions) -> SearchSteps:
        filter = self._check_search(options)
        sparse = None if options.text is None or self._words is None else self._words.query(options.text)
        unit_vector = to_vector(vector, self.identity.dimension, "the query")
        fused = [to_vector(each, self.identity.dimension, "a fused vector") for each in options.fused_vectors]
        return find_hits(Search(options, unit_vector, filter, sparse, fused), self.schema)

    def _check_search(self, options: VectorSearchOptions) -> FilterJSON | None:
        """Check the options against this collection, and return the compiled filter."""
        by_words = options.text is not None and options.diversity is None and options.vector_weight is None
        if not (self.schema.has_dense or by_words):
            raise CollectionMismatch(
                f"{self!r} does not contain a dense vector, only sparse ones; search it by words, without diversity "
                "and weights"
            )
        if options.text is not None:
            check_text(options.text, "the searched text")
            if self.schema.hybrid and not self.hybrid:
                raise ValueError(
                    f"{self!r} has sparse vectors of another encoder; to search by text as well, open it with that one "
                    "as sparse_encoder= ('bm25' if they are this package's terms)"
                )
            if not self.hybrid:
                raise ValueError(
                    f"{self!r} stores no words to search for; create it with hybrid=True to search by text as well"
                )
        return self._compile(options.filter)

    def _compile(self, filter: FilterLike | None) -> FilterJSON | None:
        return compile_filter(
            filter, self.metadata_key, self._engine.index_kinds(), words_need_index=self._engine.words_need_index
        )

    def _warn_of_words(self) -> None:
        """Warn once that points are written without the sparse vectors that the others have."""
        if self._warns_of_words:
            self._warns_of_words = False
            name = self.schema.sparse_vector_name
            message = (
                f"{self!r} has the sparse vector {name!r}, whose encoder was not given: what is written now has none, "
                "and a search by words will not find it; open it with sparse_encoder="
            )
            warnings.warn(message, stacklevel=external_stacklevel())

    def _warn(self, explanations: Iterable[str]) -> None:
        for explanation in explanations:
            warnings.warn(explanation, FilterWarning, stacklevel=external_stacklevel())

    def _rows(self, ids: Iterable[str], fields: Sequence[str] | None) -> Iterator[tuple[str, Row]]:
        """Read the rows that exist, by the user's id."""
        return ((row_id, row) for row_id, row in self._points_of(ids, fields) if stored_id(row) == row_id)

    def _points_of(self, ids: Iterable[str], fields: Sequence[str] | None) -> Iterator[tuple[str, Row]]:
        """Read the point of each id. The point may belong to another id that hashes to it."""
        for wanted in batched(unique_ids(ids), BATCH_POINTS):
            found = {row.id: row for row in self._engine.read([point_id(row_id) for row_id in wanted], fields=fields)}
            yield from ((row_id, found[point_id(row_id)]) for row_id in wanted if point_id(row_id) in found)
