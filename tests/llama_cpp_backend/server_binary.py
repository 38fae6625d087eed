"""llama.cpp's server, built from the source package of the installed llama-cpp-python, which has no server of its own.

``python -m tests.llama_cpp_backend.server_binary`` builds it, which takes some minutes, and prints its path. It is kept
for other checkouts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

BUILD = Path(__file__).parent / "server_build"


def cached() -> Path | None:
    """Return the server of ``T1_TEST_LLAMA_SERVER``, or the one that was built before."""
    if given := os.environ.get("T1_TEST_LLAMA_SERVER"):
        return Path(given)
    target = _target()
    return target if target.exists() else None


def libraries() -> Path:
    """Return the folder of the libraries that the server is linked to."""
    return Path(sysconfig.get_path("purelib")) / "lib"


def build() -> Path:
    """Build the server, unless it exists already. cmake and ninja are those of this environment."""
    if (found := cached()) is not None:
        return found
    target = _target()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        folder = Path(name)
        package = f"llama-cpp-python=={version('llama-cpp-python')}"
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        subprocess.run(
            [*pip, "download", "--no-deps", "--no-binary", "llama-cpp-python", "--dest", name, package], check=True
        )
        (archive,) = folder.glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        (source,) = folder.glob("*/vendor/llama.cpp")
        tools = Path(sysconfig.get_path("scripts"))
        configure = [
            tools / "cmake",
            "-G",
            "Ninja",
            f"-DCMAKE_MAKE_PROGRAM={tools / 'ninja'}",
            "-S",
            BUILD,
            "-B",
            folder,
        ]
        configure += [f"-DSOURCE={source}", f"-DLIBRARIES={libraries()}"]
        subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)
        subprocess.run([tools / "ninja", "-C", folder, "--quiet"], check=True)
        (folder / "llama-server").replace(target)
    return target


def _target() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "t1_vectorstore"
    return home / f"llama-server-{version('llama-cpp-python')}"


if __name__ == "__main__":
    sys.stdout.write(f"{build()}\n")
