"""A checkpoint that has only an adapter: its base model is a GGUF file from elsewhere.

The folder has an adapter in PEFT's format (see ``t1_vectorstore.checkpoints.lora``), ``t1_config.json``, and
``base.json``, which names the base and its digest. Base and adapter are merged in float32 while the weights are read,
one matrix at a time, so that no merged copy is on the disk.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from t1_vectorstore.checkpoints.base_model import BASE_FILE, BaseModelSource
from t1_vectorstore.checkpoints.chat_template import ChatTemplate, read_json_object
from t1_vectorstore.checkpoints.fingerprint import file_digest
from t1_vectorstore.checkpoints.folder import SPEC_FILE, CheckpointFolder
from t1_vectorstore.checkpoints.gguf import SIZE_FIELDS, GGUFFile
from t1_vectorstore.checkpoints.lora import ADAPTER_CONFIG, ADAPTER_FILE, EMBEDDINGS, LoraAdapter
from t1_vectorstore.checkpoints.stored_tensors import Floats, write_tensors
from t1_vectorstore.errors import CheckpointError, MissingExtraError

_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Weights of a layer of Llama: llama.cpp's names, and those of transformers."""
_OTHER = {"token_embd.weight": EMBEDDINGS, "output_norm.weight": "model.norm.weight"}

_SIZES = {**SIZE_FIELDS, "attention.layer_norm_rms_epsilon": "rms_norm_eps"}
"""Fields of a Llama in a GGUF file, and their names in ``config.json``."""
_ROPE_BASE = "rope.freq_base"
_HEAD_SIZES = ("rope.dimension_count", "attention.key_length", "attention.value_length")


