"""The load on many machines: Ray Data hands shards of a corpus to workers, each with a model of its own."""

from t1_vectorstore.indexing.ray.cluster import LOCAL
from t1_vectorstore.indexing.ray.load import check_shards, load_on_ray
from t1_vectorstore.indexing.ray.run import Workers

__all__ = ["LOCAL", "Workers", "check_shards", "load_on_ray"]
