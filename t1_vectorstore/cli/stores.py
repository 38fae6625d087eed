"""Open what a command works on: the collection first, the model it names next, the weights last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from t1_vectorstore.cli.model_source import DEFAULT_MODEL, ModelSource
from t1_vectorstore.cli.progress import busy
from t1_vectorstore.storage import Storage
from t1_vectorstore.types import IndexKind

if TYPE_CHECKING:
    from t1_vectorstore.embedder import T1Embedder
    from t1_vectorstore.prompts import Prompter
    from t1_vectorstore.store import Collection
    from t1_vectorstore.vectorstore import T1VectorStore


class Making(TypedDict, total=False):
    """What is decided when a collection is made; ``None`` is what a collection has, or the default."""

    hybrid: bool | None
    indexes: Mapping[str, IndexKind] | None
    tenant: str | None
    storage: Storage | None


def open_collection(where: str, *, name: str, api_key: str | None) -> Collection:
    """Open a collection that exists, whatever its model."""
    from t1_vectorstore.store import Collection

    return Collection.open(where, name=name, create=False, api_key=api_key)


@contextmanager
def open_store(
    where: str,
    source: ModelSource,
    *,
    name: str = "t1",
    api_key: str | None = None,
    making: Making | None = None,
) -> Iterator[T1VectorStore]:
    """Open a collection with its model; a mistake in either is found before the weights are loaded.

    One that is not there yet is made once they are: where the model does not load, nothing has been made.

    Args:
        where: folder or URL.
        source: the model; without a name the one that the collection names.
        name: the collection's.
        api_key: for a server.
        making: make a collection that is not there yet, in this way; one that is there must have been made so.
    """
    from t1_vectorstore.errors import CollectionNotFound
    from t1_vectorstore.store import Collection
    from t1_vectorstore.vectorstore import T1VectorStore

    with ExitStack() as stack:
        found, make_embedder = None, source.loader()
        try:
            collection, make_embedder = open_for_model(
                where, source, name=name, api_key=api_key, making=making, create=False
            )
            found = stack.enter_context(collection)
        except CollectionNotFound:
            if making is None:
                raise
        with busy(f"loading {found.identity.model if found else source.model or DEFAULT_MODEL}"):
            embedder = stack.enter_context(make_embedder())
        # Made now, and not before: a model that does not load leaves nothing behind.
        if found is None:
            opened = Collection.open(where, name=name, identity=embedder.identity, api_key=api_key, **(making or {}))
            found = stack.enter_context(opened)
        yield T1VectorStore(embedder, found)


def load_prompter(collection: Collection, source: ModelSource) -> Prompter:
    """What knows how much of a text a collection's model reads, without the model."""
    from t1_vectorstore.prompts import Prompter

    return Prompter.load(source.named(source.model or collection.identity.model).checkpoint())


def open_for_model(
    where: str, source: ModelSource, *, name: str, api_key: str | None, making: Making | None, create: bool = True
) -> tuple[Collection, Callable[[], T1Embedder]]:
    """``open_store`` without loading the weights: the collection, and what loads its model, here or elsewhere.

    Before a collection is made, all of the model but its weights has been read.

    Args: those of ``open_store``, and
        create: with ``making``, make a collection that is not there, rather than ask for one that was made so.
    """
    from t1_vectorstore.errors import CheckpointError, CollectionNotFound
    from t1_vectorstore.prompts import Prompter
    from t1_vectorstore.store import Collection
    from t1_vectorstore.thinking import check_room

    named_by_index = source.model is None
    if named_by_index:
        try:
            with open_collection(where, name=name, api_key=api_key) as found:
                source = source.named(found.identity.model)
        except CollectionNotFound:
            if making is None:
                raise
    create = create and making is not None
    try:
        checkpoint = source.checkpoint()
        if create:
            check_room(checkpoint, checkpoint.max_positions)
            Prompter.load(checkpoint)
        identity = checkpoint.identity
    except CheckpointError as error:
        if named_by_index and source.preset is None:
            raise CheckpointError(
                f"{error} If the index was made with --preset, give the same --preset here."
            ) from error
        raise
    collection = Collection.open(where, name=name, identity=identity, create=create, api_key=api_key, **(making or {}))
    return collection, source.loader()
