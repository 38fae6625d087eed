"""Run langchain-qdrant's own tests against this package's store, with only the names swapped.

    python -m tests.peers.swapped_names [--source DIR] [pytest arguments]

Nothing of langchain-qdrant is kept here: its source distribution is downloaded, and changed in a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from tests.collection.qdrant_binary import fetch
from tests.collection.qdrant_server import running_server

PACKAGE = "langchain-qdrant==1.1.0"
SUITE = "tests/integration_tests/qdrant_vector_store"
"""The tests of ``QdrantVectorStore``. The others are about the deprecated class ``Qdrant``."""
_REPOSITORY = Path(__file__).parents[2]

_IMPORT = r"from langchain_qdrant(?:\.qdrant)? import"

# The names that change, in the order in which they are replaced.
_SWAPS = (
    (f"{_IMPORT} QdrantVectorStoreError", "from t1_vectorstore.errors import StoreError as QdrantVectorStoreError"),
    (rf"{_IMPORT} (QdrantVectorStore\b.*|RetrievalMode)", r"from t1_vectorstore.langchain import \1"),
    (r"\bQdrantVectorStore\b", "T1QdrantVectorStore"),
)


@dataclass(frozen=True)
class Outcome:
    """The names of the tests that passed and failed, without the address of the server."""

    passed: frozenset[str]
    failed: frozenset[str]


def download(folder: Path) -> Path:
    """Download the source distribution, and return its unpacked folder.

    Raises:
        subprocess.CalledProcessError: The package index cannot be reached.
    """
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download"]
    options = ["--no-binary", "langchain-qdrant", "--no-deps", "--dest", str(folder)]
    subprocess.run([*pip, *options, PACKAGE], check=True, capture_output=True, text=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    return unpacked


def swap_names(source: Path, target: Path) -> None:
    """Copy the tests of a source distribution, with this package's names."""
    shutil.copytree(source / "tests", target / "tests")
    for path in target.rglob("*.py"):
        text = path.read_text("utf-8")
        for pattern, replacement in _SWAPS:
            text = re.sub(pattern, replacement, text)
        path.write_text(text, "utf-8")


def run(source: Path, url: str, *arguments: str) -> Outcome:
    """Run the suite in memory and on a server."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        swap_names(source, folder)
        report = folder / "report.xml"
        pytest = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--junitxml={report}",
        ]
        settings = ["-o", "asyncio_mode=auto", "--rootdir", str(folder)]
        paths = [path for path in (os.environ.get("PYTHONPATH"), str(_REPOSITORY)) if path]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "QDRANT_URL": url}
        subprocess.run([*pytest, *settings, SUITE, *arguments], cwd=folder, env=environment, check=False)
        return _outcome(report, url)


def _outcome(report: Path, url: str) -> Outcome:
    passed, failed = set(), set()
    for case in ET.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}".replace(url, "server")
        (failed if len(case.findall("failure") + case.findall("error")) else passed).add(name)
    return Outcome(frozenset(passed), frozenset(failed))


def main() -> None:
    """Run the suite, and print the number of passed tests and the names of the others."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", type=Path, help="an unpacked source distribution, instead of downloading it")
    options, arguments = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder, running_server(fetch()) as server:
        outcome = run(options.source or download(Path(folder)), server.url, *arguments)
    sys.stdout.write(
        "\n".join([*sorted(outcome.failed), f"{len(outcome.passed)} passed, {len(outcome.failed)} failed\n"])
    )


if __name__ == "__main__":
    main()
