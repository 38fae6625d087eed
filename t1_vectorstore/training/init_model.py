"""The model that a recipe begins with: made from scratch, or a checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.errors import CheckpointError
from t1_vectorstore.training import model as models
from t1_vectorstore.training.configs import NewModel, OldModel, Recipe
from t1_vectorstore.training.examples import TrainingData
from t1_vectorstore.training.tokenizer import cut_wordpieces, specification, train_tokenizer

log = logging.getLogger(__name__)
FEW = 40_000
"""Examples that the vocabulary is made from."""
EVEN = 0.2
"""Weight of the norms of queries and keys with which random ones attend to everything about equally."""


def begin(recipe: Recipe, data: TrainingData, folder: Path) -> None:
    """Write the checkpoint that the first stage trains on.

    Raises:
        CheckpointError: A checkpoint that cannot be trained on.
        ValueError: Sizes or word pieces that do not fit together.
    """
    if isinstance(recipe.model, OldModel):
        model, tokenizer, spec = models.load(Checkpoint.load(recipe.model.path).path)
        if recipe.model.decoding is not None:
            spec = spec.model_copy(update={"decoding": recipe.model.decoding})
        if not recipe.thinks and spec.thinks:
            plain = spec.query_prompt if spec.query_prompt_no_think is None else spec.query_prompt_no_think
            spec = spec.model_copy(update={"thinks": False, "query_prompt": plain})
        if recipe.thinks and not spec.thinks:
            raise CheckpointError(f"{recipe.model.path} does not think: set thinks: false, or begin with another model")
        models.save(model, tokenizer, spec, folder)
        return
    new = recipe.model
    if new.hidden % new.heads or new.heads % new.key_value_heads:
        raise ValueError(f"hidden={new.hidden} must be a multiple of heads={new.heads}, and those of key_value_heads")
    if new.begin_as_mean and new.heads != new.key_value_heads:
        raise ValueError(
            f"begin_as_mean needs as many key_value_heads as heads={new.heads}, got {new.key_value_heads}: "
            "fewer cannot hand on a whole embedding"
        )
    torch.manual_seed(recipe.seed)
    if new.wordpieces is None:
        tokenizer = train_tokenizer(_texts(data), new.vocabulary)
        model = _qwen3(new, tokenizer)
    else:
        tokenizer, old = cut_wordpieces(new.wordpieces, _texts(data), new.vocabulary)
        model = _qwen3(new, tokenizer)
        _take_embeddings(model, new.wordpieces, old)
    if new.begin_as_mean:
        _begin_as_mean(model)
    log.info("a new model of %d parameters, %d tokens", model.num_parameters(), len(tokenizer))
    models.save(model, tokenizer, specification(thinks=recipe.thinks, thought_tokens=new.thought_tokens), folder)


def _texts(data: TrainingData) -> Iterator[str]:
    """What the vocabulary is made from: every document, and examples evenly taken from the whole file."""
    yield from data.documents.values()
    for example in data.examples[:: max(1, len(data.examples) // FEW)]:
        yield example.query
        if example.thought:
            yield example.thought


def _qwen3(new: NewModel, tokenizer: Any) -> Any:  # noqa: ANN401 - transformers'
    """Initialise a Qwen3 model with tied embeddings, in float32."""
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


def _take_embeddings(model: Any, folder: Path, old: list[int | None]) -> None:  # noqa: ANN401 - transformers'
    from safetensors.torch import load_file

    file = folder / "model.safetensors"
    tensors = load_file(file) if file.is_file() else {}
    found = next((t for name, t in tensors.items() if name.endswith("embeddings.word_embeddings.weight")), None)
    if found is None:
        raise ValueError(f"{file} has no word embeddings, as the file of all-MiniLM-L6-v2 has")
    weight = model.get_input_embeddings().weight
    have, want = found.shape[1], weight.shape[1]
    if have < want:
        raise ValueError(f"the embeddings of {folder} have {have} dimensions: set hidden to {have} or less")
    rows = [row for row, number in enumerate(old) if number is not None]
    taken = found[[number for number in old if number is not None]].float()
    if have > want:
        centred = taken - taken.mean(0)
        taken = centred @ torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -want:]
    with torch.no_grad():
        weight[rows] = taken


def _begin_as_mean(model: Any) -> None:  # noqa: ANN401 - transformers'
    """Let the last layer's attention hand on the mean of what came before, and all else add nothing."""
    *_, last = layers = model.get_decoder().layers
    with torch.no_grad():
        for layer in layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        for even in (last.self_attn.q_norm, last.self_attn.k_norm):
            even.weight.fill_(EVEN)
        torch.nn.init.eye_(last.self_attn.v_proj.weight)
        torch.nn.init.eye_(last.self_attn.o_proj.weight)
