"""What can happen to an index in a folder: crashes, other processes, full and foreign disks."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from t1_vectorstore.engines import folder as folders
from t1_vectorstore.errors import CollectionLocked, CollectionMismatch, CollectionNotFound, StoreError, StoreUnavailable
from t1_vectorstore.store import Collection
from tests.store.points import MODEL, OTHER, points, vector

ROOT = Path(__file__).parents[2]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """An index of five points, closed."""
    path = tmp_path / "index"
    with Collection.open(path, identity=MODEL) as collection:
        collection.upsert(points(5))
    return path


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def python(script: str, *arguments: object, user: str | None = None) -> subprocess.Popen[str]:
    """Run a script in a process of its own; it has what the tests have."""
    prelude = "import sys\nfrom t1_vectorstore.store import Collection\nfrom tests.store.points import *\n"
    return subprocess.Popen(
        [sys.executable, "-c", prelude + textwrap.dedent(script), *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        user=user,
    )


def output(process: subprocess.Popen[str], expected: int = 0) -> str:
    text, _ = process.communicate(timeout=120)
    assert process.returncode == expected, text
    return text


# --- what is in the folder ---------------------------------------------------------------------------------------


def test_the_description_is_for_people_too(index: Path) -> None:
    description = json.loads((index / "t1.json").read_text())
    assert description["model"] == "test-model"
    assert description["fingerprint"] == MODEL.fingerprint
    assert description["dimension"] == 8
    assert description["distance"] == "cosine"
    assert description["format"] == 1
    assert sorted(entry.name for entry in index.iterdir()) == ["lock", "shard", "t1.json"]


def test_another_name_or_model_changes_nothing(index: Path) -> None:
    before = contents(index)
    for options in ({"identity": OTHER}, {"identity": MODEL, "name": "other"}, {"name": "other"}):
        with pytest.raises(CollectionMismatch):
            Collection.open(index, **options)  # type: ignore[arg-type]
    after = contents(index)
    assert {name for name in before if before[name] != after[name]} <= {"lock"}
    with Collection.open(index) as collection:
        assert collection.count() == 5


def test_a_folder_can_be_moved(index: Path, tmp_path: Path) -> None:
    index.rename(tmp_path / "moved")
    with Collection.open(tmp_path / "moved", identity=MODEL) as collection:
        assert collection.count() == 5


# --- what is no index --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"identity": MODEL}, {"identity": MODEL, "create": False}])
def test_a_folder_of_other_things_is_left_untouched(tmp_path: Path, options: dict[str, object]) -> None:
    (tmp_path / "thesis.txt").write_text("do not lose")
    (tmp_path / "shard").mkdir()
    with pytest.raises(CollectionNotFound, match="not an index"):
        Collection.open(tmp_path, **options)  # type: ignore[arg-type]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["shard", "thesis.txt"]
    with pytest.raises(CollectionNotFound, match="is a file"):
        Collection.open(tmp_path / "thesis.txt", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{}, {"identity": MODEL, "create": False}])
def test_what_does_not_exist_is_not_created_by_looking(tmp_path: Path, options: dict[str, object]) -> None:
    for place in (tmp_path / "missing" / "index", tmp_path):
        with pytest.raises(CollectionNotFound, match="no index"):
            Collection.open(place, **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "location", ["", "  ", "localhost:6333", "127.0.0.1:6333/", "grpc://host", "https://", "s3://b/c"]
)
def test_an_address_that_is_no_url_does_not_become_a_folder(location: str) -> None:
    with pytest.raises(ValueError, match="http"):
        Collection.open(location, identity=MODEL)


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"format": 1}', '{"format": "x"}', "\ufeff{}"])
def test_a_damaged_description_is_named(index: Path, damage: str) -> None:
    (index / "t1.json").write_text(damage)
    with pytest.raises(StoreError, match=r"t1\.json"):
        Collection.open(index, identity=MODEL)


def test_a_later_format_asks_for_an_upgrade(index: Path) -> None:
    description = json.loads((index / "t1.json").read_text())
    (index / "t1.json").write_text(json.dumps(description | {"format": 4}))
    with pytest.raises(StoreError, match="upgrade"):
        Collection.open(index)


def test_a_lost_shard_is_not_replaced_by_an_empty_one(index: Path) -> None:
    shutil.rmtree(index / "shard")
    with pytest.raises(StoreError, match="lost its 'shard'"):
        Collection.open(index, identity=MODEL)


# --- two at once -------------------------------------------------------------------------------------------------


def test_a_second_opening_is_refused_and_harmless(tmp_path: Path) -> None:
    index = tmp_path / "index"
    with Collection.open(index, identity=MODEL) as collection:
        collection.upsert(points(5))
        with pytest.raises(CollectionLocked, match="open in this process"):
            Collection.open(index, identity=MODEL)
        said = output(
            python(
                """
                from t1_vectorstore.errors import CollectionLocked
                try:
                    Collection.open(sys.argv[1], identity=MODEL)
                except CollectionLocked as error:
                    sys.stdout.write(str(error))
                """,
                index,
            )
        )
        assert f"process {os.getpid()}" in said
        collection.upsert(points(300, 5))
        assert collection.count() == 305
    with Collection.open(index) as collection:
        assert collection.count() == 305


def test_a_failed_opening_leaves_no_lock(index: Path) -> None:
    with pytest.raises(CollectionMismatch):
        Collection.open(index, identity=OTHER)
    with Collection.open(index) as collection:
        assert collection.count() == 5


def test_the_lock_dies_with_its_holder(index: Path) -> None:
    holder = python("c = Collection.open(sys.argv[1]); print('open', flush=True); sys.stdin.read()", index)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    with pytest.raises(CollectionLocked, match=f"process {holder.pid}"):
        Collection.open(index)
    holder.kill()
    holder.communicate()
    with Collection.open(index) as collection:
        assert collection.count() == 5


def test_an_index_nobody_closed_is_closed_when_it_is_forgotten(index: Path) -> None:
    collection = Collection.open(index)
    collection.upsert(points(5, 5))
    del collection
    gc.collect()
    said = output(python("c = Collection.open(sys.argv[1]); c.upsert(points(5, 10)); print(c.count())", index))
    assert said == "15\n"
    with Collection.open(index) as collection:
        assert collection.count() == 15


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_is_told_and_does_no_harm(tmp_path: Path) -> None:
    said = output(
        python(
            """
            import os
            from t1_vectorstore.errors import StoreError
            c = Collection.open(sys.argv[1], identity=MODEL)
            c.upsert(points(5))
            if (child := os.fork()) == 0:
                try:
                    c.upsert(points(5, 5))
                except StoreError as error:
                    os.write(1, str(error).encode())
                c.close()
                os._exit(0)
            os.waitpid(child, 0)
            try:
                Collection.open(sys.argv[1])
            except StoreError as error:
                sys.stdout.write(type(error).__name__)
            c.upsert(points(5, 10))
            assert c.count() == 10
            c.close()
            """,
            tmp_path / "index",
        )
    )
    assert "before a fork" in said
    assert "CollectionLocked" in said
    with Collection.open(tmp_path / "index") as collection:
        assert collection.count() == 10


# --- crashes -----------------------------------------------------------------------------------------------------


def test_a_killed_writer_loses_nothing_that_was_stored(tmp_path: Path) -> None:
    index = tmp_path / "index"
    for turn in range(3):
        writer = python(
            """
            c = Collection.open(sys.argv[1], identity=MODEL)
            for turn in range(1000):
                c.upsert(points(100, turn * 100))
                print(turn, flush=True)
            """,
            index,
        )
        assert writer.stdout is not None
        stored = [int(writer.stdout.readline()) for _ in range(3 + 4 * turn)][-1]
        writer.kill()
        rest, _ = writer.communicate()
        stored = max([stored, *(int(line) for line in rest.split("\n")[:-1])])
        with Collection.open(index, identity=MODEL) as collection:
            ids = [f"doc {n}" for n in range((stored + 1) * 100)]
            assert len(collection.get(ids)) == len(ids)
            assert collection.search(vector(7), limit=1)[0].id == "doc 7"
    with Collection.open(index, identity=MODEL) as collection:
        collection.upsert(points(2000))
        collection.delete(filter={"number": {"gte": 2000}})
        assert collection.count() == 2000
        assert sorted(chunk.metadata["number"] for chunk in collection.scroll()) == list(range(2000))


@pytest.mark.parametrize("step", ["fill", "describe", "rename"])
def test_a_creation_can_be_killed_at_any_step(tmp_path: Path, step: str) -> None:
    index = tmp_path / "index"
    kill = """
        import os, signal
        from pathlib import Path
        from t1_vectorstore.engines import folder
        def die(*_): os.kill(os.getpid(), signal.SIGKILL)
        if sys.argv[2] == "fill": folder._write_atomically = die
        if sys.argv[2] == "describe": Path.replace = die
        if sys.argv[2] == "rename": Path.rename = die
        Collection.open(sys.argv[1], identity=MODEL)
        """
    output(python(kill, index, step), expected=-signal.SIGKILL)
    if step == "rename":
        with Collection.open(index) as collection:
            assert collection.count() == 0
    else:
        with pytest.raises(CollectionNotFound):
            Collection.open(index)
    with Collection.open(index, identity=MODEL) as collection:
        collection.upsert(points(5))
    with Collection.open(index) as collection:
        assert collection.count() == 5
    assert sorted(entry.name for entry in index.iterdir()) == ["lock", "shard", "t1.json"]


def test_an_unfinished_index_can_become_another_models(tmp_path: Path) -> None:
    (tmp_path / "shard.new").mkdir()
    (tmp_path / "shard.new" / "half").write_text("written")
    (tmp_path / "t1.json.new").write_text("{")
    with Collection.open(tmp_path, identity=OTHER) as collection:
        assert collection.identity == OTHER


def test_the_log_is_flushed_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from t1_vectorstore.engines import embedded

    monkeypatch.setattr(embedded, "_FLUSH_SECONDS", 0.0)
    with Collection.open(tmp_path / "index", identity=MODEL) as collection:
        collection.upsert(points(600))
        collection.delete(["doc 1"])
        assert collection.count() == 599


# --- disks -------------------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written_is_named(index: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="/proc/"):
        Collection.open("/proc/t1-index", identity=MODEL)
    if os.geteuid() != 0:
        index.chmod(0o500)
        (index / "lock").chmod(0o400)
        with pytest.raises(StoreUnavailable, match="Permission denied"):
            Collection.open(index)
        index.chmod(0o700)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_elses_folder_is_named() -> None:
    path = Path("/tmp") / f"t1-index-{os.getpid()}"
    script = """
        from t1_vectorstore.engines.folder import IndexFolder
        from t1_vectorstore.errors import StoreUnavailable
        from pathlib import Path
        import os
        os.setgid(65534); os.setuid(65534)
        for place in (Path(sys.argv[1]), Path(sys.argv[1]) / "new"):
            try:
                IndexFolder(place, create=True)
            except StoreUnavailable as error:
                print(error)
        """
    try:
        with Collection.open(path, identity=MODEL) as collection:
            collection.upsert(points(5))
        said = output(python(script, path))
        assert said.count("Permission denied") == 2
        assert said.count(str(path)) == 2
    finally:
        shutil.rmtree(path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 90 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=90m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_stops_the_writing_and_nothing_else(small_disk: Path) -> None:
    said = output(
        python(
            """
            import random
            from t1_vectorstore.errors import StoreUnavailable
            noise = random.Random(7)
            with Collection.open(sys.argv[1], identity=MODEL) as c:
                stored = 0
                try:
                    for turn in range(100):
                        stored += c.upsert([point(f"{turn} {n}", noise.randbytes(10000).hex()) for n in range(50)])
                except StoreUnavailable as error:
                    assert sys.argv[1] in str(error) and "MiB are left" in str(error), error
                    assert c.count() == stored + error.stored > 100
                    assert len(c.search(vector(1), limit=20)) == 20
                    c.delete(["0 1"])
                    print("full", c.count())
            with Collection.open(sys.argv[1]) as c:
                print("still", c.count())
            with open(sys.argv[1] + "/../filler", "wb") as filler:
                filler.truncate(0)
                try:
                    while True: filler.write(bytes(2**20)); filler.flush()
                except OSError: pass
            try:
                Collection.open(sys.argv[1])
            except StoreUnavailable as error:
                print("refused", error)
            """,
            small_disk / "index",
        )
    )
    lines = said.splitlines()
    assert [line.split()[0] for line in lines] == ["full", "still", "refused"], said
    assert lines[0].split()[1] == lines[1].split()[1]


def test_disk_space_is_asked_for_before_anything_is_written(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Collection.open(index) as collection:
        monkeypatch.setattr(folders, "_SPACE_TO_WRITE", 2**62)
        with pytest.raises(StoreUnavailable, match="is full") as caught:
            collection.upsert(points(3, 10))
        assert caught.value.stored == 0  # type: ignore[attr-defined]
        assert collection.count() == 5


def test_the_engines_bare_exceptions_are_translated(index: Path) -> None:
    from t1_vectorstore.engines.embedded import _translated

    def fail(words: str) -> None:
        with _translated(index):
            raise Exception(words)

    with pytest.raises(StoreUnavailable, match="index"):
        fail("Service runtime error: IO Error: No space left on device (os error 28)")
    with pytest.raises(StoreError, match="engine of the index"):
        fail("Service runtime error: something else")


def test_opening_and_searching_an_index_loads_no_client(index: Path) -> None:
    said = output(
        python(
            """
            with Collection.open(sys.argv[1], identity=MODEL) as c:
                c.upsert(points(5))
                c.search(vector(1), filter={"even": True})
            heavy = {"qdrant_client", "pydantic", "tenacity", "httpx", "grpc", "torch"}
            print(sorted(heavy & {name.split(".")[0] for name in sys.modules}))
            """,
            index,
        )
    )
    assert said.strip() == "[]"
