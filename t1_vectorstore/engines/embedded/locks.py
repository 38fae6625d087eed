"""Locks of files, which the operating system releases when a process ends."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

from t1_vectorstore.errors import CollectionLocked


def lock(file: Path) -> IO[bytes]:
    """Lock a file, or raise ``CollectionLocked``. The operating system releases the lock when the process ends."""
    handle = file.open("ab+", buffering=0)
    try:
        take(handle, shared=False)
    except OSError as error:
        handle.seek(0)
        holder = "" if sys.platform == "win32" else handle.read().decode("ascii", "replace").strip()
        handle.close()
        who = "this process" if holder == str(os.getpid()) else f"process {holder or '(unknown)'}"
        raise CollectionLocked(
            f"{file.parent} is open in {who}; close it there, read it with read_only=True (--read-only), or use a "
            "Qdrant server for several processes"
        ) from error
    with suppress(OSError):  # the pid is for people: a full disk must not prevent reading
        handle.truncate(0)
        handle.write(f"{os.getpid()}\n".encode())
    return handle


def take(handle: IO[bytes], *, shared: bool) -> None:
    """Lock an open file, or raise ``OSError`` if another handle has it locked; Windows has no shared locks."""
    if sys.platform == "win32":
        import msvcrt

        handle.seek(0)
        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def wait_for(handle: IO[bytes], *, shared: bool) -> None:
    """Lock an open file, and wait for it if need be."""
    if sys.platform == "win32":
        import msvcrt

        handle.seek(0)
        while True:
            with suppress(OSError):  # after ten seconds
                msvcrt.locking(handle.fileno(), msvcrt.LK_LOCK, 1)
                return
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


def release(handle: IO[bytes]) -> None:
    """Unlock an open file."""
    if sys.platform == "win32":
        import msvcrt

        handle.seek(0)
        msvcrt.locking(handle.fileno(), msvcrt.LK_UNLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_UN)
