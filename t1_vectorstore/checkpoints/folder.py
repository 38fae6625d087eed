"""A folder with a checkpoint: safetensors weights, ``config.json``, ``tokenizer.json`` and a chat template."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from t1_vectorstore.checkpoints.chat_template import ChatTemplate, read_json_object
from t1_vectorstore.checkpoints.fingerprint import file_digest
from t1_vectorstore.errors import CheckpointError

SPEC_FILE = "t1_config.json"
"""Name of the file with the specification."""
_OTHER_NAMES = {
    "hidden_size": ("n_embd", "n_embed", "d_model", "dim"),
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
    "max_position_embeddings": ("n_positions", "n_ctx", "max_seq_len", "seq_length"),
}
"""Names that some families (GPT-2, BLOOM, MPT) have for a field of ``config.json``."""


@dataclass(frozen=True)
class CheckpointFolder:
    """The files of a checkpoint in a folder.

    Attributes:
        path: The folder.
        remote_code: Whether Python code that comes with the checkpoint is run.
    """

    path: Path
    remote_code: bool = False

    @cached_property
    def config(self) -> dict[str, Any]:
        """The model's own ``config.json``."""
        return read_json_object(self.path / "config.json")

    @cached_property
    def chat_template(self) -> ChatTemplate | None:
        """The checkpoint's own chat template; ``None`` if it has none."""
        return ChatTemplate.read(self.path)

    @property
    def hidden_size(self) -> int:
        """Length of the model's hidden states."""
        return self._size("hidden_size")

    @property
    def layers(self) -> int:
        """Number of layers of the model."""
        return self._size("num_hidden_layers")

    @property
    def max_positions(self) -> int | None:
        """Longest sequence that the model was made for, in tokens; ``None`` if its configuration does not state it."""
        positions = self._field("max_position_embeddings")
        return int(positions) if positions else None

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

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of weights, configuration, tokenizer and the code that is run; see ``file_digest``.

        Raises:
            CheckpointError: There are no safetensors weights, or a file cannot be read.
        """
        digest = hashlib.sha256()
        for file in self.digested:
            digest.update(file.name.encode() + file_digest(file))
        return digest.digest()

    @property
    def digested(self) -> list[Path]:
        """The files that ``digest`` covers.

        Raises:
            CheckpointError: There are no safetensors weights.
        """
        weights = sorted(self.path.glob("*.safetensors"))
        if not weights:
            raise CheckpointError(
                f"{self.path} has no .safetensors weights. Only safetensors are loaded: convert the checkpoint with "
                "save_pretrained(..., safe_serialization=True)."
            )
        code = sorted(self.path.rglob("*.py")) if self.remote_code else []
        return [*weights, self.path / "config.json", self.path / "tokenizer.json", *code]
