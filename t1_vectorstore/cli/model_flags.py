"""The flags of every command that loads a model, and the ``ModelOptions`` that they describe."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from t1_vectorstore.cli.options import parse_fields

if TYPE_CHECKING:
    from t1_vectorstore.options import ModelOptions

PANEL = "Model"

Model = Annotated[
    str | None,
    typer.Option(
        help="'t1-mini' (bundled), a checkpoint folder, or a hub id.  [default: the index's own]", rich_help_panel=PANEL
    ),
]


@dataclass(frozen=True)
class ModelFlags:
    """The flags as they were given, unchecked; each field is a flag of that name."""

    model: Model = None
    preset: Annotated[
        str | None,
        typer.Option(
            help="Hub id whose preset describes a checkpoint folder without t1_config.json.", rich_help_panel=PANEL
        ),
    ] = None
    override: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="Change a field of the checkpoint's specification, such as truncate_dim=128. An index is searched with "
            "the overrides that it was made with.",
            rich_help_panel=PANEL,
        ),
    ] = None
    device: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Device, such as cuda:1. Repeat it to share documents among several.  [default: a GPU, else cpu]",
            rich_help_panel=PANEL,
        ),
    ] = None
    dtype: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Number type of the weights: float32, bfloat16 or float16.  [default: bfloat16 where the device "
            "computes in it]",
            rich_help_panel=PANEL,
        ),
    ] = None
    batch_tokens: Annotated[
        int | None,
        typer.Option(
            help="Maximum tokens in a forward pass; fewer need less memory.  [default: by type of device]",
            rich_help_panel=PANEL,
        ),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(
            help="Number of CPU threads for inference.  [default: 1 for a small model, else torch's own number]",
            rich_help_panel=PANEL,
        ),
    ] = None
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What runs the model: transformers, vllm or remote.  [default: transformers]",
            rich_help_panel=PANEL,
        ),
    ] = None
    engine_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="For vllm, an engine argument such as max_model_len=8192; for remote, generate_url=URL and "
            "embed_url=URL.",
            rich_help_panel=PANEL,
        ),
    ] = None

    def parse(self, *, refine_steps: int | None = None, here: bool = True) -> ModelOptions:
        """Return the options that the flags describe, after checking whether the backend can carry them out.

        Args:
            refine_steps: Number of refine steps that queries will ask for.
            here: Whether this command loads the model. Another machine may have other devices and packages.

        Raises:
            MissingExtraError: A package that the backend needs is not installed.
            ValueError: A value that a flag, or the backend, does not accept, or a device that this machine lacks.
        """
        from t1_vectorstore.backends import check_backend
        from t1_vectorstore.embedding.thinking import plan_refining
        from t1_vectorstore.options import ModelOptions, ThinkingOptions

        refining = plan_refining(ThinkingOptions.check(refine_steps=refine_steps))
        devices = self.device or []
        given: dict[str, Any] = {
            "model": None if self.model is None else _absolute(self.model),
            "preset": self.preset,
            "overrides": parse_fields("--override", self.override) or None,
            "device": devices[0] if len(devices) == 1 else None,
            "devices": devices if len(devices) > 1 else None,
            "dtype": self.dtype,
            "batch_tokens": self.batch_tokens,
            "threads": self.threads,
            "backend": self.backend,
            "engine_options": parse_fields("--engine-option", self.engine_option) or None,
        }
        set_flags = {name: value for name, value in given.items() if value is not None}
        options = ModelOptions.check(truncation="allow", **set_flags)
        check_backend(options, refining=refining, here=here)
        return options

    @property
    def say_how_to_run(self) -> bool:
        """Whether a flag says where or how the model runs."""
        given = (self.device, self.dtype, self.batch_tokens, self.threads, self.backend, self.engine_option)
        return any(flag is not None for flag in given)


def _absolute(model: str) -> str:
    """Return a folder's absolute path, since an index records the name and is searched from anywhere."""
    from t1_vectorstore.checkpoints.checkpoint import BUNDLED

    folder = Path(model).expanduser()
    return str(folder.resolve()) if folder.is_dir() and not (BUNDLED / model).is_dir() else model


def takes_model_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags of :class:`ModelFlags`, in place of its parameter of that type."""
    flags = inspect.signature(ModelFlags, eval_str=True).parameters
    expanded: list[inspect.Parameter] = []
    place = ""
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if parameter.annotation is ModelFlags:
            place = parameter.name
            expanded += flags.values()
        else:
            expanded.append(parameter)

    @wraps(command)
    def with_flags(**given: Any) -> None:  # noqa: ANN401 - those of the signature
        model_flags = ModelFlags(**{name: given.pop(name) for name in flags})
        command(**{place: model_flags}, **given)

    by_name = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in expanded]
    with_flags.__signature__ = inspect.Signature(by_name)  # type: ignore[attr-defined] # what typer reads
    return with_flags
