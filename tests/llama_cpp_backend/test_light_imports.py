"""A search with a GGUF file in a new process: neither torch nor transformers is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.llama_cpp

COMMAND = """
import atexit, sys
atexit.register(lambda: print("LOADED", *sys.modules))
from t1_vectorstore.cli import main
sys.argv[0] = "t1"
main()
"""


def test_a_search_with_a_gguf_file_loads_no_torch(file: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"id": "a", "text": "Llamas live in Peru."}\n', encoding="utf-8")
    model = ["--model", str(file)]
    loaded = []
    for arguments in (["index", "corpus.jsonl", "--to", "index", *model], ["search", "index", "llamas", *model]):
        command = [sys.executable, "-c", COMMAND, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        loaded.append(done.stdout.splitlines()[-1].split())
    assert "Llamas live in Peru." in done.stdout
    for modules in loaded:
        assert "llama_cpp" in modules
        assert not {"torch", "transformers"} & set(modules)
