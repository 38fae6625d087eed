"""An index in a folder: its files, and folders that are not an index."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import CollectionMismatch, CollectionNotFound, StoreError, StoreUnavailable
from tests.collection.points import MODEL, OTHER
from tests.collection.processes import output, python


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def test_the_description_is_readable(index: Path) -> None:
    description = json.loads((index / "t1.json").read_text())
    assert description["model"] == "test-model"
    assert description["fingerprint"] == MODEL.fingerprint
    assert description["dimension"] == 8
    assert description["distance"] == "cosine"
    assert description["format"] == 1
    assert sorted(entry.name for entry in index.iterdir()) == ["changes", "lock", "shard", "t1.json"]


def test_a_mismatch_changes_no_files(index: Path) -> None:
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


@pytest.mark.parametrize("options", [{}, {"identity": MODEL}, {"identity": MODEL, "create": False}])
def test_a_folder_with_other_files_is_left_unchanged(tmp_path: Path, options: dict[str, object]) -> None:
    (tmp_path / "thesis.txt").write_text("do not lose")
    (tmp_path / "shard").mkdir()
    with pytest.raises(CollectionNotFound, match="not an index"):
        Collection.open(tmp_path, **options)  # type: ignore[arg-type]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["shard", "thesis.txt"]
    with pytest.raises(CollectionNotFound, match="is a file"):
        Collection.open(tmp_path / "thesis.txt", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{}, {"identity": MODEL, "create": False}])
def test_opening_without_create_creates_no_folder(tmp_path: Path, options: dict[str, object]) -> None:
    for place in (tmp_path / "missing" / "index", tmp_path):
        with pytest.raises(CollectionNotFound, match="no index"):
            Collection.open(place, **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "location", ["", "  ", "localhost:6333", "127.0.0.1:6333/", "grpc://host", "https://", "s3://b/c"]
)
def test_an_address_that_is_not_a_url_is_refused(location: str) -> None:
    with pytest.raises(ValueError, match="http"):
        Collection.open(location, identity=MODEL)


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"format": 1}', '{"format": "x"}', "\ufeff{}"])
def test_a_damaged_description_is_named(index: Path, damage: str) -> None:
    (index / "t1.json").write_text(damage)
    with pytest.raises(StoreError, match=r"t1\.json"):
        Collection.open(index, identity=MODEL)


def test_a_later_format_asks_for_an_upgrade(index: Path) -> None:
    description = json.loads((index / "t1.json").read_text())
    (index / "t1.json").write_text(json.dumps(description | {"format": 5}))
    with pytest.raises(StoreError, match="upgrade"):
        Collection.open(index)


def test_a_missing_shard_is_an_error(index: Path) -> None:
    shutil.rmtree(index / "shard")
    with pytest.raises(StoreError, match="lost its 'shard'"):
        Collection.open(index, identity=MODEL)


def test_bare_exceptions_of_the_engine_are_converted(index: Path) -> None:
    from t1_vectorstore.engines.embedded.engine import _converted_errors

    def fail(words: str) -> None:
        with _converted_errors(index):
            raise Exception(words)

    with pytest.raises(StoreUnavailable, match="index"):
        fail("Service runtime error: IO Error: No space left on device (os error 28)")
    with pytest.raises(StoreError, match="engine of the index"):
        fail("Service runtime error: something else")


def test_an_embedded_index_imports_no_client_library(index: Path) -> None:
    said = output(
        python(
            """
            with Collection.open(sys.argv[1], identity=MODEL) as c:
                c.upsert(points(5))
                c.search(vector(1), filter={"even": True})
            heavy = {"qdrant_client", "tenacity", "httpx", "grpc", "torch"}
            print(sorted(heavy & {name.split(".")[0] for name in sys.modules}))
            """,
            index,
        )
    )
    assert said.strip() == "[]"


def test_a_folder_is_opened_whatever_the_name_of_its_collection(tmp_path: Path) -> None:
    """Such as one that was pulled from a server; a folder has only one."""
    Collection.open(tmp_path / "index", name="docs", identity=MODEL).close()
    with Collection.open(tmp_path / "index", identity=MODEL) as collection:
        assert collection.name == "docs"
    with Collection.open(tmp_path / "index", read_only=True) as collection:
        assert collection.name == "docs"
    with pytest.raises(CollectionMismatch, match="name='docs' and is opened with 'other'"):
        Collection.open(tmp_path / "index", name="other")