@dataclass(frozen=True)
class AdapterFolder(CheckpointFolder):
    """The files of a checkpoint that is an adapter.

    Attributes:
        source: What its ``base.json`` says.
        base: Its base.
        adapter: Its adapter.
    """

    source: BaseModelSource = field(kw_only=True)
    base: GGUFFile = field(kw_only=True)
    adapter: LoraAdapter = field(kw_only=True)

    @classmethod
    def open(cls, folder: Path, find_base: Callable[[BaseModelSource], Path]) -> AdapterFolder:
        """Open the folder of an adapter.

        Args:
            folder: The folder.
            find_base: Returns the base's file, whose digest has been checked.

        Raises:
            CheckpointError: Base or adapter are missing or damaged, do not belong together, or are of a kind that is
                not supported.
        """
        source, adapter = BaseModelSource.read(folder), LoraAdapter.read(folder)
        if adapter.base_name not in (None, source.name):
            raise CheckpointError(
                f"{folder / ADAPTER_CONFIG} is of an adapter of {adapter.base_name!r}, and {BASE_FILE} names "
                f"{source.name!r}"
            )
        return cls(folder, source=source, base=GGUFFile.read(find_base(source)), adapter=adapter)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The model's configuration, as transformers would write it.

        Raises:
            CheckpointError: The base is not a plain Llama.
        """
        base, fields, tokens = self.base, dict(self.base.config), self.base.header.metadata
        if base.architecture != "llama":
            raise CheckpointError(f"{base.path} is a {base.architecture!r}; only adapters of a 'llama' are supported")
        if missing := [key for key in (*_SIZES, _ROPE_BASE) if not isinstance(fields.get(key), int | float)]:
            raise CheckpointError(f"{base.path} has no llama.{missing[0]}: it is not a whole language model")
        sizes = {name: fields.pop(key) for key, name in _SIZES.items()}
        rope_base = fields.pop(_ROPE_BASE)
        head_dim = sizes["hidden_size"] // sizes["num_attention_heads"]
        head_dims = {fields.pop(key, head_dim) for key in _HEAD_SIZES}
        fields.pop("vocab_size", None)
        if fields or head_dims != {head_dim}:
            raise CheckpointError(
                f"{base.path} is not a plain Llama: {sorted(fields) or f'its heads have {head_dims}'}"
            )
        return {
            **sizes,
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": False,
            "bos_token_id": tokens.get("tokenizer.ggml.bos_token_id"),
            "dtype": "float32",
            "eos_token_id": tokens.get("tokenizer.ggml.eos_token_id"),
            "head_dim": head_dim,
            "hidden_act": "silu",
            "mlp_bias": False,
            "model_type": "llama",
            "pad_token_id": tokens.get("tokenizer.ggml.padding_token_id"),
            "rope_parameters": {"rope_theta": rope_base, "rope_type": "default"},
            "tie_word_embeddings": True,
            "vocab_size": self.shapes[EMBEDDINGS][0],
        }

    @cached_property
    def chat_template(self) -> ChatTemplate | None:
        """The base's chat template; ``None`` if it has none."""
        return self.base.chat_template

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The base's tokenizer, with the emb token.

        Raises:
            CheckpointError: It cannot be built exactly, or the adapter has no row for the emb token.
        """
        emb_token = read_json_object(self.path / SPEC_FILE).get("emb_token", "<emb_token>")
        tokenizer, rows = self.base.tokenizer, self.shapes[EMBEDDINGS][0]
        tokenizer.add_special_tokens([emb_token])
        number = tokenizer.token_to_id(emb_token)
        if number is None or number >= rows:
            raise CheckpointError(
                f"{self.path / ADAPTER_FILE} has no row for {emb_token!r}: that is token {number}, and base and "
                f"adapter together have {rows} rows"
            )
        return tokenizer

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of base and adapter."""
        digest = hashlib.sha256(bytes.fromhex(self.source.sha256))
        for file in self.digested[1:]:
            digest.update(file.name.encode() + file_digest(file))
        return digest.digest()

    @property
    def digested(self) -> list[Path]:
        """The files that ``digest`` covers."""
        return [self.base.path, self.path / ADAPTER_CONFIG, self.path / ADAPTER_FILE]

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shapes of the merged model's weights, by the names of transformers.

        Raises:
            CheckpointError: The adapter does not fit the base.
        """
        stored = {name: self.base.header.by_name[stored].shape[::-1] for name, stored in self._stored_names.items()}
        return self.adapter.merged_shapes(stored, self.source.name)

    def read(self, name: str) -> Floats:
        """Return a weight of the merged model.

        Args:
            name: One of ``shapes``.

        Raises:
            CheckpointError: A file was changed since it was opened, or cannot be read.
            MissingExtraError: The package that reads quantised weights is not installed.
        """
        return self.adapter.merge(name, self._read_base(name))

    def write(self, folder: Path) -> None:
        """Write the merged model into an empty folder, as a checkpoint like any other, in float32.

        Raises:
            OSError: It cannot be written.
            CheckpointError: See ``read``.
        """
        write_tensors(folder / "model.safetensors", self.shapes, self.read)
        self.tokenizer.save(str(folder / "tokenizer.json"))
        template = self.chat_template
        described = {} if template is None else {"chat_template": template.source, **template.special_tokens}
        _write_json(folder / "tokenizer_config.json", {**described, "tokenizer_class": "PreTrainedTokenizerFast"})
        _write_json(folder / "config.json", self.config)
        shutil.copyfile(self.path / SPEC_FILE, folder / SPEC_FILE)

    def _read_base(self, name: str) -> Floats:
        try:
            from gguf import GGMLQuantizationType
            from gguf.quants import dequantize
        except ModuleNotFoundError as error:
            raise MissingExtraError("local", f"reading the weights of {self.source.name}") from error
        tensor = self.base.header.by_name[self._stored_names[name]]
        try:
            with self.base.path.open("rb") as stream:
                stream.seek(tensor.start)
                data = np.fromfile(stream, np.uint8, tensor.end - tensor.start)
            shape = tensor.shape[::-1]
            values = dequantize(data.reshape(*shape[:-1], -1), GGMLQuantizationType[tensor.kind])
        except (OSError, ValueError, NotImplementedError) as error:
            raise CheckpointError(f"{self.base.path}: {tensor.name} ({tensor.kind}) cannot be read: {error}") from error
        self.base.check_unchanged()
        weight = np.asarray(values, np.float32).reshape(shape)
        heads = {"q_proj.weight": "num_attention_heads", "k_proj.weight": "num_key_value_heads"}
        if (count := heads.get(name[-13:])) is not None:
            # llama.cpp rotates neighbouring rows of a head, transformers the first half of them with the second.
            weight = weight.reshape(self.config[count], -1, 2, shape[1]).swapaxes(1, 2).reshape(shape)
        return weight

    @cached_property
    def _stored_names(self) -> Mapping[str, str]:
        """The names of the weights in the base's file, by those of transformers."""
        names = {}
        for stored in self.base.header.by_name:
            name, parts = _OTHER.get(stored), stored.split(".")
            if len(parts) == 4 and parts[0] == "blk" and parts[2] in _LAYER and parts[3] == "weight":
                name = f"model.layers.{parts[1]}.{_LAYER[parts[2]]}.weight"
            if name is None:
                raise CheckpointError(
                    f"{self.base.path} is not a plain Llama with shared embeddings: it has {stored!r}"
                )
            names[name] = stored
        return names


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
