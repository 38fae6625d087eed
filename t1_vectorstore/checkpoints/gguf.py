"""A GGUF file as a checkpoint: weights, tokenizer, chat template and specification in one file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from t1_vectorstore.checkpoints.chat_template import ChatTemplate
from t1_vectorstore.checkpoints.fingerprint import WHOLE, FileState, samples
from t1_vectorstore.checkpoints.gguf_format import GGUFHeader
from t1_vectorstore.checkpoints.gguf_tokenizer import build_tokenizer
from t1_vectorstore.errors import CheckpointError

SUFFIX = ".gguf"
SPEC_KEY = "t1.config"
"""Metadata key of the specification: the text of a ``t1_config.json``."""

SIZE_FIELDS = {
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "context_length": "max_position_embeddings",
}
"""Fields of an architecture, and their names in a ``config.json`` of transformers."""

_ENCODERS = (
    *("bert", "modern-bert", "neo-bert", "eurobert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3"),
    *("t5", "t5encoder", "gemma-embedding", "llama-embed", "clip", "wavtokenizer-dec", "dream", "llada", "llada-moe"),
)
"""Architectures in which a token sees later ones, or that do not generate text."""
_CHAT_TOKENS = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
"""Variables of chat templates, and what llama.cpp calls these tokens."""


@dataclass(frozen=True)
class GGUFFile:
    """A GGUF file, read as a checkpoint.

    Attributes:
        path: The file.
        header: Its metadata and where its tensors are.
    """

    path: Path
    header: GGUFHeader

    @classmethod
    def read(cls, path: Path) -> GGUFFile:
        """Read a file's header.

        Raises:
            CheckpointError: It is not a whole GGUF file with a language model that generates text.
        """
        header = GGUFHeader.read(path)
        _check_is_model(path, header)
        return cls(path, header)

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the model family, such as ``qwen3``."""
        return str(self.header.metadata["general.architecture"])

    @cached_property
    def config(self) -> dict[str, Any]:
        """The fields of the architecture, such as ``block_count`` and ``context_length``."""
        prefix = f"{self.architecture}."
        return {
            key.removeprefix(prefix): value for key, value in self.header.metadata.items() if key.startswith(prefix)
        }

    @property
    def hidden_size(self) -> int:
        """Length of the model's hidden states."""
        return self._size("embedding_length")

    @property
    def layers(self) -> int:
        """Number of layers of the model."""
        return self._size("block_count")

    @property
    def max_positions(self) -> int | None:
        """Longest sequence that the model was trained on, in tokens; ``None`` if the file does not state it."""
        return self.config.get("context_length") or None

    def _size(self, field: str) -> int:
        size = self.config.get(field)
        if not isinstance(size, int):
            raise CheckpointError(f"{self.path} has no {self.architecture}.{field}: it is not a whole language model")
        return size

    @cached_property
    def specification(self) -> str | None:
        """The specification that the file itself has, as JSON."""
        return self.header.metadata.get(SPEC_KEY)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer.

        Raises:
            CheckpointError: It cannot be built exactly, or has more tokens than the model has embeddings.
        """
        tokenizer = build_tokenizer(self.path, self.header.metadata)
        rows = self.header.by_name["token_embd.weight"].shape[1]
        highest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
        if highest >= rows:
            raise CheckpointError(
                f"the tokenizer in {self.path} has the token {highest}, but its model has only {rows} embeddings"
            )
        return tokenizer

    @cached_property
    def chat_template(self) -> ChatTemplate | None:
        """The chat template; ``None`` if there is none."""
        fields = self.header.metadata
        source = fields.get("tokenizer.chat_template")
        if not isinstance(source, str):
            return None
        ids = {name: fields.get(f"tokenizer.ggml.{key}_token_id") for name, key in _CHAT_TOKENS.items()}
        tokens = {name: self.tokenizer.id_to_token(number) for name, number in ids.items() if number is not None}
        return ChatTemplate(source, {name: token for name, token in tokens.items() if token is not None}, self.path)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of what decides the vectors: architecture, tokenizer and tensors.

        Names, descriptions, the chat template and the specification are left out: the fingerprint has those parts of
        the specification that matter. Tensors of a file above 64 MiB are sampled.

        Raises:
            CheckpointError: The file cannot be read, or was changed since its header was read.
        """
        kept = {key: value for key, value in self.header.metadata.items() if self._decides_vectors(key)}
        tensors = [(tensor.name, tensor.shape, tensor.kind) for tensor in self.header.tensors]
        digest = hashlib.sha256(json.dumps([kept, tensors], sort_keys=True).encode())
        ranges = [(tensor.start, tensor.end) for tensor in self.header.tensors]
        try:
            with self.path.open("rb") as stream:
                for block in samples(stream, ranges, whole=self.header.state.size <= WHOLE):
                    digest.update(block)
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be read: {error}") from error
        self.check_unchanged()
        return digest.digest()

    @property
    def digested(self) -> list[Path]:
        """The files that ``digest`` covers."""
        return [self.path]

    def _decides_vectors(self, key: str) -> bool:
        return key.startswith((f"{self.architecture}.", "general.architecture", "tokenizer.")) and not key.startswith(
            "tokenizer.chat_template"
        )

    def check_unchanged(self) -> None:
        """Check that the file is still the one whose header was read.

        Raises:
            CheckpointError: It was changed, replaced or removed.
        """
        try:
            same = FileState.of(self.path) == self.header.state
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be read any more: {error}") from error
        if not same:
            raise CheckpointError(f"{self.path} was changed while it was in use; load it again")


def _check_is_model(path: Path, header: GGUFHeader) -> None:
    fields = header.metadata
    architecture = fields.get("general.architecture")
    if not isinstance(architecture, str):
        raise CheckpointError(f"{path} does not say which architecture its model has (general.architecture)")
    if (parts := fields.get("split.count", 1)) > 1:
        raise CheckpointError(f"{path} is one of {parts} parts of a model; join them with llama-gguf-split --merge")
    if (kind := fields.get("general.type", "model")) != "model":
        raise CheckpointError(f"{path} is not a model: its general.type is {kind!r}")
    if architecture in _ENCODERS or fields.get(f"{architecture}.attention.causal") is False:
        raise CheckpointError(
            f"{path} has the architecture {architecture!r}, which does not generate text from left to right. T1 "
            "needs a causal language model, such as Qwen3 or Llama"
        )
    if "token_embd.weight" not in header.by_name:
        raise CheckpointError(f"{path} has no weights, or only a part of a model's: token_embd.weight is missing")
