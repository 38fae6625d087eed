"""Makes a plain causal language model one that can be trained to be a T1: it gets the emb token and a specification."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from t1_vectorstore.checkpoints.checkpoint import SPEC_FILE
from t1_vectorstore.checkpoints.spec import CheckpointSpec, Decoding, Message
from t1_vectorstore.errors import CheckpointError

log = logging.getLogger(__name__)
LENGTH, LEAST = 2048, 64
"""Tokens of a query or a document, where the model takes as many; and the fewest that a query must be left."""
INSTRUCTION = "Think step by step about what the question needs, then state what a passage that answers it would say."
"""The default query instruction of the chat prompt; ours, as no source of T1 tells the literal prompts."""


def add_token(
    source: str, out: Path, *, emb_token: str = "<emb_token>", max_thought_tokens: int = 512
) -> CheckpointSpec:
    """Write a copy of a model with an emb token.

    The token's embedding begins as the mean of all others (a default of ours: it is no outlier, and means nothing yet).
    With a chat template the query is a user's turn and its end ends a thought; without one, prompts are plain text.

    Args:
        source: A folder or a hub id.
        out: Folder to write.
        emb_token: The token.
        max_thought_tokens: Budget of a thought.

    Returns:
        The specification that was written beside the weights.

    Raises:
        CheckpointError: The model does not load, or has the token already; nothing is written.
        ValueError: The budget leaves no room for queries.
        FileExistsError: ``out`` exists and is no empty folder.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is no empty folder: give another one")
    loader: Any = AutoModelForCausalLM
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(source)
        model = loader.from_pretrained(source, dtype="auto")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{source} does not load as a causal language model: {error}") from error
    if emb_token in tokenizer.get_vocab():
        raise CheckpointError(f"{source} has the token {emb_token!r} already: it needs no other")
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2 * LENGTH
    if (room := positions - max_thought_tokens - 1) < LEAST:
        raise ValueError(
            f"thoughts of {max_thought_tokens} tokens leave no room for queries: the model takes {positions}"
        )
    ends = _ends(tokenizer, model)
    tokenizer.add_special_tokens({"additional_special_tokens": [emb_token]}, replace_extra_special_tokens=False)
    number = tokenizer.convert_tokens_to_ids(emb_token)
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    used = min(number, inputs.weight.shape[0])  # rows above it are room to spare, and were never trained
    if number >= inputs.weight.shape[0]:
        model.resize_token_embeddings(number + 1, mean_resizing=False)
        inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    with torch.no_grad():
        for weight in {id(part.weight): part.weight for part in (inputs, outputs)}.values():
            weight[number] = weight[:used].float().mean(0).to(weight.dtype)
    limits = {"max_query_tokens": min(LENGTH, room), "max_document_tokens": min(LENGTH, positions)}
    spec = _specification(tokenizer, emb_token, ends, limits, max_thought_tokens)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / SPEC_FILE).write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
    log.info("%s has the token %s, number %d", out, emb_token, number)
    return spec


def _ends(tokenizer: Any, model: Any) -> tuple[str, ...]:  # noqa: ANN401 - transformers'
    """The tokens that end a turn or a text."""
    numbers = model.generation_config.eos_token_id
    numbers = numbers if isinstance(numbers, list) else [numbers]
    known = {tokenizer.eos_token_id, *numbers} - {None}
    return tuple(sorted(tokenizer.convert_ids_to_tokens(number) for number in known))


def _specification(
    tokenizer: Any,  # noqa: ANN401 - transformers'
    emb_token: str,
    ends: tuple[str, ...],
    limits: dict[str, Any],
    budget: int,
) -> CheckpointSpec:
    if tokenizer.chat_template:
        turns = Message(role="system", content="{instruction}"), Message(role="user", content="{text}")
        prompts: dict[str, Any] = {"query_prompt": turns, "query_instruction": INSTRUCTION}
    else:
        prompts = {"query_prompt": "Query: {text}\nThought:", "query_prompt_no_think": "Query: {text}"}
    return CheckpointSpec(
        emb_token=emb_token,
        thought_end=ends,
        document_prompt="{instruction}{text}",
        decoding=Decoding(max_tokens=budget),
        **limits,
        **prompts,
    )
