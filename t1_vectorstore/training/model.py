"""The model as it is trained: vectors and logits of packed sequences, from any causal language model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from t1_vectorstore.checkpoints.checkpoint import SPEC_FILE, Checkpoint
from t1_vectorstore.checkpoints.spec import CheckpointSpec
from t1_vectorstore.errors import CheckpointError, TrainingFailed
from t1_vectorstore.training.batching import Packed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PACKED = "t1_training_packed"  # not the name of the backend's own packed attention, which may run in the same process


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
    """Causal attention within each sequence of a :class:`Packed`; registered with transformers under ``PACKED``.

    Args:
        module: The attention layer.
        query: (1, heads, T, head_dim).
        key: (1, key-value heads, T, head_dim).
        value: As ``key``.
        attention_mask: Unused; the sequences' bounds are in ``groups``.
        groups: Of the packed sequences; without them this is transformers' own ``sdpa``.
        scaling: Factor on the scores.
        options: Of ``sdpa``.

    Returns:
        The attended values (1, T, heads, head_dim), and no weights.
    """
    if groups is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    heads, size = query.shape[1], query.shape[3]
    scale = size**-0.5 if scaling is None else scaling
    sizes = [rows * length for rows, length in groups]
    parts = zip(*(part[0].split(sizes, 1) for part in (query, key, value)), strict=True)  # type: ignore[no-untyped-call]
    attended = []
    for (rows, length), triple in zip(groups, parts, strict=True):
        q, k, v = (_every_head(part, heads).reshape(heads * rows, length, size) for part in triple)
        if q.is_cuda:
            mixed = functional.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True, scale=scale)[0]
        else:
            # Plain matrix products: for sequences this short several times faster on a CPU than the fused kernel.
            future = torch.ones(length, length, dtype=torch.bool).triu(1)
            scores = torch.bmm(q, k.mT) * scale
            weights = scores.masked_fill(future, float("-inf")).softmax(-1, dtype=torch.float32).to(v.dtype)
            mixed = torch.bmm(weights, v)
        attended.append(mixed.reshape(heads, rows * length, size))
    return torch.cat(attended, 1).transpose(0, 1)[None], None


def _every_head(part: Tensor, heads: int) -> Tensor:
    """Repeat key or value heads (heads, T, size) that several query heads share."""
    return part.repeat_interleave(heads // part.shape[0], 0)


class T1ForTraining(nn.Module):
    """A causal language model, perhaps with LoRA adapters, that gives vectors and logits of packed sequences."""

    def __init__(self, language_model: Any, truncate_dim: int | None = None) -> None:  # noqa: ANN401 - transformers'
        """Wrap a model of transformers or peft.

        Args:
            language_model: The model; its attention is that of ``PACKED`` from now on.
            truncate_dim: Of the checkpoint's specification.
        """
        from transformers import AttentionInterface, AttentionMaskInterface
        from transformers.masking_utils import sdpa_mask

        super().__init__()
        AttentionInterface.register(PACKED, packed_attention)
        AttentionMaskInterface.register(PACKED, sdpa_mask)  # for passes that are not packed
        self.language_model = language_model
        self.causal.config._attn_implementation = PACKED
        self._truncate_dim = truncate_dim

    @property
    def adapted(self) -> bool:
        """Whether it is trained by adapters."""
        return hasattr(self.language_model, "peft_config")

    @property
    def causal(self) -> Any:  # noqa: ANN401 - transformers'
        """The causal language model under the adapters, if there are some."""
        return self.language_model.get_base_model() if self.adapted else self.language_model

    def forward(self, packed: Packed) -> tuple[Tensor, Tensor]:
        """Run the model over packed sequences.

        Returns:
            Vectors (sequences, dim): the last hidden states at the emb tokens, L2-normalised float32; and the logits
            (N, V) that predict the tokens at ``packed.predicted``.
        """
        hidden = self.causal.get_decoder()(
            input_ids=packed.ids,
            position_ids=packed.positions,
            # Four dimensions: taken by transformers as a finished mask, so that it builds none of T x T.
            attention_mask=packed.ids.new_zeros(1, 1, 1, 1, dtype=torch.bool),
            use_cache=False,
            groups=packed.groups,
        ).last_hidden_state[0]
        logits = self.causal.get_output_embeddings()(hidden[packed.predicted - 1])
        ends = hidden[packed.ends].float()[:, : self._truncate_dim]
        return functional.normalize(ends, dim=-1), logits

    @torch.no_grad()
    def vectors(self, passes: Iterable[Packed]) -> Tensor:
        """(sequences, dim) of several passes together, without gradients, on the model's device."""
        device = self.causal.get_input_embeddings().weight.device
        with torch.autocast(device.type, torch.bfloat16):
            return torch.cat([self(packed.to(device))[0] for packed in passes])

    @torch.no_grad()
    def exact_thoughts(self, packed: Packed) -> float:
        """Share of sequences whose thought greedy decoding would write exactly.

        If every token is the most likely one after the right tokens before it, greedy decoding writes just these
        tokens, so that one forward pass tells.
        """
        _, logits = self(packed)
        wrong = logits.argmax(-1) != packed.labels
        return 1.0 - len(set(packed.owners[wrong].tolist())) / len(packed.ends)


def load(folder: Path) -> tuple[Any, PreTrainedTokenizerBase, CheckpointSpec]:
    """Load a checkpoint to train on: the model in float32, its tokenizer and its specification.

    Raises:
        CheckpointError: It is no usable checkpoint; it pools another layer than the last; or it has no emb token.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    checkpoint = Checkpoint.load(folder)
    if checkpoint.spec.pooling_layer != -1 or not checkpoint.spec.normalize:
        raise CheckpointError(f"{folder} does not pool the last layer's normalised states, and only those are trained")
    loader: Any = AutoModelForCausalLM
    try:
        model = loader.from_pretrained(checkpoint.path, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.path)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{checkpoint.path} does not load as a causal language model: {error}") from error
    if checkpoint.spec.emb_token not in tokenizer.get_vocab():
        raise CheckpointError(
            f"the tokenizer in {folder} has no {checkpoint.spec.emb_token!r}: t1 add-token gives it to a plain model"
        )
    return model, tokenizer, checkpoint.spec


def save(model: Any, tokenizer: PreTrainedTokenizerBase, spec: CheckpointSpec, folder: Path) -> None:  # noqa: ANN401
    """Write weights (bfloat16 safetensors), tokenizer and specification. The model is bfloat16 afterwards.

    The specification is written last: a folder without it is no checkpoint.

    Raises:
        TrainingFailed: The model gives no usable states any more; nothing is written.
    """
    model.bfloat16()
    _check_usable(model, tokenizer.get_vocab()[spec.emb_token])
    model.config.dtype = torch.bfloat16
    model.config.use_cache = True  # trainers turn it off, and transformers' generate would be slow for ever
    model.save_pretrained(folder)
    # Without it a tokenizer says that it knows no end, and other libraries go by that.
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", tokenizer.model_max_length)
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    tokenizer.save_pretrained(folder)
    (folder / SPEC_FILE).write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")


@torch.no_grad()
def _check_usable(model: Any, emb_id: int) -> None:  # noqa: ANN401 - transformers'
    """The loss of a step is that before its update: what the last update has broken shows here."""
    ids = torch.tensor([[emb_id]], device=model.get_input_embeddings().weight.device)
    state = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
    if not state.isfinite().all() or not state.any():
        raise TrainingFailed("the last steps have broken the model, its states are no numbers: lower the learning rate")
