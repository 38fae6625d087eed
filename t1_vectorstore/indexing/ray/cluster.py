"""The Ray cluster that a load runs on: one that is there, or one of this machine for as long as the load lasts."""

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
"""The address that means: start Ray on this machine."""

_ANSWER_SECONDS = 10.0
_OBJECT_STORE_BYTES = 100 * 2**20  # documents do not pass through it, only names of shards and reports

# Read by Ray when it is imported, and by the processes that it starts. No usage statistics are sent; and "not a
# cluster" is how Ray is told to listen on 127.0.0.1 only, on every system and not just where a firewall would ask.
_LOCAL_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@contextmanager
def cluster(address: str, cpus: float) -> Iterator[None]:
    """Be connected to Ray; what was begun here is ended here.

    Args:
        address: ``local`` (on 127.0.0.1 only, unless ray was imported before), or of a cluster: ``auto``,
            ``host:port``, ``ray://host:port``. A process that is connected already stays where it is.
        cpus: how many CPUs a local one offers to workers; they are places, not a limit on what a worker uses.

    Raises:
        MissingExtraError: ray is not installed.
        BackendError: no cluster answers at that address.
    """
    if address != LOCAL:
        _knock(address)
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
        # one CPU more than the workers have, or Ray Data finds no room for itself
        ray.init(
            address=LOCAL,
            num_cpus=math.ceil(cpus) + 1,
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


def _knock(address: str) -> None:
    """Find out at once whether anything listens at ``host:port``; Ray itself goes on trying for minutes."""
    parts = urlsplit(address if "://" in address else f"ray://{address}")
    if parts.hostname is None or parts.port is None:
        return  # a name such as auto, which Ray resolves
    try:
        with socket.create_connection((parts.hostname, parts.port), _ANSWER_SECONDS):
            pass
    except OSError as error:
        raise BackendError(f"no Ray cluster answers at {address!r}: {error.strerror or error}") from error
