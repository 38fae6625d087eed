"""Importing the package and asking the command for help load nothing heavy: what is not used is not paid for."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

HEAVY = ("torch", "transformers", "tokenizers", "qdrant_client", "qdrant_edge", "langchain_core", "numpy", "pydantic")
UNUSED_BY_SEARCH = ("transformers", "qdrant_client", "pandas", "scipy", "sympy", "torch._dynamo", "torch._inductor")

IMPORT = "import t1_vectorstore"
HELP = """
import sys
sys.argv = ["t1", "--help"]
from t1_vectorstore.cli import main
try:
    main()
except SystemExit:
    pass
"""


@pytest.mark.parametrize("code", [IMPORT, HELP], ids=["import", "help"])
def test_nothing_heavy_is_loaded(code: str) -> None:
    report = f"\nimport sys; print('LOADED', *sorted({set(HEAVY)!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED"


def test_a_search_loads_what_it_uses(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"id": "a", "text": "Llamas live in Peru."}\n', encoding="utf-8")
    search = "import sys; from t1_vectorstore.cli import main; sys.argv[0] = 't1'; main()"
    for arguments in (["index", "corpus.jsonl", "--to", "index"], ["search", "index", "llamas"]):
        code = f"import atexit, sys; atexit.register(lambda: print('LOADED', *sys.modules)); {search}"
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert "torch" in loaded
    assert not set(UNUSED_BY_SEARCH) & set(loaded)
    # The same query again is in the cache.
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "cached" in done.stdout
    assert not {"torch", *UNUSED_BY_SEARCH} & set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(("code", "limit"), [(IMPORT, 0.1), (HELP, 0.4)], ids=["import", "help"])
def test_start_takes_little_cpu(code: str, limit: float) -> None:
    bare, full = (min(_cpu_seconds(source) for _ in range(3)) for source in ("", code))
    assert full - bare < limit


def _cpu_seconds(code: str) -> float:
    """CPU time of one child: unlike wall time, it hardly depends on what else the machine does."""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    usage: resource.struct_rusage = os.wait4(child.pid, 0)[2]
    child.returncode = 0
    return usage.ru_utime + usage.ru_stime
