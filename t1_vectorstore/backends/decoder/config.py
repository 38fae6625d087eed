"""Read from ``config.json`` whether this package's decoder supports a model, and its sizes.

Only a configuration whose every key is known is supported: each key either has no effect on inference, or has a value
that ``t1_vectorstore.backends.decoder.decoder`` computes. transformers runs all other models, more slowly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from t1_vectorstore.backends.decoder.layers import Rope

FAMILIES = frozenset({"qwen2", "qwen3", "llama"})
"""Model types for which tests prove that the decoder computes what transformers does."""

_IGNORED = frozenset(
    {
        *("architectures", "dtype", "torch_dtype", "transformers_version", "_name_or_path", "model_type"),
        *("use_cache", "initializer_range", "attention_dropout", "max_window_layers", "sliding_window"),
        *("pad_token_id", "bos_token_id", "eos_token_id"),
    }
)
"""Keys without effect on inference. A sliding window has one only with ``use_sliding_window``."""

_FIXED = {
    "hidden_act": ("silu",),
    "use_sliding_window": (False, None),
    "mlp_bias": (False,),
    "pretraining_tp": (1,),
}
"""Keys with the values that are supported, which are also the families' defaults."""

_SIZES = {
    "hidden": "hidden_size",
    "intermediate": "intermediate_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "vocabulary": "vocab_size",
}


@dataclass(frozen=True)
class DecoderConfig:
    """Everything besides the weights that determines a decoder's forward pass."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    head_dim: int
    epsilon: float
    rope: Rope
    tied_embeddings: bool
    qk_norm: bool
    qkv_bias: bool
    output_bias: bool

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> DecoderConfig | None:
        """Read the content of a ``config.json``; ``None`` if anything in it is not supported."""
        family = config.get("model_type")
        rope = Rope.read(config)
        used = {*_SIZES.values(), *_FIXED, *Rope.KEYS, "layer_types"}
        used |= {"head_dim", "rms_norm_eps", "tie_word_embeddings", "attention_bias"}
        if family not in FAMILIES or rope is None or not set(config) <= used | _IGNORED:
            return None
        if any(key in config and config[key] not in values for key, values in _FIXED.items()):
            return None
        if set(config.get("layer_types") or ()) - {"full_attention"}:
            return None
        sizes: dict[str, Any] = {field: config.get(key) for field, key in _SIZES.items()}
        epsilon = config.get("rms_norm_eps")
        if not all(map(_is_count, sizes.values())) or not isinstance(epsilon, float):
            return None  # transformers has a default for each, a different one in each family
        head_dim: Any = config.get("head_dim") or (sizes["hidden"] // sizes["heads"] if family != "qwen3" else None)
        if not _is_count(head_dim) or head_dim % 2 or sizes["heads"] % sizes["kv_heads"]:
            return None
        biased = bool(config.get("attention_bias", False))
        return cls(
            **sizes,
            head_dim=head_dim,
            epsilon=epsilon,
            rope=rope,
            tied_embeddings=bool(config.get("tie_word_embeddings", False)),
            qk_norm=family == "qwen3",
            qkv_bias=family == "qwen2" or biased,
            output_bias=family != "qwen2" and biased,
        )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
