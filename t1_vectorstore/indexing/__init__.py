"""The load: documents in, points out, in a stream and in constant memory."""

from t1_vectorstore.indexing.chunk_documents import chunker_for
from t1_vectorstore.indexing.load import BATCH_CHUNKS, LoadOptions, Reader, load
from t1_vectorstore.indexing.pruning import prune
from t1_vectorstore.indexing.report import (
    MAX_REPORTED,
    Failure,
    LoadProgress,
    LoadReport,
    TruncatedChunk,
    merge_reports,
)

__all__ = [
    "BATCH_CHUNKS",
    "MAX_REPORTED",
    "Failure",
    "LoadOptions",
    "LoadProgress",
    "LoadReport",
    "Reader",
    "TruncatedChunk",
    "chunker_for",
    "load",
    "merge_reports",
    "prune",
]
