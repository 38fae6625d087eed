"""The package keeps the import rule, and the checker reports every way to break it."""

from __future__ import annotations

from pathlib import Path

import pytest

import t1_vectorstore
from tests.meta.layers import violations

PACKAGE = Path(t1_vectorstore.__file__).parent

ALLOWED = {"types": set[str](), "store": {"types"}, "embedder": {"types"}, "cli": {"store", "types"}}
OWNERS = {"qdrant_client": {"store"}}


def test_imports_follow_the_rule() -> None:
    assert violations(PACKAGE) == []


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, source in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
    return folder


GOOD = {
    "__init__.py": "from t1_vectorstore.store import Collection",
    "types.py": "import json",
    "embedder.py": "from t1_vectorstore import types",
    "store/__init__.py": "from t1_vectorstore.store.schema import X\nimport qdrant_client",
    "store/schema.py": "from t1_vectorstore.types import Document",
    "cli.py": "from t1_vectorstore import __version__\nfrom t1_vectorstore import types\nimport t1_vectorstore.store",
}


def test_allowed_imports_are_accepted(tmp_path: Path) -> None:
    assert violations(write(tmp_path, GOOD), ALLOWED, OWNERS) == []


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"types.py": "from t1_vectorstore.store import Collection"}, "types may not import store"),
        ({"types.py": "from .store import Collection"}, "types may not import store"),
        ({"types.py": "from . import store"}, "types may not import store"),
        ({"types.py": "import t1_vectorstore.store as s"}, "types may not import store"),
        ({"types.py": "def f():\n    from t1_vectorstore import store"}, "types may not import store"),
        ({"store/schema.py": "from ..embedder import T1Embedder"}, "store may not import embedder"),
        ({"embedder.py": "from t1_vectorstore.store import Collection"}, "embedder may not import store"),
        ({"store/schema.py": "from t1_vectorstore import Document"}, "imports t1_vectorstore itself"),
        ({"new.py": ""}, "new is not listed in ALLOWED_IMPORTS"),
        ({"new/__init__.py": "", "new/part.py": ""}, "new is not listed in ALLOWED_IMPORTS"),
        ({"store/a.py": "from t1_vectorstore.store import b", "store/b.py": "from . import a"}, "in a cycle"),
        ({"types.py": "from qdrant_client.models import Filter"}, "imports qdrant_client, owned by store"),
        ({"embedder.py": ""}, "embedder: types is allowed but not imported"),
        (
            {"store/__init__.py": "from t1_vectorstore.store.schema import X"},
            "qdrant_client: store is listed as an owner",
        ),
    ],
)
def test_a_violation_is_reported(tmp_path: Path, files: dict[str, str], complaint: str) -> None:
    found = violations(write(tmp_path, GOOD | files), ALLOWED, OWNERS)
    assert any(complaint in violation for violation in found), found


def test_a_table_with_a_cycle_is_reported(tmp_path: Path) -> None:
    found = violations(write(tmp_path, GOOD), {**ALLOWED, "types": {"store"}}, OWNERS)
    assert any("the packages import each other in a cycle" in violation for violation in found), found
