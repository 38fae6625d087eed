"""A decoder's weights, read from safetensors files into the layout that the decoder computes with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from t1_vectorstore.backends.base import missing_weights
from t1_vectorstore.backends.decoder.config import DecoderConfig
from t1_vectorstore.backends.decoder.layers import Linear, RMSNorm, interleaved, make_linear
from t1_vectorstore.checkpoints.adapter import AdapterFolder
from t1_vectorstore.checkpoints.folder import CheckpointFolder
from t1_vectorstore.errors import CheckpointError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class LayerWeights:
    """The weights of a layer. Queries, keys and values are one matrix, gate and up projection another."""

    attention_norm: RMSNorm
    qkv: Linear
    qk_norm: RMSNorm | None
    output: Linear
    mlp_norm: RMSNorm
    gate_up: Linear
    down: Linear


@dataclass(frozen=True)
class DecoderWeights:
    """All weights of a decoder. ``head``, which computes logits, is ``None`` if none are needed."""

    embeddings: torch.Tensor
    layers: Sequence[LayerWeights]
    norm: RMSNorm
    head: Linear | None


def load_weights(
    files: CheckpointFolder,
    config: DecoderConfig,
    *,
    dtype: torch.dtype,
    device: torch.device,
    head: bool,
) -> DecoderWeights:
    """Read the weights of a checkpoint, from a single file or from several with an index, or merge an adapter's.

    Args:
        files: The checkpoint.
        config: Its configuration.
        dtype: Number type to compute in.
        device: Device to compute on.
        head: Whether logits are needed.

    Raises:
        CheckpointError: Files that cannot be read, or tensors that are missing or have a wrong shape.
    """
    if isinstance(files, AdapterFolder):
        return _merge_weights(files, config, dtype=dtype, device=device, head=head)
    folder = files.path
    with ExitStack() as stack:
        try:
            names = [SINGLE]
            if not (folder / SINGLE).is_file():
                names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
            opened = [stack.enter_context(safe_open(folder / name, framework="pt")) for name in names]
            # By name without the prefix that a language model's tensors have, and a bare decoder's have not.
            tensors = {key.removeprefix("model."): (file, key) for file in opened for key in list(file.keys())}
            _check_shapes(folder, tensors, _shapes(config, head=head))

            def read(name: str) -> torch.Tensor:
                file, key = tensors[name]
                tensor: torch.Tensor = file.get_tensor(key)
                if tensor.dtype not in (torch.float32, torch.bfloat16, torch.float16):
                    raise ValueError(f"{key} has type {tensor.dtype}; quantised weights are not supported")
                return tensor.to(device=device, dtype=dtype)

            return _assemble(read, config, head=head)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise CheckpointError(f"{folder} does not load as a causal language model: {error}") from error


def _merge_weights(
    files: AdapterFolder, config: DecoderConfig, *, dtype: torch.dtype, device: torch.device, head: bool
) -> DecoderWeights:
    names = {name.removeprefix("model."): name for name in files.shapes}
    if missing := sorted(set(_shapes(config, head=head)) - set(names)):
        raise missing_weights(files.base.path, missing)

    def read(name: str) -> torch.Tensor:
        return torch.from_numpy(files.read(names[name])).to(device=device, dtype=dtype)

    return _assemble(read, config, head=head)


def copy_weights(read: Callable[[str], torch.Tensor], config: DecoderConfig, *, dtype: torch.dtype) -> DecoderWeights:
    """Copy the weights of a causal language model in memory, logits included.

    Args:
        read: Returns a weight by its name in transformers.
        config: The model's configuration.
        dtype: Number type to compute in.
    """

    def copy(name: str) -> torch.Tensor:
        whole = name if name.startswith("lm_head.") else f"model.{name}"
        return read(whole).to(dtype=dtype, copy=True)

    return _assemble(copy, config, head=True)


def _check_shapes(
    folder: Path, tensors: Mapping[str, tuple[Any, str]], expected: Mapping[str, tuple[int, ...]]
) -> None:
    if missing := sorted(set(expected) - set(tensors)):
        raise missing_weights(folder, missing)
    for name, shape in expected.items():
        file, key = tensors[name]
        found = tuple(file.get_slice(key).get_shape())
        if found != shape:
            raise ValueError(f"{key} has the shape {found}, but config.json asks for {shape}")


def _shapes(config: DecoderConfig, *, head: bool) -> dict[str, tuple[int, ...]]:
    """Return the name and the shape of every tensor that is needed."""
    queries, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (config.hidden,),
        "post_attention_layernorm.weight": (config.hidden,),
        "self_attn.q_proj.weight": (queries, config.hidden),
        "self_attn.k_proj.weight": (keys, config.hidden),
        "self_attn.v_proj.weight": (keys, config.hidden),
        "self_attn.o_proj.weight": (config.hidden, queries),
        "mlp.gate_proj.weight": (config.intermediate, config.hidden),
        "mlp.up_proj.weight": (config.intermediate, config.hidden),
        "mlp.down_proj.weight": (config.hidden, config.intermediate),
    }
    if config.qk_norm:
        layer |= {f"self_attn.{name}_norm.weight": (config.head_dim,) for name in "qk"}
    if config.qkv_bias:
        layer |= {"self_attn.q_proj.bias": (queries,)}
        layer |= {f"self_attn.{name}_proj.bias": (keys,) for name in "kv"}
    if config.output_bias:
        layer |= {"self_attn.o_proj.bias": (config.hidden,)}
    shapes = {f"layers.{at}.{name}": shape for at in range(config.layers) for name, shape in layer.items()}
    shapes |= {"embed_tokens.weight": (config.vocabulary, config.hidden), "norm.weight": (config.hidden,)}
    if head and not config.tied_embeddings:
        shapes |= {"lm_head.weight": (config.vocabulary, config.hidden)}
    return shapes


def _assemble(read: Callable[[str], torch.Tensor], config: DecoderConfig, *, head: bool) -> DecoderWeights:
    embeddings = read("embed_tokens.weight")
    return DecoderWeights(
        embeddings=embeddings,
        layers=[
            _layer(lambda name, at=at: read(f"layers.{at}.{name}"), config)  # type: ignore[misc]
            for at in range(config.layers)
        ],
        norm=RMSNorm(read("norm.weight"), config.epsilon),
        head=make_linear(embeddings if config.tied_embeddings else read("lm_head.weight")) if head else None,
    )


def _layer(read: Callable[[str], torch.Tensor], config: DecoderConfig) -> LayerWeights:
    order = interleaved(config.head_dim)

    def rotated(name: str) -> torch.Tensor:
        """Read a tensor of queries or keys, with each head's dimensions in the order that rotation needs."""
        tensor = read(name)
        return tensor.view(-1, config.head_dim, *tensor.shape[1:])[:, order].flatten(0, 1)

    def qkv(kind: str) -> torch.Tensor:
        parts = [rotated(f"self_attn.{name}_proj.{kind}") for name in "qk"]
        return torch.cat([*parts, read(f"self_attn.v_proj.{kind}")])

    def qk_norm() -> RMSNorm:
        parts = zip("qk", (config.heads, config.kv_heads), strict=True)
        weights = [rotated(f"self_attn.{name}_norm.weight").expand(heads, -1) for name, heads in parts]
        return RMSNorm(torch.cat(weights).float(), config.epsilon)

    return LayerWeights(
        attention_norm=RMSNorm(read("input_layernorm.weight"), config.epsilon),
        qkv=make_linear(qkv("weight"), qkv("bias") if config.qkv_bias else None),
        qk_norm=qk_norm() if config.qk_norm else None,
        output=make_linear(
            read("self_attn.o_proj.weight"), read("self_attn.o_proj.bias") if config.output_bias else None
        ),
        mlp_norm=RMSNorm(read("post_attention_layernorm.weight"), config.epsilon),
        gate_up=make_linear(torch.cat([read("mlp.gate_proj.weight"), read("mlp.up_proj.weight")])),
        down=make_linear(read("mlp.down_proj.weight")),
    )
