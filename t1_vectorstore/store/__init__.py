"""One Qdrant collection on any of three engines: vectors in, hits out."""

from t1_vectorstore.engines import Retry
from t1_vectorstore.storage import Storage
from t1_vectorstore.store.collection import Collection
from t1_vectorstore.store.options import Searching

__all__ = ["Collection", "Retry", "Searching", "Storage"]
