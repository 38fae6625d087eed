"""Scripts in processes of their own, for tests that need several."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python(script: str, *arguments: object, user: str | None = None) -> subprocess.Popen[str]:
    """Run a script in a process of its own, with the imports of the tests."""
    prelude = "import sys\nfrom t1_vectorstore.collection import Collection\nfrom tests.collection.points import *\n"
    return subprocess.Popen(
        [sys.executable, "-c", prelude + textwrap.dedent(script), *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        user=user,
    )


def output(process: subprocess.Popen[str], expected: int = 0) -> str:
    text, _ = process.communicate(timeout=120)
    assert process.returncode == expected, text
    return text
