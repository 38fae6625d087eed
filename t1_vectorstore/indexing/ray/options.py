"""The options of a load on Ray."""

from __future__ import annotations

from dataclasses import dataclass

from t1_vectorstore.indexing.chunking import DEFAULT_SIZE
from t1_vectorstore.indexing.load import ReportOptions
from t1_vectorstore.indexing.ray.cluster import LOCAL
from t1_vectorstore.keyword_options import Integer
from t1_vectorstore.readers import Fields


@dataclass(frozen=True)
class Workers:
    """Number of workers, and what Ray reserves for each.

    Attributes:
        count: Number of workers. Each has its own model, and loads one shard at a time.
        cpus: CPUs per worker, or a fraction of one.
        gpus: GPUs per worker, or a fraction of one: ``0.5`` puts two workers on a GPU.
    """

    count: int = 1
    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.count < 1 or self.cpus < 0 or self.gpus < 0:
            raise ValueError(f"at least one worker is needed, and CPUs and GPUs of at least 0, got {self}")


class RayLoadOptions(ReportOptions):
    """The options of ``load_on_ray``."""

    workers: Workers = Workers()
    """Number of workers, and what each needs."""
    address: str = LOCAL
    """Address of a Ray cluster (``auto`` on one of its machines); ``local`` starts Ray on this one. A process that is
    connected to Ray already keeps its connection."""
    fields: Fields = Fields()
    """Which fields of a record hold the text, the id and the metadata."""
    chunk_size: Integer = DEFAULT_SIZE
    """Maximum size of a chunk in characters."""
    overlap: Integer = 0
    """Number of characters that a chunk repeats of the one before."""
