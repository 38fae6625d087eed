"""A decoder's weights, read straight from safetensors into the layout that the lean path computes with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from t1_vectorstore.backends.decoder.config import DecoderConfig
from t1_vectorstore.backends.decoder.layers import Linear, Norm, interleaved, make_linear
from t1_vectorstore.errors import CheckpointError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class LayerWeights:
    """One layer: queries, keys and values are one product, gate and up are another."""

    attention_norm: Norm
    qkv: Linear
    qk_norm: Norm | None
    output: Linear
    mlp_norm: Norm
    gate_up: Linear
    down: Linear


@dataclass(frozen=True)
class DecoderWeights:
    """All of it; ``head`` is ``None`` where no logits are wanted."""

    embeddings: torch.Tensor
    layers: Sequence[LayerWeights]
    norm: Norm
    head: Linear | None


def load_weights(
    folder: Path, shape: DecoderConfig, *, dtype: torch.dtype, device: torch.device, head: bool
) -> DecoderWeights:
    """Read a checkpoint of one file or of several with an index.

    Args:
        folder: the checkpoint.
        shape: what its config.json asks for.
        dtype: to compute in.
        device: to compute on.
        head: whether the matrix that makes logits is needed.

    Raises:
        CheckpointError: files that cannot be read, or tensors that are missing or of another shape.
    """
    with ExitStack() as stack:
        try:
            tensors = _Tensors(folder, stack)
            tensors.require(_shapes(shape, head=head))
            return _assemble(tensors.reader(dtype, device), shape, head=head)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise CheckpointError(f"{folder} does not load as a causal language model: {error}") from error


def take_weights(tensors: Mapping[str, torch.Tensor], shape: DecoderConfig, *, dtype: torch.dtype) -> DecoderWeights:
    """Copy the weights of a model that is in memory, with the matrix that makes logits.

    Args:
        tensors: its parameters, by the names that transformers gives them.
        shape: of the model.
        dtype: to compute in.
    """
    named = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    return _assemble(lambda name: named[name].detach().to(dtype=dtype, copy=True), shape, head=True)


class _Tensors:
    """The tensors of a folder by name, with or without the prefix of a whole language model."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        names = [SINGLE]
        if not (folder / SINGLE).is_file():
            names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        files = [stack.enter_context(safe_open(folder / name, framework="pt")) for name in names]
        self._files: dict[str, tuple[Any, str]] = {
            key.removeprefix("model."): (file, key)
            for file in files
            for key in file.keys()  # noqa: SIM118
        }

    def require(self, shapes: dict[str, tuple[int, ...]]) -> None:
        if absent := sorted(set(shapes) - set(self._files)):
            raise CheckpointError(
                f"{self._folder} lacks weights its config.json asks for: {absent[:3]} ({len(absent)} in all)"
            )
        for name, wanted in shapes.items():
            file, key = self._files[name]
            found = tuple(file.get_slice(key).get_shape())
            if found != wanted:
                raise ValueError(f"{key} has the shape {found}, and config.json asks for {wanted}")

    def reader(self, dtype: torch.dtype, device: torch.device) -> Callable[[str], torch.Tensor]:
        def read(name: str) -> torch.Tensor:
            file, key = self._files[name]
            tensor: torch.Tensor = file.get_tensor(key)
            if tensor.dtype not in (torch.float32, torch.bfloat16, torch.float16):
                raise ValueError(f"{key} is of type {tensor.dtype}; quantised weights are not read")
            return tensor.to(device=device, dtype=dtype)

        return read


def _shapes(shape: DecoderConfig, *, head: bool) -> dict[str, tuple[int, ...]]:
    """The name and the shape of every tensor that is needed."""
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (shape.hidden,),
        "post_attention_layernorm.weight": (shape.hidden,),
        "self_attn.q_proj.weight": (queries, shape.hidden),
        "self_attn.k_proj.weight": (keys, shape.hidden),
        "self_attn.v_proj.weight": (keys, shape.hidden),
        "self_attn.o_proj.weight": (shape.hidden, queries),
        "mlp.gate_proj.weight": (shape.inner, shape.hidden),
        "mlp.up_proj.weight": (shape.inner, shape.hidden),
        "mlp.down_proj.weight": (shape.hidden, shape.inner),
    }
    if shape.qk_norm:
        layer |= {f"self_attn.{name}_norm.weight": (shape.head_dim,) for name in "qk"}
    if shape.qkv_bias:
        layer |= {"self_attn.q_proj.bias": (queries,)}
        layer |= {f"self_attn.{name}_proj.bias": (keys,) for name in "kv"}
    if shape.output_bias:
        layer |= {"self_attn.o_proj.bias": (shape.hidden,)}
    names = {f"layers.{at}.{name}": size for at in range(shape.layers) for name, size in layer.items()}
    names |= {"embed_tokens.weight": (shape.vocabulary, shape.hidden), "norm.weight": (shape.hidden,)}
    return names | ({"lm_head.weight": (shape.vocabulary, shape.hidden)} if head and not shape.tied else {})


def _assemble(read: Callable[[str], torch.Tensor], shape: DecoderConfig, *, head: bool) -> DecoderWeights:
    embeddings = read("embed_tokens.weight")
    return DecoderWeights(
        embeddings=embeddings,
        layers=[
            _layer(lambda name, at=at: read(f"layers.{at}.{name}"), shape)  # type: ignore[misc]
            for at in range(shape.layers)
        ],
        norm=Norm(read("norm.weight"), shape.epsilon),
        head=make_linear(embeddings if shape.tied else read("lm_head.weight")) if head else None,
    )


def _layer(read: Callable[[str], torch.Tensor], shape: DecoderConfig) -> LayerWeights:
    order = interleaved(shape.head_dim)

    def rotated(name: str) -> torch.Tensor:
        """Queries and keys, each head's dimensions in the order that rotation wants."""
        tensor = read(name)
        return tensor.view(-1, shape.head_dim, *tensor.shape[1:])[:, order].flatten(0, 1)

    def qkv(kind: str) -> torch.Tensor:
        parts = [rotated(f"self_attn.{name}_proj.{kind}") for name in "qk"]
        return torch.cat([*parts, read(f"self_attn.v_proj.{kind}")])

    def qk_norm() -> Norm:
        parts = zip("qk", (shape.heads, shape.kv_heads), strict=True)
        weights = [rotated(f"self_attn.{name}_norm.weight").expand(heads, -1) for name, heads in parts]
        return Norm(torch.cat(weights).float(), shape.epsilon)

    return LayerWeights(
        attention_norm=Norm(read("input_layernorm.weight"), shape.epsilon),
        qkv=make_linear(qkv("weight"), qkv("bias") if shape.qkv_bias else None),
        qk_norm=qk_norm() if shape.qk_norm else None,
        output=make_linear(
            read("self_attn.o_proj.weight"), read("self_attn.o_proj.bias") if shape.output_bias else None
        ),
        mlp_norm=Norm(read("post_attention_layernorm.weight"), shape.epsilon),
        gate_up=make_linear(torch.cat([read("mlp.gate_proj.weight"), read("mlp.up_proj.weight")])),
        down=make_linear(read("mlp.down_proj.weight")),
    )
