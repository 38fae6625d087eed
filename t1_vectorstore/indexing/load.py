"""The load itself: a source is read, cut, looked up, encoded and written, all at the same time.

    the caller's thread     reads, cuts into chunks, refuses what cannot be stored, puts batches together
    a thread                asks the collection which chunks it holds unchanged, and refuses ids that clash with others
    a thread                encodes the others
    a thread                writes them, and deletes what longer versions have left

Nothing is read back while the load runs. At its end all that it has written is, once; only what is then found counts as
verified, and the rest is reported.

**There is no journal: the collection is it.** Ids and content hashes are decided by the source alone, so a load that
was killed is completed by running it again, by anyone, anywhere. At each point at which a load can be killed:

- before a batch is written: the rerun does not find its hashes, and encodes and writes it.
- while it is written: what the engine has kept is found by its hashes, the rest is written. A point is replaced as a
  whole, with its hash, so that no hash vouches for another's vector.
- before the chunks of a longer version are deleted, or while they are: the rerun looks for them even where the document
  is unchanged, by the index on document ids. A collection without one (in memory, or of an earlier version) is asked
  for the first of them: they are deleted last first, so as long as any is left, so is the first.
- while the source is pruned: the rerun compares all of the collection again.
- while a failure is noted: the document is not stored, so the rerun meets it again.

A file beside the collection could only agree with that, or be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TypeAlias

from pydantic import Field

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import CollectionMismatch, CorpusError
from t1_vectorstore.indexing.chunk_documents import Piece, chunker_for, cut
from t1_vectorstore.indexing.chunking import Chunker
from t1_vectorstore.indexing.counters import Tally
from t1_vectorstore.indexing.dead_letters import DeadLetters
from t1_vectorstore.indexing.pipeline import Pipeline
from t1_vectorstore.indexing.pruning import EMPTY, delete_unseen
from t1_vectorstore.indexing.report import MAX_REPORTED, LoadProgress, LoadReport
from t1_vectorstore.indexing.seen_ids import Seen
from t1_vectorstore.indexing.steps import MAX_BATCHES, Batch, Steps
from t1_vectorstore.indexing.written_chunks import Proof
from t1_vectorstore.options import Integer, Options, takes_options
from t1_vectorstore.types import Document, FilterLike

BATCH_CHUNKS = 256
"""Chunks that are encoded and written together: an interruption loses no more than the few batches under way."""

_BATCH_CHARACTERS = 2**22
"""A batch ends here, too, so that a few long chunks do not fill the memory."""

Reader: TypeAlias = Callable[..., Iterable[Document]]
"""Called with ``on_error=``, a function that takes each ``CorpusError``; gives the documents. The readers of
``corpora`` are such functions, once they know their file: ``partial(read, "docs")``."""


class LoadOptions(Options):
    """The options of a load."""

    chunker: Chunker | None = None
    """Cuts long documents. Default: ``chunker_for(embedder)``."""
    batch_chunks: Integer = Field(default=BATCH_CHUNKS, ge=1)
    """Number of chunks that are encoded and written together."""
    dead_letters: str | Path | None = None
    """File for the documents that were not stored, as JSON Lines that can be fixed and loaded again. Its former content
    is replaced."""
    prune: bool | FilterLike = False
    """At the end, delete the documents that the source does not have. The collection, or with a filter the part of it
    that matches, is then exactly the source; so nobody else may load other documents into it meanwhile. Points of
    other packages are kept. Nothing is deleted if something could not be read, since it may have been any document; the
    report's ``not_pruned`` then gives the reason."""
    max_reported: Integer | None = Field(default=MAX_REPORTED, ge=0)
    """Maximum number of failures, and of truncated chunks, listed in the report; ``None`` lists all."""
    on_progress: Callable[[LoadProgress], None] | None = None
    """Called after each document and, while work is under way, a few times a second, in the calling thread. An
    exception that it raises ends the load."""


