"""Which decoders the lean path computes, read from ``config.json``: what it does not know exactly, it refuses.

Refusing costs nothing but speed: transformers then runs the model. So a configuration is taken only when every key of
it is known, either to change nothing here or to have a value that :mod:`t1_vectorstore.backends.decoder.decoder` computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from t1_vectorstore.backends.decoder.layers import Rope

FAMILIES = frozenset({"qwen2", "qwen3", "llama"})
"""Model types whose lean forward pass the tests prove equal to transformers'."""

_NO_MATTER = frozenset(
    {
        *("architectures", "dtype", "torch_dtype", "transformers_version", "_name_or_path", "model_type"),
        *("use_cache", "initializer_range", "attention_dropout", "max_window_layers", "sliding_window"),
        *("pad_token_id", "bos_token_id", "eos_token_id"),
    }
)
"""Keys without a say in inference; a sliding window counts only where ``use_sliding_window`` turns it on."""

_ONLY = {
    "hidden_act": ("silu",),
    "use_sliding_window": (False, None),
    "mlp_bias": (False,),
    "pretraining_tp": (1,),
}
"""Keys with the values that are computed here; each is also the families' default."""

_SIZES = (
    *("hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "vocab_size"),
)


@dataclass(frozen=True)
class DecoderConfig:
    """A decoder of the Llama kind: everything that its forward pass depends on, beside the weights."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    epsilon: float
    rope: Rope
    tied: bool
    qk_norm: bool
    qkv_bias: bool
    output_bias: bool

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> DecoderConfig | None:
        """The shape that a model's configuration tells; ``None`` where it has anything not proven to be computed."""
        family = config.get("model_type")
        rope = Rope.read(config)
        used = {*_SIZES, *_ONLY, *Rope.KEYS}
        used |= {"head_dim", "rms_norm_eps", "tie_word_embeddings", "attention_bias"}
        if family not in FAMILIES or rope is None or not set(config) <= used | _NO_MATTER | {"layer_types"}:
            return None
        if any(key in config and config[key] not in values for key, values in _ONLY.items()):
            return None
        if set(config.get("layer_types") or ()) - {"full_attention"}:
            return None
        sizes = [config.get(key) for key in _SIZES]
        epsilon = config.get("rms_norm_eps")
        if not all(map(_is_count, sizes)) or not isinstance(epsilon, float):
            return None  # transformers has a default for each, another one in each family
        hidden, inner, layers, heads, kv_heads, vocabulary = (int(size) for size in sizes if size)
        head_dim: Any = config.get("head_dim") or (hidden // heads if family != "qwen3" else None)
        if not _is_count(head_dim) or head_dim % 2 or heads % kv_heads:
            return None
        biased = bool(config.get("attention_bias", False))
        return cls(
            hidden=hidden,
            inner=inner,
            layers=layers,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            vocabulary=vocabulary,
            epsilon=epsilon,
            rope=rope,
            tied=bool(config.get("tie_word_embeddings", False)),
            qk_norm=family == "qwen3",
            qkv_bias=family == "qwen2" or biased,
            output_bias=family != "qwen2" and biased,
        )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
