"""``verify`` finds every kind of difference between a collection and its source, and nothing where both are equal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.engines import Row
from t1_vectorstore.errors import CollectionMismatch
from t1_vectorstore.indexing import load
from t1_vectorstore.indexing.chunking import Chunker
from t1_vectorstore.maintenance.verify import MAX_LISTED, Verification, verify
from t1_vectorstore.types import Document

LONG = "\n\n".join(f"Paragraph {n} says something." for n in range(12))
SOURCE = [Document(LONG, "long"), Document("One.", "one", {"year": 1999}), Document("Two.", "two"), Document("No id.")]
CHUNKER = Chunker(100, 10)


@pytest.fixture(scope="module")
def embedder() -> T1Embedder:
    return T1Embedder.fake(16)


@pytest.fixture
def loaded(tmp_path: Path, embedder: T1Embedder) -> Iterator[Collection]:
    with Collection.open(tmp_path / "index", identity=embedder.identity) as collection:
        assert load(SOURCE, embedder, collection, chunker=CHUNKER).failed == 0
        yield collection


def kinds(found: Verification) -> dict[str, list[str]]:
    return {kind: [difference.id for difference in some.first] for kind, some in found.differences.items()}


def rewrite(collection: Collection, name: str, change: Any, vector: Any = None) -> None:
    """Change a payload without the package, as a bad disk or another program would."""
    engine = collection._engine
    target = next(row for row in collection.scan(batch=256, vectors=True) if row.payload["t1"]["id"] == name)
    payload = {**target.payload}
    change(payload)
    engine.write([Row(target.id, payload, target.vector if vector is None else vector)])


def test_a_loaded_source_is_equal(loaded: Collection, embedder: T1Embedder) -> None:
    found = verify(iter(SOURCE), loaded, CHUNKER, embedder=embedder, vectors=1000)
    assert found.equal, found
    assert found.documents == len(SOURCE)
    assert found.points == found.chunks == found.vectors == loaded.count()
    assert found.lowest_cosine == pytest.approx(1, abs=1e-6)


def test_each_kind_of_difference_is_distinguished(loaded: Collection, embedder: T1Embedder) -> None:
    loaded.delete(["long#chunk-1"])
    load([Document("Extra.", "extra")], embedder, loaded)
    rewrite(loaded, "two", lambda payload: payload.update(page_content="Tvo."))
    source = [
        Document(LONG[:250], "long"),
        replace(SOURCE[1], metadata={"year": 2000}),
        *SOURCE[2:],
        Document("Other.", "one"),
        Document(" ", "blank"),
    ]
    found = verify(source, loaded, CHUNKER)
    assert not found.equal
    by_kind = kinds(found)
    assert all(name.startswith("long#chunk-") for name in by_kind.pop("stale"))
    assert "one" in by_kind.pop("changed")
    assert by_kind == {
        "missing": ["long#chunk-1"],
        "corrupt": ["two"],
        "extra": ["extra"],
        "refused": ["one", "blank"],
    }


def test_other_documents_can_be_allowed(loaded: Collection) -> None:
    found = verify(SOURCE[:2], loaded, CHUNKER, allow_extra=True)
    assert found.equal
    assert found.allowed == 2
    assert len(kinds(verify(SOURCE[:2], loaded, CHUNKER))["extra"]) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda payload: payload.update(page_content=payload["page_content"] + "."),
        lambda payload: payload.update(metadata={"year": 1998}),
        lambda payload: payload["t1"].update(content_hash="0" * 64),
        lambda payload: payload["t1"].update(id="another"),
        lambda payload: payload["t1"].update(start=3),
        lambda payload: payload.pop("page_content"),
    ],
)
def test_damage_is_found_although_a_load_trusts_the_stored_hash(loaded: Collection, damage: Any) -> None:
    rewrite(loaded, "one", damage)
    assert list(kinds(verify(SOURCE, loaded, CHUNKER)))[-1] == "corrupt"


def test_a_vector_of_another_text_is_found(loaded: Collection, embedder: T1Embedder) -> None:
    rewrite(loaded, "one", lambda payload: None, np.eye(16, dtype=np.float32)[3])
    assert verify(SOURCE, loaded, CHUNKER).equal
    found = verify(SOURCE, loaded, CHUNKER, embedder=embedder, vectors=1000)
    assert kinds(found) == {"vector": ["one"]}
    assert found.lowest_cosine is not None
    assert found.lowest_cosine < 0.99


def test_the_seed_decides_the_sample(loaded: Collection, embedder: T1Embedder, monkeypatch: Any) -> None:
    drawn: list[list[str]] = []
    embed = embedder.embed_documents

    def spy(texts: list[str], **options: Any) -> Any:
        drawn.append(sorted(texts))
        return embed(texts, **options)

    monkeypatch.setattr(embedder, "embed_documents", spy)
    for seed in (1, 1, 2, 3):
        assert verify(SOURCE, loaded, CHUNKER, embedder=embedder, vectors=3, seed=seed).vectors == 3
    assert drawn[0] == drawn[1]
    assert len({tuple(texts) for texts in drawn}) > 1


def test_the_first_differences_are_listed_and_all_are_counted(loaded: Collection) -> None:
    many = [Document(f"text {n}", f"new {n:04}") for n in range(MAX_LISTED + 50)]
    missing = verify([*SOURCE, *many], loaded, CHUNKER).differences["missing"]
    assert missing.count == MAX_LISTED + 50
    assert len(missing.first) == MAX_LISTED


def test_a_repeated_document_counts_once(loaded: Collection) -> None:
    assert verify([*SOURCE, *SOURCE], loaded, CHUNKER).equal


def test_a_chunk_at_another_position_is_found_and_fixed_by_a_load(embedder: T1Embedder) -> None:
    first, second = "x" * 90, "y" * 90
    with Collection.open(":memory:", identity=embedder.identity) as collection:
        load([Document(f"{first}\n\n{second}", "d")], embedder, collection, chunker=Chunker(100))
        moved = [Document(f"{first}.\n\n{second}", "d")]
        assert kinds(verify(moved, collection, Chunker(100))) == {"changed": ["d#chunk-0", "d#chunk-1"]}
        load(moved, embedder, collection, chunker=Chunker(100))
        assert verify(moved, collection, Chunker(100)).equal


def test_invalid_arguments_are_refused_before_anything_is_read(loaded: Collection, embedder: T1Embedder) -> None:
    def untouchable() -> Iterator[Document]:
        raise AssertionError("read")
        yield

    with pytest.raises(ValueError, match="needs the model"):
        verify(untouchable(), loaded, CHUNKER, vectors=1)
    with pytest.raises(ValueError, match="at least 0, got -1"):
        verify(untouchable(), loaded, CHUNKER, vectors=-1)
    with pytest.raises(ValueError, match=r"got 1\.5"):
        verify(untouchable(), loaded, CHUNKER, least_cosine=1.5)
    with pytest.raises(CollectionMismatch, match="holds vectors of"):
        verify(untouchable(), loaded, CHUNKER, embedder=T1Embedder.fake(8))
    with pytest.raises(TypeError, match="got str"):
        verify(["text"], loaded, CHUNKER)  # type: ignore[list-item]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc.\x00é ", max_size=4), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("value", [116.32650514309171, -121.94342168014971, 2.2790121708605243e274, 5e-324, 1.7e308])
def test_floats_that_engines_change_are_no_damage(embedder: T1Embedder, tmp_path: Path, value: float) -> None:
    documents = [Document("text", "d", {"value": [value, -value]})]
    with Collection.open(tmp_path / "index", identity=embedder.identity) as collection:
        load(documents, embedder, collection)
        assert verify(documents, collection, Chunker()).equal
        assert load(documents, embedder, collection).unchanged == 1


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.text("xyz é", max_size=5), JSON, max_size=3), min_size=1, max_size=20))
def test_any_metadata_is_read_back_with_the_same_hash(tmp_path: Path, metadata: list[dict[str, Any]]) -> None:
    embedder = T1Embedder.fake(16)
    documents = [Document(f"text {n}", f"{n}", given) for n, given in enumerate(metadata)]
    with Collection.open(tmp_path / "any", identity=embedder.identity) as collection:
        collection.delete([chunk.id for chunk in collection.scroll()])
        load(documents, embedder, collection)
        assert verify(documents, collection, Chunker()).equal
