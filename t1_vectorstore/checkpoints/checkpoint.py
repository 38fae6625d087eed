"""Find T1 checkpoints on this machine or on the hub, and identify them.

A checkpoint is a folder with weights, a tokenizer and a specification. The specification is a file beside the weights,
``t1_config.json``, or a preset from ``t1_vectorstore.checkpoints.presets`` for models published without that file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from tokenizers import Tokenizer

from t1_vectorstore.checkpoints.chat_template import ChatTemplate, read_json_object
from t1_vectorstore.checkpoints.fingerprint import file_digest
from t1_vectorstore.checkpoints.presets import PRESETS
from t1_vectorstore.checkpoints.spec import PROMPTS, SPEC_FIELDS, CheckpointSpec, one_line
from t1_vectorstore.errors import CheckpointError
from t1_vectorstore.options import ModelOptions
from t1_vectorstore.types import ModelIdentity, Role

_OTHER_NAMES = {
    "hidden_size": ("n_embd", "n_embed", "d_model", "dim"),
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
    "max_position_embeddings": ("n_positions", "n_ctx", "max_seq_len", "seq_length"),
}
"""Names that some families (GPT-2, BLOOM, MPT) have for a field of ``config.json``."""
SPEC_FILE = "t1_config.json"
BUNDLED = Path(__file__).parents[1] / "models"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine.

    Attributes:
        name: The name that the user gave: ``t1-mini``, a folder, or a hub id.
        path: The folder with weights, tokenizer and configuration.
        spec: Its specification, with the user's overrides.
        remote_code: Whether Python code that comes with it is run.
        known_fingerprint: Its fingerprint for documents, if the user stated it. The weights need not be here then.
    """

    name: str
    path: Path
    spec: CheckpointSpec
    remote_code: bool = False
    known_fingerprint: str | None = None

    @classmethod
    def load(cls, model: str | Path, **options: Any) -> Checkpoint:  # noqa: ANN401 - checked by pydantic
        """Find a checkpoint; ``options`` are the other fields of ``ModelOptions``. See ``from_options``."""
        return cls.from_options(ModelOptions(model=model, **options))

    @classmethod
    def from_options(cls, options: ModelOptions) -> Checkpoint:
        """Find a checkpoint's folder and its specification; a model on the hub is downloaded to the hub's cache.

        Raises:
            CheckpointError: There is no usable checkpoint under that name.
            ValueError: An override of an unknown field, or with a value that the field does not accept.
        """
        name, known = str(options.model), options.known_fingerprint
        path = _find(name, options, weights=known is None)
        spec = _read_spec(path, options.preset or name, required=options.preset is not None)
        return cls(name, path, spec.with_overrides(options.overrides or {}), options.remote_code, known)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The model's own ``config.json``."""
        return read_json_object(self.path / "config.json")

    @cached_property
    def chat_template(self) -> ChatTemplate | None:
        """The checkpoint's own chat template; ``None`` if it has none."""
        return ChatTemplate.read(self.path)

    @cached_property
    def hidden_size(self) -> int:
        """Length of the model's hidden states."""
        return self._size("hidden_size")

    @cached_property
    def layers(self) -> int:
        """Number of layers of the model."""
        return self._size("num_hidden_layers")

    def _size(self, name: str) -> int:
        size = self._field(name)
        if not isinstance(size, int):
            raise CheckpointError(
                f"{self.path / 'config.json'} has no {name}: it is not a causal language model, or its family uses "
                "another name"
            )
        return size

    def _field(self, name: str) -> Any:  # noqa: ANN401 - JSON
        fields = self.config.get("text_config", self.config)
        return next((fields[known] for known in (name, *_OTHER_NAMES[name]) if fields.get(known) is not None), None)

    @cached_property
    def max_positions(self) -> int | None:
        """Longest sequence that the model was made for, in tokens; ``None`` if its configuration does not state it."""
        positions = self._field("max_position_embeddings")
        return int(positions) if positions else None

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

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, as it was saved.

        Raises:
            CheckpointError: It cannot be read.
        """
        file = self.path / "tokenizer.json"
        try:
            return Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise CheckpointError(
                f"{file} cannot be read as a tokenizer: {error}. Create it with "
                "transformers.AutoTokenizer.from_pretrained(...).save_pretrained(...)."
            ) from error

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
        digest = hashlib.sha256(self._files_digest)
        digest.update(json.dumps(fields, sort_keys=True).encode())
        return digest.hexdigest()[:16]

    @cached_property
    def identity(self) -> ModelIdentity:
        """What a collection records of this model."""
        return ModelIdentity(self.name, self.known_fingerprint or self.fingerprint(role="document"), self.dimension)

    @cached_property
    def _files_digest(self) -> bytes:
        weights = sorted(self.path.glob("*.safetensors"))
        if not weights:
            raise CheckpointError(
                f"{self.path} has no .safetensors weights. Only safetensors are loaded: convert the checkpoint with "
                "save_pretrained(..., safe_serialization=True)."
            )
        digest = hashlib.sha256()
        code = sorted(self.path.rglob("*.py")) if self.remote_code else []
        for file in [*weights, self.path / "config.json", self.path / "tokenizer.json", *code]:
            digest.update(file.name.encode() + file_digest(file))
        return digest.digest()


def begin_tokens(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Return the special tokens that a tokenizer's post-processor puts before a text, such as ``<bos>``."""
    encoding = tokenizer.encode("a", add_special_tokens=True)
    special = takewhile(lambda pair: pair[1], zip(encoding.tokens, encoding.special_tokens_mask, strict=True))
    return tuple(token for token, _ in special)


