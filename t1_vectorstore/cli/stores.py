"""Opening the index and the model of a command, so that a mistake in either is found before the weights are loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t1_vectorstore.cli.console import note
from t1_vectorstore.cli.options import QDRANT_API_KEY
from t1_vectorstore.cli.progress import busy
from t1_vectorstore.model_names import DEFAULT_MODEL
from t1_vectorstore.network import service_url

if TYPE_CHECKING:
    from t1_vectorstore.checkpoints.checkpoint import Checkpoint
    from t1_vectorstore.collection import Collection
    from t1_vectorstore.embedding.embedder import T1Embedder
    from t1_vectorstore.options import ModelOptions
    from t1_vectorstore.vectorstore import T1VectorStore

_INDEX_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def key_for(where: str, api_key: str | None) -> str | None:
    """Return the key to open a location with; a T1 service does not get the one that the environment has for Qdrant."""
    return None if service_url(where) and api_key == os.environ.get(QDRANT_API_KEY) else api_key


def open_collection(where: str, *, name: str, api_key: str | None) -> Collection:
    """Open an existing collection, whatever its model."""
    from t1_vectorstore.collection import Collection

    return Collection.open(where, name=name, create=False, api_key=key_for(where, api_key))


def open_to_read(where: str, *, read_only: bool, api_key: str | None, **options: Any) -> Collection:  # noqa: ANN401 - of Collection.open
    """Open an existing collection to read it; with ``read_only``, or if it is in use or not writable, a copy."""
    from t1_vectorstore.collection import Collection
    from t1_vectorstore.errors import CollectionLocked, StoreUnavailable

    options["api_key"] = key_for(where, api_key)
    try:
        return Collection.open(where, create=False, read_only=read_only, **options)
    except (CollectionLocked, StoreUnavailable) as error:
        if read_only or _is_url(where):
            raise
        try:
            copy = Collection.open(where, create=False, read_only=True, **options)
        except StoreUnavailable:
            raise error from None
        reason = "is in use" if isinstance(error, CollectionLocked) else "cannot be written to"
        note(f"note: {where} {reason}, so a copy of its present state is read (--read-only)")
        return copy


@contextmanager
def open_with_checkpoint(
    where: str,
    options: ModelOptions,
    *,
    name: str = "t1",
    api_key: str | None = None,
    adopt: bool = False,
    create: Mapping[str, Any] | None = None,
    read_only: bool | None = None,
    compatible_with: str | None = None,
) -> Iterator[tuple[Collection | None, ModelOptions, Checkpoint]]:
    """Open a collection and read its model's checkpoint, without the weights.

    Without a name in ``options``, the model is the one that the collection records; of a new collection the default.
    ``create`` holds the options of a
    collection that may be created: then the collection is ``None`` if it does not exist, and an existing one must have
    been created with these options. The options are returned with the model's name. With ``adopt`` the collection need
    not record its model, which the options must name. ``read_only`` is given by commands that only read; see
    ``open_to_read``. With ``compatible_with`` the collection may be of another model than the one in the options.

    Raises:
        ValueError: ``adopt`` or ``compatible_with`` without a model.
    """
    if compatible_with is not None and "model" not in options.model_fields_set:
        raise ValueError(f"--compatible-with {compatible_with} needs --model: the model to search with")
    if adopt and "model" not in options.model_fields_set:
        raise ValueError("--adopt needs --model: the collection does not record which model made its vectors")
    from t1_vectorstore.checkpoints.checkpoint import Checkpoint, default_model, named_models
    from t1_vectorstore.collection import Collection
    from t1_vectorstore.embedding.prompts import Prompter
    from t1_vectorstore.embedding.thinking import check_limits
    from t1_vectorstore.errors import CheckpointError, CollectionNotFound

    with ExitStack() as stack:
        found = None
        try:
            shared: dict[str, Any] = {"name": name, "api_key": key_for(where, api_key), "adopt": adopt}
            if read_only is None:
                opened = Collection.open(where, create=False, **shared, **(create or {}))
            else:
                opened = open_to_read(where, read_only=read_only, **shared)
            found = stack.enter_context(opened)
        except CollectionNotFound:
            if create is None or adopt:
                raise
        named = "model" in options.model_fields_set
        if not named:
            options = options.with_model(default_model() if found is None else found.identity.model)
        try:
            checkpoint = Checkpoint.from_options(options)
            check_limits(checkpoint, checkpoint.max_positions)
            if found is None:  # before a collection is created, everything but the weights is read
                Prompter.load(checkpoint)
            identity = checkpoint.identity
            if found is None and not named and options.model != DEFAULT_MODEL:
                note(f"the model of the new index is {options.model}; --model names another")
        except CheckpointError as error:
            if found is not None and not named and options.preset is None and options.model not in named_models():
                message = f"{error} If the index was made with --preset, give the same --preset here."
                raise CheckpointError(message) from error
            raise
        if found is not None and compatible_with is None:
            found.check_model(identity, adopt=adopt)
        yield found, options, checkpoint


def note_unknown_fields(collection: Collection, filter: Mapping[str, Any] | None) -> None:
    """Say which fields of a filter that found nothing no document has, such as misspelled ones."""
    from t1_vectorstore.collection.lookup import unknown_fields

    for sentence in unknown_fields(collection, filter):
        note(f"note: {sentence}")


@contextmanager
def open_store(
    where: str,
    options: ModelOptions,
    *,
    name: str = "t1",
    api_key: str | None = None,
    adopt: bool = False,
    create: Mapping[str, Any] | None = None,
    read_only: bool | None = None,
    loaded: Sequence[T1Embedder] = (),
    compatible_with: str | None = None,
) -> Iterator[T1VectorStore]:
    """Open a collection with its model; see ``open_with_checkpoint``.

    A collection is created only after the model has been loaded: a model that does not load leaves nothing behind. One
    of the ``loaded`` models is used if it is the same.
    """
    from t1_vectorstore.collection import Collection
    from t1_vectorstore.embedding.embedder import T1Embedder
    from t1_vectorstore.vectorstore import T1VectorStore

    opened = open_with_checkpoint(
        where,
        options,
        name=name,
        api_key=api_key,
        adopt=adopt,
        create=create,
        read_only=read_only,
        compatible_with=compatible_with,
    )
    with opened as (collection, options, checkpoint), ExitStack() as stack:
        same = (embedder for embedder in loaded if embedder.identity.fingerprint == checkpoint.identity.fingerprint)
        if (embedder := next(same, None)) is None:
            with busy(f"loading {options.model}"):
                embedder = stack.enter_context(T1Embedder.from_options(options, checkpoint))
        if collection is None:
            new = Collection.open(
                where, name=name, identity=embedder.identity, api_key=key_for(where, api_key), **(create or {})
            )
            collection = stack.enter_context(new)
        yield T1VectorStore(embedder, collection, compatible_with=compatible_with)


@contextmanager
def open_stores(
    locations: Sequence[str],
    options: ModelOptions,
    *,
    name: str = "t1",
    api_key: str | None = None,
    adopt: bool = False,
    read_only: bool | None = None,
) -> Iterator[dict[str, T1VectorStore]]:
    """Open several indexes, each given as ``[NAME=]DIR|URL[#COLLECTION]``; return them by name, in order.

    Without a name, an index is called as its collection if that is given, or as its folder. Indexes of the same model
    share it.

    Raises:
        ValueError: Two indexes have the same name.
    """
    places: dict[str, tuple[str, str]] = {}
    for text in locations:
        index, where, collection = _parse_location(text, name)
        if index in places:
            raise ValueError(f"two indexes are named {index!r}; name them, as in first={where} second=...")
        places[index] = where, collection
    with ExitStack() as stack:
        stores: dict[str, T1VectorStore] = {}
        for index, (where, collection) in places.items():
            loaded = [store.embedder for store in stores.values()]
            stores[index] = stack.enter_context(
                open_store(
                    where, options, name=collection, api_key=api_key, adopt=adopt, read_only=read_only, loaded=loaded
                )
            )
        yield stores


def _is_url(where: str) -> bool:
    return (service_url(where) or where).lower().startswith(("http://", "https://"))


def _parse_location(text: str, collection: str) -> tuple[str, str, str]:
    """Return the name, the location and the collection of ``[NAME=]DIR|URL[#COLLECTION]``."""
    named, equals, rest = text.partition("=")
    if not equals or not _INDEX_NAME.fullmatch(named) or Path(text).exists():
        named, rest = "", text
    if _is_url(rest):
        rest, _, fragment = rest.partition("#")
        collection = fragment or collection
        return named or collection, rest, collection
    return named or Path(rest).resolve().name, rest, collection
