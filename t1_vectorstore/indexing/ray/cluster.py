"""The Ray cluster of a load: an existing one, or one on this machine that ends with the load."""

from __future__ import annotations

import logging
import math
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from t1_vectorstore.errors import BackendError, MissingExtraError

LOCAL = "local"
"""Address that starts Ray on this machine."""

_CONNECT_SECONDS = 10.0
_OBJECT_STORE_BYTES = 100 * 2**20  # small: only shard names and reports pass through it, not documents

# Ray reads these when it is imported, and its processes inherit them. No usage statistics are sent. The second variable
# makes Ray listen on 127.0.0.1 only, on every system and not just where a firewall would ask.
_LOCAL_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@contextmanager
def cluster(address: str, cpus: float) -> Iterator[None]:
    """Connect to Ray for the length of a ``with`` block. A process that is already connected keeps its connection.

    Args:
        address: ``local`` (on 127.0.0.1 only, unless ray was imported before), or the address of a cluster: ``auto``,
            ``host:port``, ``ray://host:port``.
        cpus: Number of CPUs that a local Ray offers to workers. It limits how many workers run, not what each uses.

    Raises:
        MissingExtraError: Ray is not installed.
        BackendError: No cluster answers at the address.
    """
    if address != LOCAL:
        _check_reachable(address)
    elif "ray" not in sys.modules:
        os.environ.update({name: value for name, value in _LOCAL_ENVIRONMENT.items() if name not in os.environ})
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise MissingExtraError("ray", "a load on several workers") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    if ray.is_initialized():
        yield
        return
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == LOCAL:
        ray.init(
            address=LOCAL,
            num_cpus=math.ceil(cpus) + 1,  # Ray Data itself needs one more than the workers
            object_store_memory=_OBJECT_STORE_BYTES,
            include_dashboard=False,
            **quiet,
        )
    else:
        try:
            ray.init(address=address, **quiet)
        except ConnectionError as error:
            raise BackendError(f"no Ray cluster at {address!r}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Check quickly whether anything listens at ``host:port``. Ray itself would retry for minutes."""
    parts = urlsplit(address if "://" in address else f"ray://{address}")
    if parts.hostname is None or parts.port is None:
        return  # a name such as auto, which Ray resolves
    try:
        with socket.create_connection((parts.hostname, parts.port), _CONNECT_SECONDS):
            pass
    except OSError as error:
        raise BackendError(f"no Ray cluster answers at {address!r}: {error.strerror or error}") from error