def bundled_models() -> list[str]:
    """Return the names of the models that come with the package."""
    return sorted(folder.name for folder in BUNDLED.iterdir() if folder.is_dir()) if BUNDLED.is_dir() else []


def _find(name: str, options: ModelOptions, *, weights: bool) -> Path:
    if not name:
        raise CheckpointError("the checkpoint's name is empty; give 't1-mini', a folder or a hub id (owner/name)")
    bundled = BUNDLED / name
    if bundled.parent == BUNDLED and bundled.is_dir():
        return bundled
    if Path(name).is_dir():
        return Path(name)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise CheckpointError(
            f"no checkpoint {name!r}: it is not a folder, a hub id (owner/name) or one of the bundled models "
            f"{bundled_models()}"
        )
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.jinja", "tokenizer.model", "*.txt"] + ["*.safetensors"] * weights
    patterns += ["*.py"] * options.remote_code
    token = options.token.get_secret_value() if isinstance(options.token, SecretStr) else None
    try:
        return Path(snapshot_download(name, revision=options.revision, token=token, allow_patterns=patterns))
    except Exception as error:  # the hub raises its own errors, httpx's and OSError
        raise CheckpointError(
            f"{name!r} is not a local folder and cannot be downloaded from the hub: {str(error).rstrip('.')}. Without "
            "a network, pass a folder, or use the bundled 't1-mini'."
        ) from error


def _read_spec(path: Path, preset: str, *, required: bool) -> CheckpointSpec:
    file = path / SPEC_FILE
    if required or (not file.is_file() and preset in PRESETS):
        if preset not in PRESETS:
            raise CheckpointError(f"no preset {preset!r}; the presets are {sorted(PRESETS)}")
        return PRESETS[preset]
    try:
        return CheckpointSpec.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} has no {SPEC_FILE}, so its prompts and its emb token are unknown. Write one (see CheckpointSpec), "
            f"or name a preset that describes it: {', '.join(sorted(PRESETS))}."
        ) from None
    except ValidationError as error:
        raise CheckpointError(f"{file} is not a specification: {one_line(error, SPEC_FIELDS)}") from error