@takes_options(LoadOptions)
def load(
    documents: Iterable[Document] | Reader, embedder: T1Embedder, collection: Collection, options: LoadOptions
) -> LoadReport:
    """Load documents into a collection: encode and write what is new or changed, and nothing else.

    A document replaces an earlier one with the same id as a whole: chunks that its new text no longer has are deleted.
    (If some of those had been deleted by hand, only ``prune`` is sure to find the ones behind the gap.) A document that
    cannot be stored is reported, and the others are stored. Of several documents with the same id in one load the first
    is kept; the others are reported, unless they are equal. Others may load other documents into the collection
    meanwhile.

    Args:
        documents: Any iterable, or a function that returns one and reports unreadable items, such as
            ``partial(read, "docs")``. It is read in the calling thread while the load runs.
        embedder: The model whose vectors the collection holds.
        collection: The collection to write to.
        options: Keyword arguments, the fields of :class:`LoadOptions`.

    Raises:
        CollectionMismatch: The collection holds another model's vectors. Nothing has been done then.
        ValueError: ``prune`` with a source that has no document.
        TypeError: Something other than a document.
        BackendError: The model failed. Chunks stored before stay, and a rerun continues from there.
        StoreError: The collection failed. Chunks stored before stay, and a rerun continues from there.
    """
    if collection.identity.fingerprint != embedder.identity.fingerprint:
        raise CollectionMismatch(
            f"{collection.location} holds vectors of model {collection.identity.model!r}, and the embedder is "
            f"{embedder.identity.model!r}; load that model, or another collection"
        )
    if isinstance(documents, Document) or not (isinstance(documents, Iterable) or callable(documents)):
        raise TypeError(f"expected several documents, got {type(documents).__name__}; wrap a single one in a list")
    with ExitStack() as stack:
        file = options.dead_letters
        letters = None if file is None else stack.enter_context(closing(DeadLetters(file)))
        tally = Tally(letters, options.max_reported)
        seen, proof = stack.enter_context(closing(Seen())), stack.enter_context(closing(Proof()))
        told = _Teller(tally, options.on_progress)
        try:
            steps = Steps(embedder, collection, seen, tally, proof)
            pieces = partial(cut, chunker=options.chunker or chunker_for(embedder), collection=collection)
            run = _Load(steps, pieces, seen, tally, told, options.batch_chunks)
            run.read(documents if isinstance(documents, Iterable) else documents(on_error=run.unreadable))
            proof.check(collection, tally, told)
            not_pruned = _prune(options.prune, seen, collection, tally, told)
        except BaseException:
            told(always=True)  # how far it got, now that every step has ended
            raise
        told(always=True)
        return tally.report(not_pruned)


class _Teller:
    """Tells the caller how far the load is, if there is anything new."""

    def __init__(self, tally: Tally, on_progress: Callable[[LoadProgress], None] | None) -> None:
        self._tally = tally
        self._on_progress = on_progress
        self._last = 0

    def __call__(self, *, always: bool = False) -> None:
        if self._on_progress is None:
            return
        changes = self._tally.changes
        if always or changes != self._last:
            self._last = changes
            self._on_progress(self._tally.progress)


class _Load:
    """The caller's part of a load: reads the source, and fills the batches."""

    def __init__(
        self,
        steps: Steps,
        pieces: Callable[[Document], list[Piece]],
        seen: Seen,
        tally: Tally,
        told: Callable[[], None],
        batch_chunks: int,
    ) -> None:
        self._pieces = pieces
        self._seen = seen
        self._tally = tally
        self._told = told
        self._batch_chunks = batch_chunks
        self._batch: list[Piece] = []
        self._characters = 0
        self._pipeline: Pipeline[Batch] = Pipeline([steps.look_up, steps.encode, steps.write], depth=MAX_BATCHES)
        steps.go_on = self._pipeline.go_on

    def read(self, documents: Iterable[Document]) -> None:
        """Load everything."""
        with self._pipeline:
            for document in documents:
                self._pipeline.raise_error()
                self._add(document)
                self._told()
            self._flush()
            self._pipeline.wait(0, self._told)

    def unreadable(self, error: CorpusError) -> None:
        """Something in the source is no document."""
        self._tally.unreadable(error)
        self._told()

    def _add(self, document: Document) -> None:
        if not isinstance(document, Document):
            raise TypeError(f"a load takes Documents, got {type(document).__name__}; write Document(text=...)")
        self._tally.count(documents=1)
        try:
            pieces = self._pieces(document)
            new = self._seen.add(pieces)
        except (ValueError, TypeError) as error:
            self._seen.add_failed(document.id)
            self._tally.fail(str(document.id), str(error), document)
            return
        if not new:
            self._tally.count(repeated=1)
            return
        self._tally.count(chunks=len(pieces))
        for piece in pieces:
            self._batch.append(piece)
            self._characters += len(piece.chunk.text)
            if len(self._batch) >= self._batch_chunks or self._characters >= _BATCH_CHARACTERS:
                self._flush()

    def _flush(self) -> None:
        if self._batch:
            batch, self._batch, self._characters = Batch(self._batch), [], 0
            self._pipeline.submit(batch, self._told)


def _prune(
    wanted: bool | FilterLike, seen: Seen, collection: Collection, tally: Tally, told: Callable[[], None]
) -> str:
    """Prune if it is wanted and safe.

    Returns:
        Why it was wanted and not done; empty otherwise.
    """
    if wanted is False:
        return ""
    read = tally.progress
    if read.unread:
        return f"of the source {read.unread} could not be read, and that may be documents which would be deleted"
    if not read.documents:
        raise ValueError(EMPTY)
    for removed in delete_unseen(seen, collection, None if wanted is True else wanted):
        tally.count(pruned=removed)
        told()
    return ""
