"""A backend on two devices with fake models, whose processes start and end like real ones. Quick to import."""

from __future__ import annotations

import os

from t1_vectorstore import T1Embedder
from t1_vectorstore.backends.fake import FakeBackend
from t1_vectorstore.backends.multi_device import MultiDeviceBackend
from t1_vectorstore.errors import CheckpointError

TWO = ["cpu", "cpu"]


def load_fake(device: str, sharing: int) -> FakeBackend:
    if device == "broken":
        raise CheckpointError(f"one of {sharing} models cannot be loaded")
    return FakeBackend(64)


def load_two_fakes() -> T1Embedder:
    single = T1Embedder.fake()
    return T1Embedder(single._prompter, MultiDeviceBackend(load_fake, TWO), single.identity)


def worker_pid(embedder: T1Embedder) -> int:
    """Return the id of the second device's process."""
    return embedder._backend._workers[1].executor.submit(os.getpid).result()  # type: ignore[attr-defined]
