"""The small Qwen3 model that stage 1 trains from scratch: how it is built, run over packed sequences, and saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from t1_vectorstore.checkpoint import SPEC_FILE, CheckpointSpec
from t1_vectorstore.training.batching import Packed
from t1_vectorstore.training.tokenizer import MAX_LENGTH

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, Qwen3ForCausalLM

PACKED = "t1_training_packed"  # not the name of the backend's own packed attention, which may run in the same process


@dataclass(frozen=True)
class Shape:
    """Size of a model."""

    hidden: int = 256
    layers: int = 4
    heads: int = 4
    key_value_heads: int = 2
    intermediate: int = 640


def new_model(shape: Shape, tokenizer: PreTrainedTokenizerBase, seed: int) -> Qwen3ForCausalLM:
    """Initialise a Qwen3 model with tied embeddings, in float32."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        head_dim=shape.hidden // shape.heads,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config)  # type: ignore[no-untyped-call]


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    groups: tuple[tuple[int, int], ...],
    scaling: float,
    **_: object,
) -> tuple[Tensor, None]:
    """Causal attention within each sequence of a :class:`Packed`; registered with transformers under ``PACKED``.

    Args:
        module: The attention layer, unused.
        query: (1, heads, T, head_dim).
        key: (1, key-value heads, T, head_dim).
        value: As ``key``.
        attention_mask: None; the sequences' bounds are in ``groups``.
        groups: Of the packed sequences.
        scaling: Factor on the scores.

    Returns:
        The attended values (1, T, heads, head_dim), and no weights.
    """
    heads, size = query.shape[1], query.shape[3]
    sizes = [rows * length for rows, length in groups]
    parts = zip(*(part[0].split(sizes, 1) for part in (query, key, value)), strict=True)  # type: ignore[no-untyped-call]
    attended = []
    for (rows, length), triple in zip(groups, parts, strict=True):
        q, k, v = (_every_head(part, heads).reshape(heads * rows, length, size) for part in triple)
        # Plain matrix products: for sequences this short several times faster on a CPU than the fused kernel.
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        scores = torch.bmm(q, k.mT) * scaling
        weights = scores.masked_fill(future, float("-inf")).softmax(-1, dtype=torch.float32).to(v.dtype)
        attended.append(torch.bmm(weights, v).reshape(heads, rows * length, size))
    return torch.cat(attended, 1).transpose(0, 1)[None], None


def _every_head(part: Tensor, heads: int) -> Tensor:
    """Repeat key or value heads (heads, T, size) that several query heads share."""
    return part.repeat_interleave(heads // part.shape[0], 0)


def run(model: Qwen3ForCausalLM, packed: Packed) -> tuple[Tensor, Tensor]:
    """Run the model over packed sequences.

    Returns:
        Vectors (sequences, dim): the last hidden states at the emb tokens, L2-normalised float32; and the logits
        (N, V) that predict the tokens at ``packed.predicted``.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED, packed_attention)
    before, model.config._attn_implementation = model.config._attn_implementation, PACKED
    try:
        hidden = model.model(
            input_ids=packed.ids,
            position_ids=packed.positions,
            attention_mask={"full_attention": None},  # keeps transformers from building a T x T mask
            use_cache=False,
            groups=packed.groups,
        ).last_hidden_state[0]
    finally:
        model.config._attn_implementation = before
    return functional.normalize(hidden[packed.ends].float(), dim=-1), model.lm_head(hidden[packed.predicted - 1])


@torch.no_grad()
def exact_thoughts(model: Qwen3ForCausalLM, packed: Packed) -> float:
    """Share of sequences whose thought greedy decoding would write exactly.

    If every token is the most likely one after the right tokens before it, greedy decoding writes just these tokens,
    so that one forward pass tells.
    """
    _, logits = run(model, packed)
    wrong = logits.argmax(-1) != packed.ids[0, packed.predicted]
    return 1.0 - len(set(packed.owners[wrong].tolist())) / len(packed.ends)


def save(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase, spec: CheckpointSpec, folder: Path) -> None:
    """Write weights (bfloat16 safetensors), tokenizer and specification; the model itself stays as it is."""
    from transformers import Qwen3ForCausalLM

    copy = Qwen3ForCausalLM(model.config)  # type: ignore[no-untyped-call]
    copy.load_state_dict(model.state_dict())
    copy.bfloat16()
    copy.config.dtype = torch.bfloat16
    copy.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / SPEC_FILE).write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
