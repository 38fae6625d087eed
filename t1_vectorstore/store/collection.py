"""The collection: the package's one door to stored points."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from types import TracebackType

from t1_vectorstore.chunking import Chunker
from t1_vectorstore.engines import DOCUMENT_PATH, Engine, Expected, Retry, open_engine
from t1_vectorstore.errors import CollectionMismatch
from t1_vectorstore.filters import FilterLike
from t1_vectorstore.ids import point_id
from t1_vectorstore.loads import LatestLoad
from t1_vectorstore.storage import Storage
from t1_vectorstore.store.indexing import Indexer
from t1_vectorstore.store.payload import PROOF, stored_hash, to_payload
from t1_vectorstore.store.reader import Reader
from t1_vectorstore.store.writes import BATCH_POINTS, Writer, batched
from t1_vectorstore.types import Chunk, Indexing, IndexKind, ModelIdentity, Point


class Collection(Reader):
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
        super().__init__(engine, location)
        self._writer = Writer(engine, location)
        self._indexer = Indexer(engine, location)

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
        storage: Storage | None = None,
        shard_key: str | None = None,
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
            storage: how the points are kept: on disk, quantised, on how many machines; fixed at creation. ``None``: as
                the collection has it, the engine's own way for a new one.
            shard_key: the one of ``storage.shard_keys`` to write into and to read from; ``None`` reads them all.
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
            StoreError: the server is too old, or not the cluster that ``storage`` asks for.
            ValueError: the location is neither of the three, an index cannot be made, or ``storage`` asks for what the
                engine does not have.
        """
        if not isinstance(name, str) or not name:
            raise ValueError(f"a collection's name is a string that is not empty, got {name!r}")
        expected = Expected(
            name, identity, content_key, metadata_key, adopt, hybrid, indexes, tenant, storage, shard_key
        )
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

    def check(self, chunk: Chunk) -> None:
        """Refuse what ``upsert`` would refuse whatever the vector, so that no chunk is encoded for nothing.

        Raises:
            ValueError: its id, text or metadata cannot be stored here.
            TypeError: they are not of the types they must be.
        """
        to_payload(chunk, self._schema)

    def upsert(self, points: Iterable[Point]) -> int:
        """Insert or replace points, in batches; each is checked before, and proven after it is written.

        A batch is stored whole or, when one of its points is refused, not at all; the batches before it stay. (One
        that only the server refuses is looked for by writing parts of its batch, and they stay, too.) The same
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
            WriteRefused: the server does not take a point, which is named.
            WriteNotVerified: the engine does not give back what it was given.
            StoreError: the engine failed.
        """
        return self._writer.upsert(points)

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
            removed += self._writer.erase_matching({"must": [{"key": DOCUMENT_PATH, "match": {"any": wanted}}]})
            with self._writer.lock:
                foreign = [row.id for _, row in self._rows(wanted, PROOF) if stored_hash(row) is None]
                removed += self._writer.erase(foreign)
        return removed

    def bulk(self) -> AbstractContextManager[None]:
        """For the length of a ``with`` block a server puts off indexing, which makes a large load faster.

        The block's end restores it, also after an error; ``settle`` then waits for it. What is to be restored is kept
        in the collection, so after a crash the end of the next block, or ``restore_indexing``, does it. Until then
        searches are exact, complete and slow, and ``info().indexing.deferred`` says so. Blocks may be nested and may
        overlap, also with those of other clients: the first client to end turns indexing on for all. The embedded
        engine and ``:memory:`` put nothing off.
        """
        return self._indexer.bulk()

    @contextmanager
    def loading(self, chunker: Chunker) -> Iterator[None]:
        """For the length of a ``with`` block: a load of a source is under way, whose documents are cut in this way.

        The collection remembers how they are cut, for reruns and for ``verify``, and once the block has come to its
        end without an error, that the load is finished: ``latest_load`` tells. Of loads that overlap it is the one that
        began last. A collection that another package made is left alone.
        """
        began = datetime.now(timezone.utc).isoformat()
        load = LatestLoad(chunker.size, chunker.overlap, began, finished=False)
        self._engine.note_load(load)
        yield
        if self.latest_load == load:
            self._engine.note_load(replace(load, finished=True))

    def restore_indexing(self) -> None:
        """Turn indexing on again where a bulk load was cut off; otherwise change nothing."""
        self._engine.restore_indexing()

    def settle(
        self, *, timeout: float | None = None, on_progress: Callable[[Indexing], None] | None = None
    ) -> Indexing | None:
        """Wait until a server has indexed what it was given; searches are answered meanwhile.

        Args:
            timeout: seconds to wait at most; ``None``: as long as it takes.
            on_progress: told at each look, at least once a second.

        Returns:
            What the wait ended with; ``None`` where there is nothing to wait for, as in the other engines. While
            indexing is deferred there is nothing to wait for either, and the result says that it is.

        Raises:
            StoreError: the optimizer has failed, in its own words, or the time is over.
        """
        return self._indexer.settle(timeout, on_progress)

    def optimize(self) -> None:
        """Give a large embedded index a graph, and the quantised vectors that its ``storage`` asks for.

        Worth it above some 50,000 points; below, exact search takes milliseconds. A copy is optimised in a process of
        its own, about a minute for 100,000 vectors of 384 dimensions. Meanwhile searches are answered, writes wait, and
        the disk holds the index twice; searches wait while the files are copied and exchanged, about a second for each
        250 MB. Points written later are searched exactly until the next time. A server does it by itself.

        Raises:
            StoreError: it failed; the index is as it was.
        """
        self._engine.optimize()

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
