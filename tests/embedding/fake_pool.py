"""A pool of processes without a model, which start and end as those with one do; light, as each process imports it."""

from __future__ import annotations

import os

from t1_vectorstore import T1Embedder
from t1_vectorstore.backends.fake import FakeBackend
from t1_vectorstore.backends.multi_device import MultiDeviceBackend
from t1_vectorstore.errors import CheckpointError

TWO = ["cpu", "cpu"]


def load_fake(device: str, sharing: int) -> FakeBackend:
    if device == "broken":
        raise CheckpointError(f"one of {sharing} cannot load")
    return FakeBackend(64)


def fakes() -> T1Embedder:
    single = T1Embedder.fake()
    return T1Embedder(single._prompter, MultiDeviceBackend(load_fake, TWO), single.identity)


def worker(embedder: T1Embedder) -> int:
    """The id of the second device's process."""
    return embedder._backend._lanes[1].executor.submit(os.getpid).result()  # type: ignore[attr-defined]
