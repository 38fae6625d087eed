"""The options of every command that loads a model, declared once: which it is, and how it runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any

import typer

Model = Annotated[
    str | None,
    typer.Option(help="'t1-mini' (bundled), a checkpoint folder, or a hub id.  [default: the index's own]"),
]


@dataclass(frozen=True)
class ModelOptions:
    """What a command was told about its model, unchecked; each field is an option of this name."""

    model: Model = None
    preset: Annotated[
        str | None, typer.Option(help="The hub id whose preset describes a folder without t1_config.json.")
    ] = None
    override: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="Another value for a field of the checkpoint's specification, such as truncate_dim=128; as for the "
            "index.",
        ),
    ] = None
    device: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Where the model runs, such as cuda:1; repeated, documents are shared out.  [default: a GPU, else "
            "cpu]",
        ),
    ] = None
    dtype: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of the weights: float32, bfloat16 or float16.  [default: bfloat16 where the device computes in it]",
        ),
    ] = None
    batch_tokens: Annotated[
        int | None,
        typer.Option(help="Tokens of a forward pass; fewer take less memory.  [default: by the kind of device]"),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(help="Of a CPU, while the model runs.  [default: one for a small model, else torch's own number]"),
    ] = None
    backend: Annotated[str, typer.Option(metavar="NAME", help="What runs the model: transformers, vllm or remote.")] = (
        "transformers"
    )
    engine_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="For vllm, an engine argument such as max_model_len=8192; for remote, generate_url=URL and "
            "embed_url=URL.",
        ),
    ] = None


def takes_model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of :class:`ModelOptions`, in the place of its parameter of that type."""
    options = inspect.signature(ModelOptions, eval_str=True).parameters
    expanded: list[inspect.Parameter] = []
    place = ""
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if parameter.annotation is ModelOptions:
            place = parameter.name
            expanded += options.values()
        else:
            expanded.append(parameter)

    @wraps(command)
    def with_options(**given: Any) -> None:  # noqa: ANN401 - those of the signature
        told = ModelOptions(**{name: given.pop(name) for name in options})
        command(**{place: told}, **given)

    by_name = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in expanded]
    with_options.__signature__ = inspect.Signature(by_name)  # type: ignore[attr-defined] # what typer reads
    return with_options
