"""What a collection is asked: everything that changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, overload

from typing_extensions import Unpack

from t1_vectorstore.engines import Engine, EngineKind, FilterJSON, Row, Schema
from t1_vectorstore.filters import FilterLike, compile_filter
from t1_vectorstore.ids import PointId, point_id
from t1_vectorstore.loads import LatestLoad
from t1_vectorstore.store.options import Searching, check_search, whole
from t1_vectorstore.store.payload import PROOF, stored_hash, stored_id, to_chunk, to_vector
from t1_vectorstore.store.search import Search, Steps, arun, find, run
from t1_vectorstore.store.sparse import query_terms
from t1_vectorstore.store.writes import BATCH_POINTS, batched
from t1_vectorstore.types import Chunk, CollectionInfo, Fusion, Hit, ModelIdentity, Point, Vector


class Reader:
    """The reading half of ``Collection``; see there."""

    def __init__(self, engine: Engine, location: str) -> None:
        """Read from an engine; ``location`` names it in errors."""
        self.location = location
        self.engine: EngineKind = engine.kind
        self.name = engine.schema.name
        self.identity: ModelIdentity = engine.schema.identity
        self.hybrid: bool = engine.schema.hybrid
        self.uid: str = engine.schema.uid
        self.metadata_key: str = engine.schema.metadata_key
        self._engine = engine

    @property
    def _schema(self) -> Schema:
        return self._engine.schema

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
        vector_weight: float | None = None,
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
            vector_weight: the vector's share in a fusion by ranks, from 0 (words only) to 1 (vector only); the words
                have the rest. It costs a second query. Default: both count the same.
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
            vector_weight=vector_weight,
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

    @property
    def latest_load(self) -> LatestLoad | None:
        """What is remembered of the load that began last; ``None`` where none was noted: see ``loading``."""
        return self._engine.latest_load()

    def info(self) -> CollectionInfo:
        """What the collection is and how large."""
        return CollectionInfo(
            name=self.name,
            engine=self.engine,
            location=self.location,
            identity=self.identity,
            points=self._engine.count(None),
            disk_bytes=self._engine.disk_bytes(),
            indexing=self._engine.indexing(),
            load=self.latest_load,
        )

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
            vector_weight=options.get("vector_weight"),
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
