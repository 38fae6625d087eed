"""The collection: the package's one door to stored points."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Literal, overload

from typing_extensions import Unpack

from t1_vectorstore.engines import OWN_KEY, Engine, EngineKind, Expected, FilterJSON, Retry, Row, open_engine
from t1_vectorstore.errors import CollectionMismatch
from t1_vectorstore.filters import FilterLike, compile_filter
from t1_vectorstore.ids import PointId, point_id
from t1_vectorstore.store.options import Searching, check_search, whole
from t1_vectorstore.store.payload import PROOF, stored_hash, stored_id, to_chunk, to_vector
from t1_vectorstore.store.search import Search, Steps, arun, find, run
from t1_vectorstore.store.sparse import query_terms
from t1_vectorstore.store.writes import BATCH_POINTS, Writer, batched
from t1_vectorstore.types import Chunk, CollectionInfo, Fusion, Hit, IndexKind, ModelIdentity, Point, Vector


class Collection:
    """The points of one model in one place. Thread-safe.

    A point's id is any string. Writing a point whose id exists replaces it. ``score`` is the cosine similarity, in
    [-1, 1] and to six decimals, which is what float32 can tell, on every engine and however the hits were found and
    put in order; every threshold means ``score >= threshold``.

    Attributes:
        location: where it is, as it was opened.
        engine: what keeps it: ``embedded`` (a folder), ``memory`` or ``server``.
        name: the collection's name.
        identity: the model whose vectors it holds; without a fingerprint if that was never recorded.
        hybrid: whether it holds the words of its texts beside the vectors, so that they can be searched, too.
        uid: random, given at creation: tells it from another that was made later in its place. Empty if not recorded.
        metadata_key: the payload's key of the metadata; empty where the rest of the payload is the metadata.
    """

    def __init__(self, engine: Engine, location: str) -> None:
        """Use ``Collection.open``."""
        self.location = location
        self.engine: EngineKind = engine.kind
        self.name = engine.schema.name
        self.identity: ModelIdentity = engine.schema.identity
        self.hybrid: bool = engine.schema.hybrid
        self.uid: str = engine.schema.uid
        self.metadata_key: str = engine.schema.metadata_key
        self._engine = engine
        self._schema = engine.schema
        self._writer = Writer(engine, location)

    @classmethod
    def open(
        cls,
        location: str | os.PathLike[str],
        *,
        name: str = "t1",
        identity: ModelIdentity | None = None,
        create: bool = True,
        adopt: bool = False,
        content_key: str | None = None,
        metadata_key: str | None = None,
        hybrid: bool | None = None,
        indexes: Mapping[str, IndexKind] | None = None,
        tenant: str | None = None,
        api_key: str | None = None,
        timeout: float = 30.0,
        grpc_port: int | None = None,
        retry: Retry | None = None,
    ) -> Collection:
        """Open a collection, and create it if it does not exist yet.

        Args:
            location: ``:memory:``, the http(s) URL of a Qdrant server (1.16 or later to create), or else a folder.
            name: the collection's name.
            identity: the model to be used; ``None`` opens what exists, whoever made it.
            create: whether to create the collection if need be; without an identity it never is.
            adopt: take a collection that does not say whose vectors it holds, such as one made by another package, for
                one of ``identity``. Nothing is written to it, so it must be said at each opening.
            content_key: payload key of the text, fixed at creation. ``None``: the collection's, ``page_content`` for a
                new one.
            metadata_key: the same for the metadata; ``metadata`` for a new one. Empty: the metadata is the rest of the
                payload, as in collections of llama-index-vector-stores-qdrant.
            hybrid: whether to store the words of the texts beside the vectors, so that ``search`` takes a ``text``;
                fixed at creation. ``None``: as the collection has it, off for a new one.
            indexes: metadata fields to filter by, and what they hold, such as ``{"year": "integer"}``; a value of
                another kind is then not found. Made at creation, before anything is loaded, by the embedded engine and
                by servers; ``:memory:`` needs none. ``None``: as the collection has it.
            tenant: the metadata field that says whose a point is; its index keeps each one's points together. Searches
                are still limited to one by their ``filter``. Fixed at creation.
            api_key: for a server.
            timeout: seconds that one call to a server may take.
            grpc_port: where a server speaks gRPC; ``None`` means the port after the URL's. gRPC is used when it leads
                to the same collection, else REST.
            retry: how patient to be with a server's transient errors.

        Raises:
            CollectionNotFound: nothing to open, or a folder that holds other things; it is left untouched.
            CollectionMismatch: it was made for another model, dimension, distance or payload; names both.
            CollectionLocked: the folder is open elsewhere.
            StoreUnavailable: the server does not answer, or the folder cannot be written to.
            ValueError: the location is neither of the three, or an index cannot be made.
        """
        if not isinstance(name, str) or not name:
            raise ValueError(f"a collection's name is a string that is not empty, got {name!r}")
        expected = Expected(name, identity, content_key, metadata_key, adopt, hybrid, indexes, tenant)
        engine = open_engine(
            location, expected, create=create, api_key=api_key, timeout=timeout, grpc_port=grpc_port, retry=retry
        )
        try:
            if adopt:
                _check_payload(engine, os.fspath(location))
        except BaseException:
            engine.close()
            raise
        return cls(engine, os.fspath(location))

    def upsert(self, points: Iterable[Point]) -> int:
        """Insert or replace points, in batches; each is checked before, and proven after it is written.

        A batch is stored whole or, when one of its points is refused, not at all; the batches before it stay. The same
        point given twice is one point. Two points of one id that differ in text or metadata are refused, since one of
        them would be lost.

        Args:
            points: any iterable; a generator is read batch by batch.

        Returns:
            How many different points were stored.

        Raises:
            ValueError: a vector, id, text or metadata cannot be stored. Like every error of this call it has an
                attribute ``stored``: how many points were stored before it.
            TypeError: something other than a ``Point``.
            WriteNotVerified: the engine does not give back what it was given.
            StoreError: the engine failed.
        """
        return self._writer.upsert(points)

    def search(
        self,
        vector: Vector | Sequence[float],
        *,
        limit: int = 10,
        offset: int = 0,
        score_threshold: float | None = None,
        filter: FilterLike | None = None,
        text: str | None = None,
        fusion: Fusion = "rrf",
        diversity: float | None = None,
        candidates: int | None = None,
        group: bool = False,
    ) -> list[Hit]:
        """The points nearest to a vector, best first; equals in the order of their ids.

        Args:
            vector: shape ``(dimension,)``; its length does not matter.
            limit: how many at most.
            offset: how many of the best to skip.
            score_threshold: the lowest score to return.
            filter: what the metadata must satisfy; see ``filters.py``.
            text: also look for its words, in a hybrid collection; the two rankings are fused into one. A text without
                words changes nothing.
            fusion: how: ``rrf`` goes by the ranks (with k = 2), ``dbsf`` by the distribution of the scores.
            diversity: choose hits that are also unlike each other, in the order of their choice: 0 is relevance only, 1
                is difference only.
            candidates: how many the vector, and the text, contribute to a fusion or to a choice; pages of one list need
                the same number. Default: four times as many as are wanted, and 50 at least.
            group: of each document only its best chunk; a point that another package wrote is a document of its own.

        Raises:
            ValueError: the vector, a number or the filter cannot be used, or the collection holds no words.
        """
        steps = self._steps(
            vector,
            limit=limit,
            offset=offset,
            score_threshold=score_threshold,
            filter=filter,
            text=text,
            fusion=fusion,
            diversity=diversity,
            candidates=candidates,
            group=group,
        )
        return run(steps, self._engine.nearest)

    async def asearch(self, vector: Vector | Sequence[float], **options: Unpack[Searching]) -> list[Hit]:
        """``search`` without holding up the event loop; against a server without a thread for each search, too."""
        return await arun(self._steps(vector, **options), self._engine.anearest)

    def check_search(self, **options: Unpack[Searching]) -> None:
        """Refuse what ``search`` would refuse, so that no query is thought about for nothing.

        Raises:
            ValueError: an option of ``search`` has a value that it does not take.
        """
        check_search(**options)
        if options.get("text") is not None and not self.hybrid:
            raise ValueError(f"{self!r} holds no words to search; create it with hybrid=True to search by text as well")
        self._compile(options.get("filter"))

    def get(self, ids: Iterable[str]) -> dict[str, Chunk]:
        """The chunks that exist among ``ids``, by id; the others are no keys."""
        return {row_id: to_chunk(row, self._schema) for row_id, row in self._rows(ids, None)}

    def content_hashes(self, ids: Iterable[str]) -> dict[str, str]:
        """What ``Chunk.content_hash`` was when each of the points was written; unknown ids are no keys."""
        hashes = ((row_id, stored_hash(row)) for row_id, row in self._rows(ids, PROOF))
        return {row_id: content_hash for row_id, content_hash in hashes if content_hash is not None}

    def delete(self, ids: Iterable[str] | None = None, *, filter: FilterLike | None = None) -> int:
        """Remove points by id, or all that match a filter; never everything by accident.

        Returns:
            How many points were removed.

        Raises:
            ValueError: neither or both are given, or the filter restricts nothing.
            WriteNotVerified: points are still there afterwards.
        """
        if (ids is None) == (filter is None):
            raise ValueError("delete needs either ids or a filter; to remove everything, remove the collection")
        if ids is not None:
            removed = 0
            for wanted in batched(self._known(ids), BATCH_POINTS):
                with self._writer.lock:
                    removed += self._writer.erase([point_id(row_id) for row_id, _ in self._rows(wanted, PROOF)])
            return removed
        compiled = self._compile(filter)
        if compiled is None:
            raise ValueError(f"the filter {filter!r} restricts nothing and would delete every point")
        return self._writer.erase_matching(compiled)

    def delete_documents(self, document_ids: Iterable[str]) -> int:
        """Remove documents with all their chunks; a point that another package wrote is a document of its own.

        Returns:
            How many points were removed.
        """
        removed = 0
        for wanted in batched(self._known(document_ids), BATCH_POINTS):
            removed += self._writer.erase_matching(
                {"must": [{"key": f"{OWN_KEY}.document_id", "match": {"any": wanted}}]}
            )
            with self._writer.lock:
                foreign = [row.id for _, row in self._rows(wanted, PROOF) if stored_hash(row) is None]
                removed += self._writer.erase(foreign)
        return removed

    def count(self, filter: FilterLike | None = None) -> int:
        """How many points there are, or match; exact on every engine."""
        return self._engine.count(self._compile(filter))

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
        """All points, or all that match, one after the other and without a cap.

        Args:
            filter: what the metadata must satisfy.
            batch: how many are read at a time.
            with_vectors: whether to give ``Point`` (chunk and vector of unit length) instead of ``Chunk``.
        """
        rows = self._all(self._compile(filter), whole("batch", batch, 1), with_vectors)
        if not with_vectors:
            return (to_chunk(row, self._schema) for row in rows)
        return (Point(to_chunk(row, self._schema), row.vector) for row in rows if row.vector is not None)

    def info(self) -> CollectionInfo:
        """What the collection is and how large."""
        return CollectionInfo(
            name=self.name,
            engine=self.engine,
            location=self.location,
            identity=self.identity,
            points=self._engine.count(None),
            disk_bytes=self._engine.disk_bytes(),
        )

    def close(self) -> None:
        """Release the folder or the connection. Calling it twice is harmless."""
        self._engine.close()

    def __enter__(self) -> Collection:
        """Close at the end of a ``with`` block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        return f"Collection({self.name!r} at {self.location!r}, {self.engine}, model {self.identity.model!r})"

    def _steps(self, vector: Vector | Sequence[float], **options: Unpack[Searching]) -> Steps:
        """A search, checked now, to be made."""
        self.check_search(**options)
        text = options.get("text")
        search = Search(
            to_vector(vector, self._schema.identity.dimension, "the query"),
            limit=int(options.get("limit", 10)),
            offset=int(options.get("offset", 0)),
            score_threshold=options.get("score_threshold"),
            filter=self._compile(options.get("filter")),
            sparse=None if text is None else query_terms(text),
            fusion=options.get("fusion", "rrf"),
            diversity=options.get("diversity"),
            candidates=options.get("candidates"),
            group=options.get("group", False),
        )
        return find(search, self._schema)

    def _compile(self, filter: FilterLike | None) -> FilterJSON | None:
        return compile_filter(filter, self._schema.metadata_key)

    def _known(self, ids: Iterable[str]) -> list[str]:
        """Each id once, in order; a bad one is found before anything is read or removed."""
        if isinstance(ids, str | bytes):
            raise TypeError(f"ids is a list of strings, got the single {type(ids).__name__} {ids!r}; write [id]")
        once = list(dict.fromkeys(ids))
        for row_id in once:
            point_id(row_id)
        return once

    def _rows(self, ids: Iterable[str], fields: Sequence[str] | None) -> Iterator[tuple[str, Row]]:
        """The rows that exist, by the user's id; a point that is another id's hash is not this id's point."""
        for wanted in batched(self._known(ids), BATCH_POINTS):
            found = {row.id: row for row in self._engine.read([point_id(row_id) for row_id in wanted], fields=fields)}
            for row_id in wanted:
                row = found.get(point_id(row_id))
                if row is not None and stored_id(row) == row_id:
                    yield row_id, row

    def _all(self, filter: FilterJSON | None, batch: int, vectors: bool) -> Iterator[Row]:
        after: PointId | None = None
        while True:
            rows, after = self._engine.page(filter, limit=batch, after=after, vectors=vectors)
            yield from rows
            if after is None:
                return


def _check_payload(engine: Engine, location: str) -> None:
    """Refuse to adopt a collection whose points keep text and metadata under other keys: each would read as empty."""
    keys = (engine.schema.content_key, engine.schema.metadata_key)
    if engine.schema.uid or not all(keys):  # our own, or one whose payload is the metadata
        return
    rows, _ = engine.page(None, limit=1, after=None)
    if rows and rows[0].payload and not rows[0].payload.keys() & set(keys):
        raise CollectionMismatch(
            f"the points in {location} have neither {keys[0]!r} nor {keys[1]!r} in their payload, but "
            f"{', '.join(map(repr, rows[0].payload))}; say with content_key= and metadata_key= where they keep text "
            "and metadata (metadata_key='' where the whole payload is the metadata, as LlamaIndex has it)"
        )
