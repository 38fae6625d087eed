"""Which model a command loads, and what runs it: one value, checked before anything is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from typing_extensions import Self

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
        devices: none leaves the choice to the backend; several share the documents.
        backend: what runs the model.
        engine_options: of the backends that have an engine.
    """

    model: str | None = None
    preset: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    backend: BackendName = "transformers"
    engine_options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(
        cls,
        model: str | None,
        preset: str | None,
        override: Sequence[str] | None,
        device: Sequence[str] | None,
        backend: str,
        engine_option: Sequence[str] | None,
        *,
        refine_steps: int | None = None,
        elsewhere: bool = False,
    ) -> Self:
        """What the options of these names say.

        Args:
            model: ``--model``.
            preset: ``--preset``.
            override: each ``--override``.
            device: each ``--device``.
            backend: ``--backend``.
            engine_option: each ``--engine-option``.
            refine_steps: that queries will be asked with.
            elsewhere: the model is loaded on other machines, which may have other devices.

        Raises:
            MissingExtraError: a device is named, and torch is not installed.
            ValueError: an option with a value that it, or the backend, does not take, or a device that is not here.
        """
        from t1_vectorstore.backends.options import check_options
        from t1_vectorstore.thinking import choose_refining

        refining = choose_refining(refine_steps)
        source = cls(
            model=model,
            preset=preset,
            overrides=parse_fields("--override", override),
            devices=tuple(device or ()),
            backend=cast(BackendName, backend),  # refused below if it is none
            engine_options=parse_fields("--engine-option", engine_option),
        )
        options = source.engine_options
        check_options(source.backend, engine_options=options, refining=refining, elsewhere=elsewhere, **source._placing)
        return source

    def named(self, model: str | None) -> Self:
        """Another model, run the same way."""
        return replace(self, model=model)

    def overridden_below(self, defaults: Mapping[str, Any]) -> Self:
        """Other defaults for fields of the specification; what ``overrides`` says still counts."""
        return replace(self, overrides={**defaults, **self.overrides})

    @property
    def placed(self) -> bool:
        """Whether anything says where the model is to run."""
        return bool(self.devices or self.engine_options or self.backend != "transformers")

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
            **self._placing,
        )

    @property
    def _placing(self) -> dict[str, Any]:
        if len(self.devices) > 1:
            return {"devices": list(self.devices)}
        return {"device": self.devices[0]} if self.devices else {}

    @property
    def _name(self) -> str:
        """A folder by its absolute path: the index remembers the name, and is searched from anywhere."""
        from t1_vectorstore.checkpoint import BUNDLED

        model = self.model or DEFAULT_MODEL
        folder = Path(model).expanduser()
        return str(folder.resolve()) if folder.is_dir() and not (BUNDLED / model).is_dir() else model
