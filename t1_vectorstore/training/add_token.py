"""Prepare a plain causal language model for T1 training: add the emb token and a ``t1_config.json``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from t1_vectorstore.checkpoints.checkpoint import SPEC_FILE
from t1_vectorstore.checkpoints.spec import CheckpointSpec, Decoding, Message
from t1_vectorstore.errors import CheckpointError

log = logging.getLogger(__name__)
MAX_TEXT_TOKENS = 2048
"""Limit of a query or a document in tokens, if the model accepts that many."""
MIN_QUERY_TOKENS = 64
"""Smallest query limit that a thought budget may leave."""
INSTRUCTION = "Think step by step about what the question needs, then state what a passage that answers it would say."
"""Default query instruction of the chat prompt. It is ours: no source of T1 states the literal prompts."""


def add_token(
    source: str, out: Path, *, emb_token: str = "<emb_token>", max_thought_tokens: int = 512
) -> CheckpointSpec:
    """Write a copy of a model with an emb token.

    The token's embedding starts as the mean of all others; this default is ours, and gives a vector that is no outlier.
    If the tokenizer has a chat template, a query is a user message and the end of a turn ends the thought. Otherwise
    prompts are plain text.

    Args:
        source: Model folder or hub id.
        out: Folder to write.
        emb_token: Token whose hidden state will be the vector.
        max_thought_tokens: Thought budget in tokens.

    Returns:
        The specification written beside the weights.

    Raises:
        CheckpointError: The model cannot be loaded, or already has the token; nothing is written.
        ValueError: The thought budget leaves too few tokens for queries.
        FileExistsError: ``out`` exists and is not an empty folder.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is not an empty folder: choose another one")
    loader: Any = AutoModelForCausalLM
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(source)
        model = loader.from_pretrained(source, dtype="auto")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{source} cannot be loaded as a causal language model: {error}") from error
    if emb_token in tokenizer.get_vocab():
        raise CheckpointError(f"{source} already has the token {emb_token!r}: train it as it is")
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2 * MAX_TEXT_TOKENS
    if (query_tokens := positions - max_thought_tokens - 1) < MIN_QUERY_TOKENS:
        raise ValueError(
            f"max_thought_tokens={max_thought_tokens} leaves too few tokens for queries: the model accepts {positions} "
            f"tokens in all, and a query needs {MIN_QUERY_TOKENS}"
        )

    # Add the token, and initialise its rows of the input and output embeddings (one matrix if they are tied).
    thought_end = _end_tokens(tokenizer, model)
    tokenizer.add_special_tokens({"additional_special_tokens": [emb_token]}, replace_extra_special_tokens=False)
    emb_id = tokenizer.convert_tokens_to_ids(emb_token)
    rows = model.get_input_embeddings().weight.shape[0]
    trained_rows = min(emb_id, rows)  # some models have spare rows above their vocabulary, which were never trained
    if emb_id >= rows:
        model.resize_token_embeddings(emb_id + 1, mean_resizing=False)
    embeddings = model.get_input_embeddings(), model.get_output_embeddings()
    with torch.no_grad():
        for weight in {id(each.weight): each.weight for each in embeddings}.values():
            weight[emb_id] = weight[:trained_rows].float().mean(0).to(weight.dtype)

    if tokenizer.chat_template:
        messages = Message(role="system", content="{instruction}"), Message(role="user", content="{text}")
        prompts: dict[str, Any] = {"query_prompt": messages, "query_instruction": INSTRUCTION}
    else:
        prompts = {"query_prompt": "Query: {text}\nThought:", "query_prompt_no_think": "Query: {text}"}
    spec = CheckpointSpec(
        emb_token=emb_token,
        thought_end=thought_end,
        document_prompt="{instruction}{text}",
        decoding=Decoding(max_tokens=max_thought_tokens),
        max_query_tokens=min(MAX_TEXT_TOKENS, query_tokens),
        max_document_tokens=min(MAX_TEXT_TOKENS, positions),
        **prompts,
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / SPEC_FILE).write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
    log.info("added the token %s to %s as id %d", emb_token, out, emb_id)
    return spec


def _end_tokens(tokenizer: Any, model: Any) -> tuple[str, ...]:  # noqa: ANN401 - transformers'
    """Return the tokens that end a turn or a text."""
    ids = model.generation_config.eos_token_id
    ids = ids if isinstance(ids, list) else [ids]
    known = {tokenizer.eos_token_id, *ids} - {None}
    return tuple(sorted(tokenizer.convert_ids_to_tokens(each) for each in known))
