"""One Qdrant collection on any of three engines: points in, hits out."""

from t1_vectorstore.collection.collection import Collection

__all__ = ["Collection"]
