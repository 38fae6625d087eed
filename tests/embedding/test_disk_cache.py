"""The cache on disk: bounded, shared by processes, and never a reason for an error."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from t1_vectorstore.checkpoints.fingerprint import cached_digest
from t1_vectorstore.disk_cache import FILE, DiskCache
from t1_vectorstore.errors import CacheWarning

SIZE = 2**20


def test_values_are_found_again(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "new" / "cache", SIZE)
    assert cache.get(b"a") is None
    assert not cache.folder.exists()  # looking something up creates nothing
    cache.put(b"a", b"one")
    cache.put(b"a", b"two")
    assert cache.get(b"a") == b"two"
    assert DiskCache(cache.folder, SIZE).get(b"a") == b"two"
    assert cache.get(b"b") is None
    assert cache.get(b"b", count=False) is None
    info = cache.info()
    assert (info.entries, info.hits, info.misses) == (1, 2, 1)
    assert 0 < info.bytes <= SIZE
    assert cache.clear() == 1
    assert cache.get(b"a") is None
    cache.close()
    cache.put(b"a", b"three")
    assert cache.get(b"a") == b"three"


@pytest.mark.skipif(os.name != "posix", reason="modes of files are those of POSIX")
def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache", SIZE)
    cache.put(b"a", b"one")
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    assert cache.file.stat().st_mode & 0o777 == 0o600


def test_the_least_recently_used_entries_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("t1_vectorstore.disk_cache.time.time", lambda: now)
    cache = DiskCache(tmp_path, SIZE)
    for number in range(400):
        now += 100
        cache.put(b"%d" % number, os.urandom(8000))
        assert cache.get(b"0") is not None
    assert cache.info().bytes <= SIZE
    assert cache.file.stat().st_size <= SIZE + 100_000
    assert cache.get(b"399") is not None
    assert cache.get(b"1") is None
    cache.put(b"large", bytes(SIZE))
    assert cache.get(b"large") is None
    assert cache.get(b"399") is not None


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 5000, b"\0" * 4096])
def test_a_damaged_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    cache = DiskCache(tmp_path, SIZE)
    assert cache.get(b"a") is None
    cache.put(b"a", b"one")
    cache.put(b"a", b"one")  # at the latest into a new file
    assert cache.get(b"a") == b"one"


def test_a_file_damaged_while_it_is_open_is_replaced(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, SIZE)
    for number in range(100):
        cache.put(b"%d" % number, os.urandom(3000))
    with cache.file.open("r+b") as file:
        file.seek(1000)
        file.write(os.urandom(cache.file.stat().st_size - 1000))
    for number in range(100):
        found = cache.get(b"%d" % number)
        assert found is None or len(found) == 3000
        cache.put(b"%d" % number, b"new")
    later = DiskCache(tmp_path, SIZE)
    assert later.get(b"99") in (None, b"new")  # the pages that the other connection remembers may hide the damage
    later.put(b"99", b"newer")
    assert later.get(b"99") == b"newer"


def test_changed_entries_are_not_found(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, SIZE)
    cache.put(b"a", b"one")
    cache.put(b"b", b"two")
    with sqlite3.connect(cache.file) as database:
        database.execute("UPDATE entries SET value = (SELECT value FROM entries WHERE key = x'62') WHERE key = x'61'")
        database.execute("INSERT INTO entries VALUES (x'63', 'text', 0), (x'64', 5, 0), (x'65', x'', 0)")
    database.close()
    assert cache.get(b"a") is None
    assert cache.get(b"b") == b"two"
    assert [cache.get(key) for key in (b"c", b"d", b"e")] == [None] * 3


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("CREATE TABLE entries (key, value)")
    database.close()
    before = (tmp_path / FILE).read_bytes()
    cache = DiskCache(tmp_path, SIZE)
    with pytest.warns(CacheWarning, match="another program's database"):
        cache.put(b"a", b"one")
    assert cache.get(b"a") is None  # said once
    assert (tmp_path / FILE).read_bytes() == before


def test_a_folder_that_cannot_be_used_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = DiskCache(tmp_path / "file" / "cache", SIZE)
    with pytest.warns(CacheWarning, match="is not used"):
        cache.put(b"a", b"one")
    assert cache.get(b"a") is None
    assert cache.info().entries == 0


WRITER = """
import sys
from pathlib import Path
from t1_vectorstore.disk_cache import DiskCache
cache = DiskCache(Path(sys.argv[1]), 2**20)
for number in range(150):
    key = b"%d" % (number % 50)
    found = cache.get(key)
    assert found is None or found == key * 1000, found
    cache.put(key, key * 1000)
"""


@pytest.mark.process
def test_several_processes_share_it(tmp_path: Path) -> None:
    running = [subprocess.Popen([sys.executable, "-W", "error", "-c", WRITER, str(tmp_path)]) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    cache = DiskCache(tmp_path, SIZE)
    assert all(cache.get(b"%d" % number) == b"%d" % number * 1000 for number in range(50))


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_opens_its_own_connection(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from t1_vectorstore.disk_cache import DiskCache
cache = DiskCache(Path(sys.argv[1]), 2**20)
cache.put(b"a", b"one")
if (child := os.fork()) == 0:
    cache.put(b"b", cache.get(b"a") + b"two")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert cache.get(b"b") == b"onetwo"
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_different_digests_of_a_file_are_kept_apart(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"weights")
    os.utime(file, (1, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("t1_vectorstore.checkpoints.fingerprint._SETTLED", -(10**12))
        cache = DiskCache(tmp_path / "cache", SIZE)
        assert cached_digest("sha256", [file], lambda: b"one", cache) == b"one"
        assert cached_digest("checkpoint", [file], lambda: b"two", cache) == b"two"
        assert cached_digest("sha256", [file], lambda: b"other", cache) == b"one"
