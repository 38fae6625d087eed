"""The initial model of a recipe: a new one, or a checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.errors import CheckpointError
from t1_vectorstore.training.configs import NewModel, PretrainedModel, Recipe
from t1_vectorstore.training.examples import TrainingData
from t1_vectorstore.training.model import load_checkpoint, save_checkpoint
from t1_vectorstore.training.tokenizer import new_spec, prune_wordpieces, train_tokenizer

log = logging.getLogger(__name__)
VOCABULARY_EXAMPLES = 40_000
"""Approximate number of examples that the vocabulary is made from."""
UNIFORM_NORM = 0.2
"""Weight of the query and key norms with which random projections attend to all positions about equally."""


def write_initial_model(recipe: Recipe, data: TrainingData, folder: Path) -> None:
    """Write the checkpoint that the first stage starts from.

    Raises:
        CheckpointError: The recipe's checkpoint cannot be trained.
        ValueError: Sizes or word pieces that do not fit together.
    """
    if isinstance(recipe.model, PretrainedModel):
        _copy_pretrained(recipe.model, recipe.thinks, folder)
        return
    new = recipe.model
    if new.hidden % new.heads or new.heads % new.key_value_heads:
        raise ValueError(
            f"hidden={new.hidden} must be a multiple of heads={new.heads}, and heads of "
            f"key_value_heads={new.key_value_heads}"
        )
    if new.begin_as_mean and new.heads != new.key_value_heads:
        raise ValueError(
            f"begin_as_mean needs as many key_value_heads as heads={new.heads}, got {new.key_value_heads}: with fewer, "
            "attention cannot pass on a whole embedding"
        )
    torch.manual_seed(recipe.seed)
    if new.wordpieces is None:
        tokenizer = train_tokenizer(_vocabulary_texts(data), new.vocabulary)
        model = _qwen3(new, tokenizer)
    else:
        tokenizer, source_ids = prune_wordpieces(new.wordpieces, _vocabulary_texts(data), new.vocabulary)
        model = _qwen3(new, tokenizer)
        _copy_embeddings(model, new.wordpieces, source_ids)
    if new.begin_as_mean:
        _init_mean_pooling(model)
    log.info("created a model with %d parameters and %d tokens", model.num_parameters(), len(tokenizer))
    save_checkpoint(model, tokenizer, new_spec(thinks=recipe.thinks, thought_tokens=new.thought_tokens), folder)


def _copy_pretrained(pretrained: PretrainedModel, thinks: bool, folder: Path) -> None:
    model, tokenizer, spec = load_checkpoint(Checkpoint.load(pretrained.path).path)
    if pretrained.decoding is not None:
        spec = spec.model_copy(update={"decoding": pretrained.decoding})
    if thinks and not spec.thinks:
        raise CheckpointError(f"{pretrained.path} does not think: set thinks: false, or start from another model")
    if spec.thinks and not thinks:
        prompt = spec.query_prompt if spec.query_prompt_no_think is None else spec.query_prompt_no_think
        spec = spec.model_copy(update={"thinks": False, "query_prompt": prompt})
    save_checkpoint(model, tokenizer, spec, folder)


def _vocabulary_texts(data: TrainingData) -> Iterator[str]:
    """Yield every document, and examples from the whole file at even intervals."""
    yield from data.documents.values()
    for example in data.examples[:: max(1, len(data.examples) // VOCABULARY_EXAMPLES)]:
        yield example.query
        if example.thought:
            yield example.thought


def _qwen3(new: NewModel, tokenizer: Any) -> Any:  # noqa: ANN401 - transformers'
    """Create a Qwen3 model with tied embeddings, in float32."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=new.hidden,
        intermediate_size=new.intermediate,
        num_hidden_layers=new.layers,
        num_attention_heads=new.heads,
        num_key_value_heads=new.key_value_heads,
        head_dim=new.hidden // new.heads,
        max_position_embeddings=new.max_length,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config)  # type: ignore[no-untyped-call]


def _copy_embeddings(model: Any, folder: Path, source_ids: list[int | None]) -> None:  # noqa: ANN401 - transformers'
    """Copy another model's embeddings, projected on their principal components if the model has fewer dimensions."""
    from safetensors.torch import load_file

    file = folder / "model.safetensors"
    tensors = load_file(file) if file.is_file() else {}
    source = next((t for name, t in tensors.items() if name.endswith("embeddings.word_embeddings.weight")), None)
    if source is None:
        raise ValueError(f"{file} has no word embeddings: use a BERT-like model such as all-MiniLM-L6-v2")
    weight = model.get_input_embeddings().weight
    have, want = source.shape[1], weight.shape[1]
    if have < want:
        raise ValueError(f"the embeddings of {folder} have {have} dimensions: set hidden to {have} or less")
    rows = [row for row, number in enumerate(source_ids) if number is not None]
    vectors = source[[number for number in source_ids if number is not None]].float()
    if have > want:
        centred = vectors - vectors.mean(0)
        vectors = centred @ torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -want:]
    with torch.no_grad():
        weight[rows] = vectors


def _init_mean_pooling(model: Any) -> None:  # noqa: ANN401 - transformers'
    """Make the last layer's attention average the tokens before it, and everything else add nothing."""
    *_, last = layers = model.get_decoder().layers
    with torch.no_grad():
        for layer in layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        for norm in (last.self_attn.q_norm, last.self_attn.k_norm):
            norm.weight.fill_(UNIFORM_NORM)
        torch.nn.init.eye_(last.self_attn.v_proj.weight)
        torch.nn.init.eye_(last.self_attn.o_proj.weight)
