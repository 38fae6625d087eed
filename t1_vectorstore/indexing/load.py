"""Load documents: read, split, look up, encode and write them, all at the same time.

    calling thread    reads, splits into chunks, refuses what cannot be stored, collects batches
    one thread        looks up which chunks the collection already holds, and refuses ids that clash with others
    one thread        encodes the other chunks
    one thread        writes them, and deletes the chunks that earlier versions left

Nothing is read back while the load runs. At its end every written chunk is read back once; only what is found then
counts as verified, and the rest is reported.

**There is no journal: the collection itself is the record.** Ids and content hashes depend only on the source, so a
killed load is completed by running it again, on any machine. Wherever a load is killed:

- before a batch is written: the rerun does not find its hashes, and encodes and writes it.
- while it is written: the chunks that the engine kept are found by their hashes, and the rest is written. A point is
  replaced as a whole, with its hash, so no hash stands for another chunk's vector.
- before or while the chunks of an earlier version are deleted: the rerun looks for them even if the document is
  unchanged, by the index on document ids. A collection without this index (in memory, or of an earlier version) is
  asked for the first of them: they are deleted last first, so as long as any is left, the first one is.
- while the source is pruned: the rerun compares the whole collection again.
- while a failure is written down: the document is not stored, so the rerun finds it again.

A separate journal could only agree with the collection, or be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TypeAlias

from pydantic import Field

from t1_vectorstore.collection import Collection
from t1_vectorstore.collection.filters import compile_filter
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import CorpusError
from t1_vectorstore.indexing.chunk_documents import PendingChunk, chunk_document, chunker_for
from t1_vectorstore.indexing.chunking import Chunker, reported_id
from t1_vectorstore.indexing.dead_letters import DeadLetters
from t1_vectorstore.indexing.pipeline import Pipeline
from t1_vectorstore.indexing.pruning import EMPTY_SOURCE, delete_unseen
from t1_vectorstore.indexing.report import MAX_REPORTED, LoadCounters, LoadProgress, LoadReport
from t1_vectorstore.indexing.seen_ids import SeenIds
from t1_vectorstore.indexing.steps import MAX_BATCHES, BatchSteps, LoadBatch
from t1_vectorstore.indexing.written_chunks import WrittenChunks
from t1_vectorstore.keyword_options import Integer, Options, takes_options
from t1_vectorstore.types import Document, FilterLike

BATCH_CHUNKS = 256
"""Number of chunks that are encoded and written together. An interruption loses at most the few batches in progress."""

_BATCH_CHARACTERS = 2**22
"""Characters at which a batch ends as well, so that long chunks do not fill the memory."""

_Split: TypeAlias = Callable[[Document], list[PendingChunk]]

Reader: TypeAlias = Callable[..., Iterable[Document]]
"""Function that takes ``on_error=``, a function for each ``CorpusError``, and returns documents. The readers of
``t1_vectorstore.readers`` are such functions once their file is given: ``partial(read, "docs")``."""


class ReportOptions(Options):
    """How a load reports."""

    dead_letters: str | Path | None = None
    """File for the documents that were not stored, as JSON Lines that can be fixed and loaded again. Its former content
    is replaced."""
    max_reported: Integer | None = Field(default=MAX_REPORTED, ge=0)
    """Maximum number of failures, and of truncated chunks, listed in the report; ``None`` lists all."""
    on_progress: Callable[[LoadProgress], None] | None = None
    """Called in the calling thread whenever something has changed, several times a second. An exception that it raises
    ends the load."""


class LoadOptions(ReportOptions):
    """The options of a load."""

    chunker: Chunker | None = None
    """Splits long documents. Default: ``chunker_for(embedder)``."""
    batch_chunks: Integer = Field(default=BATCH_CHUNKS, ge=1)
    """Number of chunks that are encoded and written together."""
    prune: bool | FilterLike = False
    """Delete at the end the documents that the source does not have. The collection, or its part that matches a filter,
    is then exactly the source, so nothing else may load other documents into it at the same time. Points of other
    packages are kept. If an item could not be read, nothing is deleted, since it may be any document; the report's
    ``not_pruned`` then gives the reason."""


@takes_options(LoadOptions)
def load(
    documents: Iterable[Document] | Reader, embedder: T1Embedder, collection: Collection, options: LoadOptions
) -> LoadReport:
    """Load documents into a collection: encode and write what is new or changed, and nothing else.

    A document replaces the stored one with the same id completely: chunks that its new text no longer has are deleted.
    (If some of those were deleted by hand, only ``prune`` is sure to find the ones after the gap.) A document that
    cannot be stored is reported, and the others are stored. Of several documents with the same id in one load, the
    first is stored; the others are reported, unless they are equal to it. Other processes may load other documents into
    the collection at the same time.

    Args:
        documents: Any iterable, or a function that returns one and reports unreadable items, such as
            ``partial(read, "docs")``. It is read in the calling thread while the load runs.
        embedder: The model whose vectors the collection holds.
        collection: The collection to write to.
        options: Keyword arguments, the fields of ``LoadOptions``.

    Raises:
        CollectionMismatch: The collection holds another model's vectors. Nothing was changed.
        ValueError: ``prune`` with a source that has no document, or with a filter that restricts nothing.
        TypeError: Something other than a document.
        BackendError: The model failed. Chunks stored before are kept, and a rerun continues from there.
        StoreError: The collection failed. Chunks stored before are kept, and a rerun continues from there.
    """
    collection.check_writable()
    collection.check_model(embedder.identity)
    if isinstance(documents, Document) or not (isinstance(documents, Iterable) or callable(documents)):
        raise TypeError(f"expected several documents, got {type(documents).__name__}; wrap a single one in a list")
    if not isinstance(options.prune, bool):
        collection.check_search(filter=options.prune)  # refused before anything is embedded
        if compile_filter(options.prune, collection.metadata_key) is None:
            raise ValueError(f"prune={options.prune!r} restricts nothing; for all documents write prune=True")
    with ExitStack() as stack:
        file = options.dead_letters
        dead_letters = None if file is None else stack.enter_context(closing(DeadLetters(file)))
        counters = LoadCounters(dead_letters, options.max_reported, options.on_progress)
        seen, written = stack.enter_context(closing(SeenIds())), stack.enter_context(closing(WrittenChunks()))
        steps = BatchSteps(embedder, collection, seen, counters, written)
        split = partial(chunk_document, chunker=options.chunker or chunker_for(embedder), collection=collection)

        def skip_unreadable(error: CorpusError) -> None:
            counters.count_unreadable(error)
            counters.report_progress()

        try:
            source = documents if isinstance(documents, Iterable) else documents(on_error=skip_unreadable)
            with Pipeline([steps.look_up, steps.encode, steps.write], depth=MAX_BATCHES) as pipeline:
                steps.check_stopped = pipeline.check_stopped
                for batch in _batches(pipeline.watch(source), split, seen, counters, options.batch_chunks):
                    pipeline.submit(batch, counters.report_progress)
                pipeline.wait(0, counters.report_progress)
            written.verify(collection, counters)
            not_pruned = _prune(options.prune, seen, collection, counters)
        finally:
            counters.report_progress(always=True)  # the final counts, also after an error: every step has ended
        return counters.report(not_pruned)


def _batches(
    documents: Iterable[Document], split: _Split, seen: SeenIds, counters: LoadCounters, batch_chunks: int
) -> Iterator[LoadBatch]:
    """Read and split the documents, and yield their new chunks in batches."""
    batch: list[PendingChunk] = []
    characters = 0
    for document in documents:
        for pending in _new_chunks(document, split, seen, counters):
            batch.append(pending)
            characters += len(pending.chunk.text)
            if len(batch) >= batch_chunks or characters >= _BATCH_CHARACTERS:
                yield LoadBatch(batch)
                batch, characters = [], 0
        counters.report_progress()
    if batch:
        yield LoadBatch(batch)


def _new_chunks(document: Document, split: _Split, seen: SeenIds, counters: LoadCounters) -> list[PendingChunk]:
    """Split a document; return no chunks if it cannot be stored, or equals an earlier document of this load."""
    if not isinstance(document, Document):
        raise TypeError(f"a load takes Documents, got {type(document).__name__}; write Document(text=...)")
    counters.count(documents=1)
    try:
        chunks = split(document)
        is_new = seen.add(chunks)
    except (ValueError, TypeError) as error:
        name = reported_id(document)
        seen.add_failed(name)
        counters.count_failure(name, str(error), document)
        return []
    if not is_new:
        counters.count(repeated=1)
        return []
    counters.count(chunks=len(chunks))
    return chunks


def _prune(wanted: bool | FilterLike, seen: SeenIds, collection: Collection, counters: LoadCounters) -> str:
    """Prune if it is wanted and safe, and return the reason if it is wanted but not safe."""
    if wanted is False:
        return ""
    read = counters.progress
    if read.unread:
        return f"{read.unread} items of the source could not be read, and may be documents that would be deleted"
    if not read.documents:
        raise ValueError(EMPTY_SOURCE)
    for removed in delete_unseen(seen, collection, None if wanted is True else wanted):
        counters.count(pruned=removed)
        counters.report_progress()
    return ""
