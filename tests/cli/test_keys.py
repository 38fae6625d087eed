"""``t1 keys``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from t1_vectorstore.server.keys import KeyFile, find_key


def test_keys_are_added_listed_and_revoked(run: Any, folder: Path) -> None:
    added = run("keys", "add", "keys.json", "ann", "--write", "--index", "docs", "--days", "30")
    secret = added.stdout.strip()
    assert secret.startswith("t1_")
    assert "not shown again" in added.stderr
    run("keys", "add", "keys.json", "bob")
    keys = KeyFile.read(folder / "keys.json").keys
    assert find_key(secret, keys) == keys[0]
    listed = run("keys", "list", "keys.json").stdout.splitlines()
    assert listed[0].startswith("ann  read+write  docs  expires ")
    assert listed[1] == "bob  read  all indexes  never expires"
    assert secret not in run("keys", "list", "keys.json", "--json").stdout
    assert "sha256" not in json.loads(run("keys", "list", "keys.json", "--json").stdout)[0]
    run("keys", "revoke", "keys.json", "ann")
    assert [key.name for key in KeyFile.read(folder / "keys.json").keys] == ["bob"]


def test_mistakes_change_nothing(run: Any, folder: Path) -> None:
    run("keys", "add", "keys.json", "ann")
    before = (folder / "keys.json").read_bytes()
    assert "has a key 'ann' already" in run("keys", "add", "keys.json", "ann", code=2).stderr
    assert "has no key 'bob'" in run("keys", "revoke", "keys.json", "bob", code=2).stderr
    assert "create it with: t1 keys add missing.json NAME" in run("keys", "list", "missing.json", code=2).stderr
    run("keys", "add", "keys.json", "x", "--days", "0", code=2)
    assert (folder / "keys.json").read_bytes() == before
    (folder / "other.json").write_text('{"other": 1}')
    assert "is not a file of API keys" in run("keys", "add", "other.json", "ann", code=2).stderr
    assert sorted(path.name for path in folder.iterdir()) == ["keys.json", "keys.json.lock", "other.json"]
