"""``t1 optimize`` does not change the contents of an index."""

from __future__ import annotations

import json
from typing import Any


def test_optimized_index_holds_the_same_chunks(run: Any, corpus: Any) -> None:
    name = corpus(*({"id": f"{n}", "text": f"text {n}"} for n in range(40)))
    run("index", name, "--to", "idx")
    assert "40 chunks ready to be searched\nidx" in run("optimize", "idx").stdout
    run("verify", name, "--index", "idx", "--vectors", "40")
    assert json.loads(run("optimize", "idx", "--json").stdout)["points"] == 40
    assert "there is no index" in run("optimize", "nowhere", code=1).stderr
