"""The package keeps the layer rule, and the checker sees every way to break it."""

from __future__ import annotations

from pathlib import Path

import pytest

import t1_vectorstore
from tests.meta.layers import violations

PACKAGE = Path(t1_vectorstore.__file__).parent


def test_imports_point_down() -> None:
    assert violations(PACKAGE) == []


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"types.py": "from t1_vectorstore.collection import Collection"}, "types: floor 0 imports store on floor 2"),
        ({"types.py": "from .store import Collection"}, "types: floor 0 imports store on floor 2"),
        ({"types.py": "from . import store"}, "types: floor 0 imports store on floor 2"),
        ({"types.py": "import t1_vectorstore.collection as s"}, "types: floor 0 imports store on floor 2"),
        ({"types.py": "def f():\n    from t1_vectorstore import store"}, "types: floor 0 imports store on floor 2"),
        ({"store.py": "from t1_vectorstore import Document"}, "store: imports the front door"),
        ({"nowhere.py": ""}, "nowhere: has no floor"),
        ({"new/__init__.py": "", "new/part.py": ""}, "new: has no floor"),
        (
            {"embedder.py": "from t1_vectorstore.collection import Collection"},
            "store and embedder must not know each other",
        ),
        (
            {"training/a.py": "from t1_vectorstore.evaluation import b", "evaluation/b.py": ""},
            "must not know each other",
        ),
        (
            {
                "checkpoint.py": "import t1_vectorstore.embedding.prompts",
                "prompts.py": "import t1_vectorstore.checkpoints.checkpoint",
            },
            "imports go in a circle",
        ),
        ({"types.py": "import torch.nn"}, "types: imports torch"),
        ({"embedder.py": "from qdrant_client import models"}, "embedder: imports qdrant_client"),
    ],
)
def test_a_breach_is_seen(tmp_path: Path, files: dict[str, str], complaint: str) -> None:
    for name, source in {"__init__.py": "", "store.py": "", **files}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
    assert any(complaint in violation for violation in violations(tmp_path)), violations(tmp_path)


def test_what_the_rule_allows_is_not_a_breach(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    for name, source in {
        "__init__.py": "from t1_vectorstore.collection import Collection",
        "types.py": "import json",
        "checkpoint.py": "from t1_vectorstore import types",
        "store/__init__.py": "from t1_vectorstore.collection.schema import X\nimport qdrant_client",
        "store/schema.py": "from t1_vectorstore.types import Document",
        "cli.py": "from t1_vectorstore import __version__\nfrom t1_vectorstore.collection import Collection\nimport typer",
    }.items():
        (tmp_path / name).write_text(source)
    assert violations(tmp_path) == []
