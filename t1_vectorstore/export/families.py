"""How the model families of transformers are written for llama.cpp: metadata, names of tensors, and their layout.

Only a configuration whose every key is known is exported: each key either has no effect on inference, or has a value
that llama.cpp computes with. Everything else is refused by name, since llama.cpp would ignore it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from t1_vectorstore.checkpoints.gguf import SIZE_FIELDS
from t1_vectorstore.errors import CheckpointError, MissingExtraError

try:
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, TensorNameMap, get_tensor_name_map
except ModuleNotFoundError as error:
    raise MissingExtraError("llama-cpp", "the export of GGUF files") from error

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Family:
    """What llama.cpp expects of a model family.

    Attributes:
        arch: llama.cpp's architecture.
        pairs_neighbours: Whether it rotates neighbouring dimensions of queries and keys, where transformers rotates the
            first half of a head with the second. The rows of their matrices are then reordered.
        norm_offset: What it expects to be added to the weights of norms.
        tied: Whether it always computes logits with the embeddings.
        full_every: Each layer with this number has full attention, the others a sliding window; 1 is all layers.
        activations: Activation functions that it computes.
        biases: Whether attention and MLP may have biases.
    """

    arch: MODEL_ARCH
    pairs_neighbours: bool = False
    norm_offset: float = 0.0
    tied: bool = False
    full_every: int = 1
    activations: tuple[str, ...] = ("silu",)
    biases: bool = False


_GELU = ("gelu_pytorch_tanh",)
_LLAMA = Family(MODEL_ARCH.LLAMA, pairs_neighbours=True, biases=True)
FAMILIES: Mapping[str, Family] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": Family(MODEL_ARCH.QWEN2),
    "qwen3": Family(MODEL_ARCH.QWEN3),
    "gemma": Family(MODEL_ARCH.GEMMA, norm_offset=1.0, tied=True, activations=_GELU),
    "gemma2": Family(MODEL_ARCH.GEMMA2, norm_offset=1.0, tied=True, full_every=2, activations=_GELU),
    "gemma3_text": Family(MODEL_ARCH.GEMMA3, norm_offset=1.0, tied=True, full_every=6, activations=_GELU),
}
"""The families that are exported, by ``model_type``. Tests compare each with transformers."""

_SIZES = {**SIZE_FIELDS, "vocab_size": "vocab_size"}
"""llama.cpp's fields, and those of ``config.json``."""

_IGNORED = frozenset(
    {
        *("architectures", "dtype", "torch_dtype", "transformers_version", "_name_or_path", "model_type", "use_cache"),
        *("initializer_range", "attention_dropout", "max_window_layers", "cache_implementation", "is_llama_config"),
        *("_model_name_or_path", "transformers.js_config"),
    }
)
"""Keys without effect on inference, besides ids of special tokens."""

_FIXED: Mapping[str, tuple[Any, ...]] = {
    "use_sliding_window": (False, None),
    "pretraining_tp": (1,),
    "rope_interleaved": (False,),
    "use_bidirectional_attention": (False, None),
}
"""Keys with the only values that are exported, which are the families' defaults."""

_READ = frozenset(
    {
        *_SIZES.values(),
        *("head_dim", "rms_norm_eps", "tie_word_embeddings", "attention_bias", "mlp_bias", "sliding_window"),
        *(
            "layer_types",
            "sliding_window_pattern",
            "_sliding_window_pattern",
            "hidden_act",
            "hidden_activation",
            "query_pre_attn_scalar",
        ),
        *("attn_logit_softcapping", "final_logit_softcapping"),
        *("rope_theta", "rope_scaling", "rope_parameters", "rope_local_base_freq"),
    }
)
"""Keys that are checked or written below."""


