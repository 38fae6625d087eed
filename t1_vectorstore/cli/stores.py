"""Open what a command works on: the collection first, the model it names next, the weights last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

from t1_vectorstore.cli.progress import busy
from t1_vectorstore.storage import Storage
from t1_vectorstore.types import IndexKind

if TYPE_CHECKING:
    from t1_vectorstore.embedder import T1Embedder
    from t1_vectorstore.prompts import Prompter
    from t1_vectorstore.store import Collection
    from t1_vectorstore.vectorstore import T1VectorStore

DEFAULT_MODEL = "t1-mini"


class Making(TypedDict, total=False):
    """What is decided when a collection is made; ``None`` is what a collection has, or the default."""

    hybrid: bool | None
    indexes: Mapping[str, IndexKind] | None
    tenant: str | None
    storage: Storage | None


class ModelSource(TypedDict):
    """Where a model comes from; without a ``model`` it is the collection's own."""

    model: str | None
    preset: str | None
    overrides: Mapping[str, Any] | None


def open_collection(where: str, *, name: str, api_key: str | None) -> Collection:
    """Open a collection that exists, whatever its model."""
    from t1_vectorstore.store import Collection

    return Collection.open(where, name=name, create=False, api_key=api_key)


def load_embedder(model: str, *, preset: str | None = None, overrides: Mapping[str, Any] | None = None) -> T1Embedder:
    """Load a model under the name that an index is to remember."""
    from t1_vectorstore.embedder import T1Embedder

    with busy(f"loading {model}"):
        return T1Embedder.load(_lasting_name(model), preset=preset, overrides=overrides, truncation="allow")


def open_store(
    where: str,
    *,
    model: str | None = None,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    name: str = "t1",
    api_key: str | None = None,
    making: Making | None = None,
) -> T1VectorStore:
    """Open a collection with its model; a mistake in either is found before the weights are loaded.

    Args:
        where: folder or URL.
        model: name, folder or hub id; ``None`` takes the model that the collection names.
        preset: for a folder without a specification.
        overrides: fields of the specification to change.
        name: the collection's.
        api_key: for a server.
        making: make a collection that is not there yet, in this way; one that is there must have been made so.
    """
    collection, make_embedder = open_for_model(
        where, model=model, preset=preset, overrides=overrides, name=name, api_key=api_key, making=making
    )
    return load_model(collection, make_embedder)


def load_model(collection: Collection, make_embedder: Callable[[], T1Embedder]) -> T1VectorStore:
    """Load the weights, and join them with their collection; without them it is closed."""
    from t1_vectorstore.vectorstore import T1VectorStore

    try:
        with busy(f"loading {collection.identity.model}"):
            embedder = make_embedder()
        return T1VectorStore(embedder, collection)
    except BaseException:
        collection.close()
        raise


def load_prompter(
    collection: Collection, *, model: str | None, preset: str | None, overrides: Mapping[str, Any] | None
) -> Prompter:
    """What knows how much of a text a collection's model reads, without the model."""
    from t1_vectorstore.checkpoint import Checkpoint
    from t1_vectorstore.prompts import Prompter

    name = _lasting_name(model or collection.identity.model)
    return Prompter.load(Checkpoint.load(name, preset=preset, overrides=overrides))


def open_for_model(
    where: str,
    *,
    model: str | None,
    preset: str | None,
    overrides: Mapping[str, Any] | None,
    name: str,
    api_key: str | None,
    making: Making | None,
) -> tuple[Collection, Callable[[], T1Embedder]]:
    """``open_store`` before the weights are loaded: the collection, and what loads its model, here or elsewhere."""
    from t1_vectorstore.checkpoint import Checkpoint
    from t1_vectorstore.embedder import T1Embedder
    from t1_vectorstore.errors import CheckpointError, CollectionNotFound
    from t1_vectorstore.store import Collection

    named_by_index = model is None
    if model is None:
        try:
            with open_collection(where, name=name, api_key=api_key) as found:
                model = found.identity.model
        except CollectionNotFound:
            if making is None:
                raise
    model = _lasting_name(model or DEFAULT_MODEL)
    try:
        identity = Checkpoint.load(model, preset=preset, overrides=overrides).identity
    except CheckpointError as error:
        if named_by_index and preset is None:
            raise CheckpointError(
                f"{error} If the index was made with --preset, give the same --preset here."
            ) from error
        raise
    created: Making = {} if making is None else making
    collection = Collection.open(
        where, name=name, identity=identity, create=making is not None, api_key=api_key, **created
    )
    return collection, partial(T1Embedder.load, model, preset=preset, overrides=overrides, truncation="allow")


def _lasting_name(model: str) -> str:
    """A folder by its absolute path: the index remembers the name, and is searched from anywhere."""
    from t1_vectorstore.checkpoint import BUNDLED

    folder = Path(model).expanduser()
    return str(folder.resolve()) if folder.is_dir() and not (BUNDLED / model).is_dir() else model
