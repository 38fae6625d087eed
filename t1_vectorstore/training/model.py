"""The model in training: vectors and logits of packed sequences, from any causal language model."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from t1_vectorstore.backends.logits import head_of
from t1_vectorstore.checkpoints.checkpoint import SPEC_FILE, Checkpoint
from t1_vectorstore.checkpoints.lora import ADAPTER_CONFIG, ADAPTER_FILE
from t1_vectorstore.checkpoints.spec import CheckpointSpec
from t1_vectorstore.errors import CheckpointError, TrainingFailed
from t1_vectorstore.training.configs import Lora
from t1_vectorstore.training.packing import PackedSequences

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ADAPTER = "adapter"
"""Name of the folder of a stage's adapters."""
PACKED_ATTENTION = "t1_training_packed"
"""Name of the attention function. The backend registers its own packed attention under another name."""
EMB_TOKEN_ROW = "trainable_tokens_"
"""Part of the name that peft gives to the embeddings of ``trainable_token_indices``."""
REFERENCE = "ref"
"""TRL's name of the copy of the initial adapters from which the KL divergence is measured."""


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    groups: tuple[tuple[int, int], ...] | None = None,
    scaling: float | None = None,
    **options: Any,  # noqa: ANN401 - transformers'
) -> tuple[Tensor, Tensor | None]:
    """Compute causal attention within each packed sequence; registered with transformers as ``PACKED_ATTENTION``.

    Args:
        module: Attention layer.
        query: Queries (1, heads, T, head_dim).
        key: Keys (1, key-value heads, T, head_dim).
        value: Values, of the same shape as ``key``.
        attention_mask: Used only without ``groups``.
        groups: Groups of the packed sequences; without them, transformers' own ``sdpa`` runs.
        scaling: Factor of the scores.
        options: Options of ``sdpa``.

    Returns:
        Attended values (1, T, heads, head_dim), and no attention weights.
    """
    if groups is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        attended: tuple[Tensor, Tensor | None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return attended
    heads, size = query.shape[1], query.shape[3]
    scale = size**-0.5 if scaling is None else scaling
    sizes = [rows * length for rows, length in groups]
    parts = zip(*(part[0].split(sizes, 1) for part in (query, key, value)), strict=True)  # type: ignore[no-untyped-call]
    outputs = []
    for (rows, length), triple in zip(groups, parts, strict=True):
        # Key and value heads are repeated for the query heads that share them.
        repeated = (part.repeat_interleave(heads // part.shape[0], 0) for part in triple)
        q, k, v = (part.reshape(heads * rows, length, size) for part in repeated)
        if q.is_cuda:
            mixed = functional.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True, scale=scale)[0]
        else:
            # For such short sequences, plain matrix products are several times faster on a CPU than the fused kernel.
            future = torch.ones(length, length, dtype=torch.bool).triu(1)
            scores = torch.bmm(q, k.mT) * scale
            weights = scores.masked_fill(future, float("-inf")).softmax(-1, dtype=torch.float32).to(v.dtype)
            mixed = torch.bmm(weights, v)
        outputs.append(mixed.reshape(heads, rows * length, size))
    return torch.cat(outputs, 1).transpose(0, 1)[None], None


class T1ForTraining(nn.Module):
    """A causal language model, possibly with LoRA adapters, that returns vectors and logits of packed sequences."""

    def __init__(self, language_model: Any, truncate_dim: int | None = None) -> None:  # noqa: ANN401 - transformers'
        """Wrap a model of transformers or peft.

        Args:
            language_model: Model; from now on it uses ``PACKED_ATTENTION``.
            truncate_dim: Number of dimensions to keep, as in the checkpoint's specification.
        """
        from transformers import AttentionInterface, AttentionMaskInterface
        from transformers.masking_utils import sdpa_mask

        super().__init__()
        AttentionInterface.register(PACKED_ATTENTION, packed_attention)
        AttentionMaskInterface.register(PACKED_ATTENTION, sdpa_mask)  # for passes without packing
        self.language_model = language_model
        self.causal.config._attn_implementation = PACKED_ATTENTION
        self._truncate_dim = truncate_dim

    @property
    def has_adapters(self) -> bool:
        """Whether only LoRA adapters are trained."""
        return hasattr(self.language_model, "peft_config")

    @property
    def causal(self) -> Any:  # noqa: ANN401 - transformers'
        """The causal language model without the wrapper of its adapters."""
        return self.language_model.get_base_model() if self.has_adapters else self.language_model

    def forward(self, packed: PackedSequences) -> tuple[Tensor, Tensor]:
        """Run the model on packed sequences.

        Returns:
            Vectors (sequences, dim): the last hidden states at the emb tokens, L2-normalised float32; and the logits
            (N, V) that predict the tokens at ``packed.predicted``.
        """
        hidden = self.causal.get_decoder()(
            input_ids=packed.ids,
            position_ids=packed.positions,
            # transformers takes a mask of four dimensions as complete, and does not build one of T x T.
            attention_mask=packed.ids.new_zeros(1, 1, 1, 1, dtype=torch.bool),
            use_cache=False,
            groups=packed.groups,
        ).last_hidden_state[0]
        logits = head_of(self.causal)(hidden[packed.predicted - 1])
        states = hidden[packed.ends].float()[:, : self._truncate_dim]
        return functional.normalize(states, dim=-1), logits

    @torch.no_grad()
    def vectors(self, passes: Iterable[PackedSequences], *, bfloat16: bool = True) -> Tensor:
        """Return the vectors (sequences, dim) of several passes, without gradients, on the model's device."""
        device = self.causal.get_input_embeddings().weight.device
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            return torch.cat([self(packed.to(device))[0] for packed in passes])

    @torch.no_grad()
    def exact_thoughts(self, packed: PackedSequences) -> float:
        """Return the share of sequences whose thought greedy decoding would reproduce exactly.

        One forward pass is enough: if every token is the most likely one after the right tokens before it, greedy
        decoding generates exactly these tokens.
        """
        _, logits = self(packed)
        wrong = logits.argmax(-1) != packed.labels
        return 1.0 - len(set(packed.owners[wrong].tolist())) / len(packed.ends)


@dataclass(frozen=True)
class StageStart:
    """What a stage starts from.

    Attributes:
        model: Checkpoint, with the adapters merged.
        base: Checkpoint whose weights are loaded; ``model`` unless adapters are continued.
        adapter: Folder of the adapters of ``base`` to continue.
    """

    model: Path
    base: Path
    adapter: Path | None = None


def load_checkpoint(folder: Path) -> tuple[Any, PreTrainedTokenizerBase, CheckpointSpec]:
    """Load a checkpoint for training: the model in float32 and without dropout, its tokenizer and its specification.

    Raises:
        CheckpointError: The checkpoint cannot be loaded, pools another layer than the last, or has no emb token.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    checkpoint = Checkpoint.load(folder)
    if checkpoint.spec.pooling_layer != -1 or not checkpoint.spec.normalize:
        raise CheckpointError(
            f"{folder} cannot be trained: training needs pooling_layer=-1 (the last layer) and normalize=true"
        )
    loader: Any = AutoModelForCausalLM
    try:
        with checkpoint.in_folder() as whole:
            model = loader.from_pretrained(whole.path, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(whole.path)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{checkpoint.path} cannot be loaded as a causal language model: {error}") from error
    if checkpoint.spec.emb_token not in tokenizer.get_vocab():
        raise CheckpointError(
            f"the tokenizer in {folder} has no token {checkpoint.spec.emb_token!r}: add it with t1 add-token"
        )
    # Without dropout: vectors are computed twice, with and without gradients, and thoughts as they are served.
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0
    return model, tokenizer, checkpoint.spec


def add_adapters(
    language_model: Any,  # noqa: ANN401 - transformers'
    lora: Lora,
    emb_id: int,
    *,
    adapter: Path | None,
    bfloat16: bool,
) -> Any:  # noqa: ANN401 - peft's
    """Add LoRA adapters to a model, whose own weights are then no longer trained, except the emb token's embedding.

    Args:
        language_model: Model.
        lora: Shape of new adapters.
        emb_id: Id of the emb token.
        adapter: Folder of adapters of that shape to continue, as ``save_adapter`` writes it; ``None`` adds new ones.
        bfloat16: Whether the computation is in bfloat16.
    """
    from peft import LoraConfig, PeftModel, get_peft_model

    if bfloat16:
        # Weights that are not trained would be converted in every step. A checkpoint has them in bfloat16 anyway.
        language_model.bfloat16()
    language_model.enable_input_require_grads()
    if adapter is not None:
        return PeftModel.from_pretrained(language_model, adapter, is_trainable=True)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        trainable_token_indices=[emb_id],
        task_type="CAUSAL_LM",
    )
    return get_peft_model(language_model, config)


class MergedWeights:
    """A causal language model's weights, each merged with its adapters when it is read.

    The model itself does not change: to add the adapters to its weights and to subtract them again would round twice.
    """

    def __init__(self, causal: Any) -> None:  # noqa: ANN401 - transformers'
        """Take the weights of a model of transformers, with or without adapters."""
        self._weights: dict[str, Tensor] = {}
        self._layers: dict[str, Any] = {}
        for path, parameter in causal.named_parameters():
            name = path.replace(".base_layer", "").replace(".token_adapter", "")
            self._weights[name] = parameter
        for path, module in causal.named_modules():
            if hasattr(module, "get_delta_weight") or hasattr(module, "get_merged_weights"):
                self._layers[f"{path.removesuffix('.token_adapter')}.weight"] = module

    @torch.no_grad()
    def __call__(self, name: str) -> Tensor:
        """Return a weight by its name in a model without adapters; float32 if a LoRA adapter was merged.

        Raises:
            KeyError: There is no such weight.
        """
        weight, layer = self._weights[name].detach(), self._layers.get(name)
        if layer is None:
            return weight
        if hasattr(layer, "get_merged_weights"):
            rows: Tensor = layer.get_merged_weights(layer.active_adapters)
            return rows
        for adapter in layer.active_adapters:
            delta: Tensor = layer.get_delta_weight(adapter)
            weight = weight.float() + delta.float()
        return weight


def save_adapter(model: Any, spec: CheckpointSpec, folder: Path) -> None:  # noqa: ANN401 - peft's
    """Write LoRA adapters (PEFT's format, bfloat16) and the specification. With a ``base.json`` it is a checkpoint."""
    from safetensors.torch import load_file, save

    model.save_pretrained(folder, save_embedding_layers=False, selected_adapters=["default"])
    (folder / "README.md").unlink(missing_ok=True)  # a template, with a path of this machine
    config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = None  # another path
    if isinstance(config["target_modules"], list):  # of a set, in another order each time
        config["target_modules"].sort()
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    file = folder / ADAPTER_FILE
    tensors = {name: value.bfloat16().contiguous() for name, value in load_file(file).items()}
    file.unlink()  # only its owner can read it, as safetensors writes files
    file.write_bytes(save(tensors, metadata={"format": "pt"}))
    (folder / SPEC_FILE).write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")


def save_checkpoint(
    model: Any,  # noqa: ANN401 - transformers'
    tokenizer: PreTrainedTokenizerBase,
    spec: CheckpointSpec,
    folder: Path,
) -> None:
    """Write weights (bfloat16 safetensors), tokenizer and specification. LoRA adapters are merged first.

    The model is bfloat16 afterwards. The specification is written last: a folder without it is not a checkpoint.

    Raises:
        TrainingFailed: The model's hidden states are not finite or all zero; nothing is written.
    """
    if hasattr(model, "peft_config"):
        model = model.float().merge_and_unload()  # the sum is rounded once
    model.bfloat16()
    # A step's loss is computed before its update, so damage by the last update shows only here.
    ids = torch.tensor([[tokenizer.get_vocab()[spec.emb_token]]], device=model.get_input_embeddings().weight.device)
    with torch.no_grad():
        states = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
    if not states.isfinite().all() or not states.any():
        raise TrainingFailed(
            "the last steps damaged the model, its hidden states are not finite or all zero: lower the learning rate"
        )
    model.config.dtype = torch.bfloat16
    model.config.use_cache = True  # trainers turn it off, which would make transformers' generate slow
    model.save_pretrained(folder)
    # Other libraries read the maximum length from the tokenizer; without this it would be unlimited.
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", tokenizer.model_max_length)
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    tokenizer.save_pretrained(folder)
    (folder / SPEC_FILE).write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
