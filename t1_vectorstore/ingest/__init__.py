"""The load: documents in, points out, in a stream and in constant memory."""

from t1_vectorstore.ingest.cutting import chunker_for
from t1_vectorstore.ingest.loading import BATCH_CHUNKS, Reader, load
from t1_vectorstore.ingest.pruning import prune
from t1_vectorstore.ingest.report import NAMED, Failure, LoadProgress, LoadReport, TruncatedChunk, merged

__all__ = [
    "BATCH_CHUNKS",
    "NAMED",
    "Failure",
    "LoadProgress",
    "LoadReport",
    "Reader",
    "TruncatedChunk",
    "chunker_for",
    "load",
    "merged",
    "prune",
]
