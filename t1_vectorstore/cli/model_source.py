"""Which model a command loads, and what runs it: one value, checked before anything is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from typing_extensions import Self

from t1_vectorstore.cli.model_options import ModelOptions
from t1_vectorstore.cli.options import parse_fields
from t1_vectorstore.types import BackendName

if TYPE_CHECKING:
    from t1_vectorstore.checkpoint import Checkpoint
    from t1_vectorstore.embedder import T1Embedder

DEFAULT_MODEL = "t1-mini"


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from and where it runs.

    Attributes:
        model: name, folder or hub id; ``None`` is the collection's own.
        preset: for a folder without a specification.
        overrides: fields of the specification to change.
        running: ``device``, ``devices``, ``dtype``, ``batch_tokens`` and ``threads`` where they were given; as for
            ``T1Embedder.load``, which chooses the others.
        backend: what runs the model.
        engine_options: of the backends that have an engine.
    """

    model: str | None = None
    preset: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    running: Mapping[str, Any] = field(default_factory=dict)
    backend: BackendName = "transformers"
    engine_options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, given: ModelOptions, *, refine_steps: int | None = None, here: bool = True) -> Self:
        """What the options say.

        Args:
            given: the options.
            refine_steps: that queries will be asked with.
            here: the model is loaded by this command; else on other machines, which may have other devices, or not at
                all.

        Raises:
            MissingExtraError: what the backend needs is not installed.
            ValueError: an option with a value that it, or the backend, does not take, or a device that is not here.
        """
        from t1_vectorstore.backends.options import check_options
        from t1_vectorstore.thinking import choose_refining

        refining = choose_refining(refine_steps)
        source = cls(
            model=given.model,
            preset=given.preset,
            overrides=parse_fields("--override", given.override),
            running=_running(given),
            backend=cast(BackendName, given.backend),  # refused below if it is none
            engine_options=parse_fields("--engine-option", given.engine_option),
        )
        options = source.engine_options
        check_options(source.backend, engine_options=options, refining=refining, here=here, **source.running)
        return source

    def named(self, model: str | None) -> Self:
        """Another model, run the same way."""
        return replace(self, model=model)

    def overridden_below(self, defaults: Mapping[str, Any]) -> Self:
        """Other defaults for fields of the specification; what ``overrides`` says still counts."""
        return replace(self, overrides={**defaults, **self.overrides})

    @property
    def placed(self) -> bool:
        """Whether anything says where or how the model is to run."""
        return bool(self.running or self.engine_options or self.backend != "transformers")

    def checkpoint(self) -> Checkpoint:
        """The files of the model, without its weights in memory."""
        from t1_vectorstore.backends.options import known_fingerprint
        from t1_vectorstore.checkpoint import Checkpoint

        known = known_fingerprint(self.backend, self.engine_options)
        return Checkpoint.load(self._name, preset=self.preset, overrides=self.overrides, fingerprint=known)

    def loader(self) -> Callable[[], T1Embedder]:
        """What loads the model, here or in another process, under the name that an index is to remember."""
        from t1_vectorstore.embedder import T1Embedder

        return partial(
            T1Embedder.load,
            self._name,
            preset=self.preset,
            overrides=self.overrides,
            truncation="allow",
            backend=self.backend,
            engine_options=self.engine_options,
            **self.running,
        )

    @property
    def _name(self) -> str:
        """A folder by its absolute path: the index remembers the name, and is searched from anywhere."""
        from t1_vectorstore.checkpoint import BUNDLED

        model = self.model or DEFAULT_MODEL
        folder = Path(model).expanduser()
        return str(folder.resolve()) if folder.is_dir() and not (BUNDLED / model).is_dir() else model


def _running(given: ModelOptions) -> dict[str, Any]:
    """Those of the options that were given, under the names that the embedder has for them."""
    devices = given.device or []
    running: dict[str, Any] = {"devices": devices} if len(devices) > 1 else {"device": next(iter(devices), None)}
    running |= {"dtype": given.dtype, "batch_tokens": given.batch_tokens, "threads": given.threads}
    return {name: value for name, value in running.items() if value is not None}
