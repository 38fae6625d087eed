"""``t1 index --ray``: the same load, by workers on Ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from t1_vectorstore.indexing import LoadReport
    from t1_vectorstore.indexing.ray import Workers

Address = Annotated[
    str | None,
    typer.Option(
        "--ray", metavar="ADDRESS", help="Load by workers on Ray: 'local', or a cluster's address such as 'auto'."
    ),
]
Count = Annotated[int, typer.Option(min=1, help="With --ray: how many workers, each with its own model.")]
Gpus = Annotated[float, typer.Option(min=0, help="With --ray: GPUs for each worker, or a part of one.")]


def plan(
    paths: Sequence[Path], to: str, devices: Sequence[str] | None, *, count: int, gpus: float, prune: bool
) -> Workers:
    """The workers; what they cannot do is refused before anything is made.

    Raises:
        ValueError: a folder, for documents or for the index, several devices of a worker, or pruning.
    """
    if devices and len(devices) > 1:
        raise ValueError(f"a worker has one device, not {', '.join(devices)}: with --ray, more --workers use more")
    from t1_vectorstore.indexing.ray import Workers, check_shards

    check_shards(paths)
    if "://" not in to:
        raise ValueError(f"{to} can be open in one process only; with --ray, --to takes the URL of a Qdrant server")
    if prune:
        raise ValueError("no worker knows what the others read; run t1 index --prune once more without --ray")
    return Workers(count, gpus=gpus)


def load_by_workers(
    paths: Sequence[Path],
    to: str,
    *,
    name: str,
    api_key: str | None,
    **options: Any,  # noqa: ANN401 - those of ``load_on_ray``
) -> Callable[..., LoadReport]:
    """``load_on_ray``, whose workers open the collection that is there now."""
    from t1_vectorstore.collection import Collection
    from t1_vectorstore.indexing.ray import load_on_ray

    reopen = partial(Collection.open, to, name=name, create=False, api_key=api_key)
    return partial(load_on_ray, paths, collection=reopen, **options)
