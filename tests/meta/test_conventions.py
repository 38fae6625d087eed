"""Conventions of the repository as a whole."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import t1_vectorstore

ROOT = Path(__file__).parents[2]


def test_files_are_not_too_long() -> None:
    """Above 600 lines there is usually a second idea in a file; see CONTRIBUTING.md."""
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "t1_vectorstore").rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 600
    }
    assert not long


def test_the_changelog_lists_this_version_after_the_unreleased_changes() -> None:
    first = re.search(r"^## (?!\[?Unreleased)(\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert first is not None
    assert first[1] == t1_vectorstore.__version__


def test_every_public_name_can_be_imported_and_is_documented() -> None:
    for name in t1_vectorstore.__all__:
        assert getattr(t1_vectorstore, name).__doc__, name


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("vendor.github-workflows", ".github/workflows/*.yml"),
        ("vendor.dependabot", ".github/dependabot.yml"),
        ("vendor.github-issue-forms", ".github/ISSUE_TEMPLATE/[!c]*.yml"),
        ("vendor.github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
    ],
)
@pytest.mark.process
def test_files_of_the_repository_host_are_valid(schema: str, pattern: str) -> None:
    files = [str(path) for path in ROOT.glob(pattern)]
    assert files
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_workflows_run_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for job in yaml.safe_load(path.read_text("utf-8"))["jobs"].values():
            tiers = job.get("strategy", {}).get("matrix", {}).get("tier", [])
            runs = [step["run"] for step in job["steps"] if "run" in step]
            called = {run.removeprefix("make ") for run in runs if "matrix.tier" not in run} | set(tiers)
            assert called <= targets


def test_the_hooks_of_pre_commit_are_those_of_make_lint() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]["hooks"]
    assert [hook["entry"].split()[0] for hook in hooks] == [".venv/bin/ruff", ".venv/bin/ruff", ".venv/bin/mypy"]
