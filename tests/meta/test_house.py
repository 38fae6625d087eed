"""What holds for the repository as a whole."""

from __future__ import annotations

import re
from pathlib import Path

import t1_vectorstore

ROOT = Path(__file__).parents[2]


def test_files_stay_small() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "t1_vectorstore").rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long, f"split by idea: {long}"


def test_the_changelog_begins_with_this_version_after_what_is_unreleased() -> None:
    first = re.search(r"^## (?!Unreleased$)(\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert first is not None
    assert first[1] == t1_vectorstore.__version__


def test_every_public_name_can_be_imported_and_is_documented() -> None:
    for name in t1_vectorstore.__all__:
        assert getattr(t1_vectorstore, name).__doc__, name
