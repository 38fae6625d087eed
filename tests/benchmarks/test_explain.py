"""The sentence deletion check finds the sentences that explanations name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import explain


@pytest.mark.thorough
def test_named_sentences_lower_scores_the_most(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    queries, out = tmp_path / "queries.jsonl", tmp_path / "figures.json"
    query = "which wares does the main buyer of goods from the nation crowned by Te Manga sell to foreigners"
    queries.write_text(json.dumps({"query": query}))
    explain.main(["--queries", str(queries), "--hits", "4", "--dtype", "float32", "--json", str(out)])
    figures = json.loads(out.read_text())
    assert figures["hits"] == 4
    assert figures["named sentence lowers the score most"] == 1.0
    assert figures["largest error of an effect"] < 1e-3
    assert "named sentence" in capsys.readouterr().out
