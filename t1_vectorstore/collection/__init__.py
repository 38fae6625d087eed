"""One Qdrant collection, in memory, in a folder or on a server: points are stored, and searches return hits."""

from t1_vectorstore.collection.collection import Collection
from t1_vectorstore.collection.payload import PointState
from t1_vectorstore.engines import Location

__all__ = ["Collection", "Location", "PointState"]