class Conversion:
    """Converts a model's configuration and tensors.

    Attributes:
        architecture: llama.cpp's name of the family.
        fields: Its metadata, without the architecture before each key.
        extra: Tensors that only llama.cpp has, by name.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Check a model's ``config.json``.

        Raises:
            CheckpointError: A family, or a value in the configuration, that is not exported.
        """
        self._config = config
        family = str(config.get("model_type"))
        if family not in FAMILIES:
            raise CheckpointError(f"models of the type {family!r} are not exported; {', '.join(sorted(FAMILIES))} are")
        self._family, self._name = FAMILIES[family], family
        self.architecture: str = MODEL_ARCH_NAMES[self._family.arch]
        self._check_keys()
        self.fields: dict[str, Any] = {field: self._count(key) for field, key in _SIZES.items()}
        self._heads, self._kv_heads = self._count("num_attention_heads"), self._count("num_key_value_heads")
        self._layers = self._count("num_hidden_layers")
        self._head_dim: int = config.get("head_dim") or self._count("hidden_size") // self._heads
        self.fields |= {
            "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
            "attention.key_length": self._head_dim,
            "attention.value_length": self._head_dim,
            "rope.dimension_count": self._head_dim,
            **self._attention_fields(),
        }
        self.extra: dict[str, Floats] = {}
        self._add_rope()
        self._names: TensorNameMap = get_tensor_name_map(self._family.arch, self._layers)

    @property
    def tied(self) -> bool:
        """Whether logits are computed with the embeddings."""
        return self._family.tied or bool(self._config.get("tie_word_embeddings", False))

    def name(self, name: str) -> str | None:
        """Return llama.cpp's name of a tensor; ``None`` if llama.cpp does not need it.

        Raises:
            CheckpointError: llama.cpp has no such tensor.
        """
        if (name == "lm_head.weight" and self.tied) or name.endswith("rotary_emb.inv_freq"):
            return None
        found = self._names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None or (name.endswith(".bias") and not self._may_have_bias(name)):
            raise CheckpointError(f"the tensor {name!r} of a {self._name} model is not known to llama.cpp")
        return found

    def convert(self, name: str, tensor: Floats) -> Floats:
        """Return a tensor as llama.cpp expects it; ``name`` is its name in transformers."""
        if name.endswith("norm.weight"):
            return tensor + np.float32(self._family.norm_offset)
        if self._family.pairs_neighbours:
            for kind, heads in (("q_proj", self._heads), ("k_proj", self._kv_heads)):
                if f"self_attn.{kind}." in name:
                    halves = tensor.reshape(heads, 2, self._head_dim // 2, -1)
                    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(tensor.shape)
        return tensor

    def _may_have_bias(self, name: str) -> bool:
        return self._family.biases or (self._name == "qwen2" and name.split(".")[-2] in ("q_proj", "k_proj", "v_proj"))

    def _check_keys(self) -> None:
        config, family = self._config, self._family
        known = _IGNORED | _READ | set(_FIXED)
        if unknown := sorted(key for key in config if key not in known and not key.endswith("_token_id")):
            self._refuse(unknown[0])
        for key, values in _FIXED.items():
            if key in config and config[key] not in values:
                self._refuse(key)
        for key in ("attention_bias", "mlp_bias"):
            if config.get(key) and not family.biases:
                self._refuse(key)
        activation = "hidden_activation" if config.get("hidden_activation") else "hidden_act"
        if config.get(activation) not in family.activations:
            self._refuse(activation)
        if not isinstance(config.get("rms_norm_eps"), float):
            self._refuse("rms_norm_eps")
        hidden, heads, head_dim = (config.get(key) for key in ("hidden_size", "num_attention_heads", "head_dim"))
        if self._name == "qwen2" and head_dim and head_dim * (heads or 0) != hidden:
            self._refuse("head_dim")
        if family.tied and config.get("tie_word_embeddings") is False:
            self._refuse("tie_word_embeddings")

    def _attention_fields(self) -> dict[str, Any]:
        """Return the fields of windows and of the scaling of logits, after checking what llama.cpp fixes."""
        config, every = self._config, self._family.full_every
        kinds = config.get("layer_types") or ["full_attention"] * self._layers
        expected = ["full_attention" if (at + 1) % every == 0 else "sliding_attention" for at in range(self._layers)]
        if every > 1 and config.get("layer_types") is None and config.get("sliding_window_pattern", every) == every:
            kinds = expected
        window = config.get("sliding_window")
        if list(kinds) != expected:
            self._refuse("layer_types")
        if every == 1:
            # Mistral's first version has a window in every layer; Qwen's has no effect without use_sliding_window.
            if self._name == "mistral" and window is not None and window < self._count("max_position_embeddings"):
                self._refuse("sliding_window")
            return {}
        scalar = config.get("query_pre_attn_scalar")
        if scalar is not None and scalar != self._head_dim:
            self._refuse("query_pre_attn_scalar")
        fields = {"attention.sliding_window": window}
        if self._name == "gemma3_text" and config.get("attn_logit_softcapping"):
            self._refuse("attn_logit_softcapping")
        for key in ("attn_logit_softcapping", "final_logit_softcapping"):
            if self._name == "gemma2" and not config.get(key):  # llama.cpp would take the default of Gemma 2
                self._refuse(key)
            if value := config.get(key):
                fields[key] = float(value)
        return fields

    def _add_rope(self) -> None:
        """Add the fields and tensors of rotary position embeddings."""
        given = self._config.get("rope_parameters") or self._config.get("rope_scaling") or {}
        local = self._config.get("rope_local_base_freq")
        if "full_attention" in given:
            local = given.get("sliding_attention", {}).get("rope_theta", local)
            if given.get("sliding_attention", {}).get("rope_type", "default") != "default":
                self._refuse("rope_parameters")
            given = given["full_attention"] or {}
        rope = dict(given)
        theta = float(rope.pop("rope_theta", self._config.get("rope_theta") or 10_000.0))
        kind = rope.pop("rope_type", rope.pop("type", "default"))
        rope.pop("type", None)
        self.fields["rope.freq_base"] = theta
        if local is not None:
            self.fields["rope.freq_base_swa"] = float(local)
        try:
            if kind == "linear":
                self._scale(kind, rope.pop("factor"))
            elif kind == "yarn":
                self._scale(kind, rope.pop("factor"))
                length = rope.pop("original_max_position_embeddings")
                self.fields["rope.scaling.original_context_length"] = int(length)
                for key in ("beta_fast", "beta_slow"):
                    if key in rope:
                        self.fields[f"rope.scaling.yarn_{key}"] = float(rope.pop(key))
            elif kind == "llama3" and self._family.arch == MODEL_ARCH.LLAMA:
                self.extra["rope_freqs.weight"] = _llama3_factors(theta, self._head_dim, rope)
                rope = {}
            elif kind != "default":
                rope["rope_type"] = kind
        except KeyError as error:
            raise CheckpointError(f"config.json has {kind} rotary embeddings without {error.args[0]!r}") from error
        if rope:
            key = next(iter(rope))
            raise CheckpointError(f"rotary embeddings of {self._name} with {key}={rope[key]!r} are not exported")

    def _scale(self, kind: str, factor: float) -> None:
        self.fields |= {"rope.scaling.type": kind, "rope.scaling.factor": float(factor)}

    def _count(self, key: str) -> int:
        value = self._config.get(key)
        if not isinstance(value, int) or value < 1:
            self._refuse(key)
        return int(value)

    def _refuse(self, key: str) -> NoReturn:
        given = f"{key}={self._config[key]!r}" if key in self._config else f"no {key}"
        raise CheckpointError(
            f"a {self._name} model with {given} is not exported: llama.cpp, or this package, lacks it"
        )


def _llama3_factors(theta: float, head_dim: int, rope: Mapping[str, Any]) -> Floats:
    """Return by what llama.cpp divides each frequency: Llama 3.1's scaling, which keeps high ones."""
    plain = theta ** -(np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    turns = rope["original_max_position_embeddings"] * plain / (2 * math.pi)
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return np.asarray(1 / ((1 - kept) / factor + kept), np.float32)
