"""The load on many machines: Ray Data hands shards of a corpus to workers, each with a model of its own."""

from t1_vectorstore.distributed.cluster import LOCAL
from t1_vectorstore.distributed.loading import check_shards, load_on_ray
from t1_vectorstore.distributed.running import Workers

__all__ = ["LOCAL", "Workers", "check_shards", "load_on_ray"]
