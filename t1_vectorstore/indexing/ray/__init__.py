"""Load on several machines: Ray Data distributes the shards of a corpus to workers, each with its own model."""

from t1_vectorstore.indexing.ray.cluster import LOCAL
from t1_vectorstore.indexing.ray.load import check_shards, load_on_ray
from t1_vectorstore.indexing.ray.options import Workers

__all__ = ["LOCAL", "Workers", "check_shards", "load_on_ray"]
