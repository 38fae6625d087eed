"""Prepare a plain causal language model for T1 training: add the emb token and a ``t1_config.json``."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch

from t1_vectorstore.checkpoints.checkpoint import SPEC_FILE, begin_tokens, named_models
from t1_vectorstore.checkpoints.folder import CheckpointFolder
from t1_vectorstore.checkpoints.gguf import GGUFFile
from t1_vectorstore.checkpoints.spec import CheckpointSpec, Decoding, Message
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import CheckpointError, MissingExtraError, T1Error

log = logging.getLogger(__name__)
MAX_TEXT_TOKENS = 2048
"""Limit of a query or a document in tokens, if the model accepts that many."""
MIN_QUERY_TOKENS = 64
"""Smallest query limit that a thought budget may leave."""
_PROBE = 8
"""Number of tokens by which a model is checked to be causal."""
INSTRUCTION = "Think step by step about what the question needs, then state what a passage that answers it would say."
"""Default query instruction of the chat prompt. It is ours: no source of T1 states the literal prompts."""


def add_token(
    source: str,
    out: Path,
    *,
    emb_token: str = "<emb_token>",
    max_thought_tokens: int = 512,
    start: str | None = None,
) -> CheckpointSpec:
    """Write a copy of a model with an emb token.

    The token's embedding starts as that of the tokenizer's end token, with which a model that was tuned on instructions
    ends its turn: so it can close its thoughts before any training. Without an end token it starts as the mean of all
    others. Both defaults are ours. ``start`` replaces them: a prompt that ends with a quotation mark, as in PromptEOL
    (arXiv:2307.16645), continues best with the token of a quotation mark. If the tokenizer has a chat template, a query
    is a user message and the end of a turn ends the thought. Otherwise prompts are plain text.

    Args:
        source: Model folder, hub id, or path of a GGUF file, whose weights are dequantised.
        out: Folder to write.
        emb_token: Token whose hidden state will be the vector.
        max_thought_tokens: Thought budget in tokens.
        start: Text whose token embeddings initialise the new token, by their mean if there are several.

    Returns:
        The specification written beside the weights.

    Raises:
        CheckpointError: The model cannot be loaded, is not causal, already has the token, or cannot be used by this
            package; nothing is written.
        ValueError: The thought budget leaves too few tokens for queries, or ``start`` has no tokens.
        FileExistsError: ``out`` exists and is not an empty folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is not an empty folder: choose another one")
    if source in named_models():
        raise CheckpointError(f"{source} already has its token: train it as it is")
    try:
        tokenizer, model = _load_gguf(Path(source)) if source.endswith(".gguf") else _load(source)
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

    end = tokenizer.eos_token_id
    like = ([] if end is None else [end]) if start is None else tokenizer(start, add_special_tokens=False)["input_ids"]
    if start is not None and not like:
        raise ValueError(f"start={start!r} has no tokens: pass a text, such as a quotation mark")
    _check_causal(model, source)

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
            weight[emb_id] = (weight[like] if like else weight[:trained_rows]).float().mean(0).to(weight.dtype)

    spec = CheckpointSpec(
        emb_token=emb_token,
        thought_end=thought_end,
        document_prompt="{instruction}{text}",
        decoding=Decoding(max_tokens=max_thought_tokens),
        max_query_tokens=min(MAX_TEXT_TOKENS, query_tokens),
        max_document_tokens=min(MAX_TEXT_TOKENS, positions),
        **_query_prompts(tokenizer, source),
    )

    # Write into a folder beside the final one, and use what was written: only a model that works gets its place.
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        written = Path(temporary) / "model"
        model.save_pretrained(written)
        tokenizer.save_pretrained(written)
        first = begin_tokens(CheckpointFolder(written).tokenizer)
        spec = spec.model_copy(update={"begin_tokens": first or None})
        (written / SPEC_FILE).write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
        _try_out(written, source)
        if out.exists():
            out.rmdir()
        written.rename(out)
    log.info("added the token %s to %s as id %d", emb_token, out, emb_id)
    return spec


def _load(source: str) -> tuple[Any, Any]:
    """Return the tokenizer and the model of a folder or hub id."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loader: Any = AutoModelForCausalLM
    return AutoTokenizer.from_pretrained(source), loader.from_pretrained(source, dtype="auto")


def _load_gguf(file: Path) -> tuple[Any, Any]:
    """Return the tokenizer and the dequantised model of a GGUF file.

    The tokenizer is built by this package: transformers leaves out how some of them split digits.
    """
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    if any(find_spec(name) is None for name in ("accelerate", "gguf")):
        raise MissingExtraError("train", f"reading the weights of {file}")
    gguf, loader = GGUFFile.read(file), cast(Any, AutoModelForCausalLM)
    model = loader.from_pretrained(str(file.parent), gguf_file=file.name, dtype=torch.float32)
    model.hf_quantizer = model.quantization_method = None
    model.config.__dict__.pop("quantization_config", None)
    template = gguf.chat_template
    special = {} if template is None else template.special_tokens
    ends = model.config.eos_token_id
    end = gguf.tokenizer.id_to_token(ends[0] if isinstance(ends, list) else ends)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=gguf.tokenizer,
        chat_template=None if template is None else template.source,
        **{"eos_token": end, **special},
    )
    return tokenizer, model


def _query_prompts(tokenizer: Any, source: str) -> dict[str, Any]:  # noqa: ANN401 - transformers'
    """Return the fields of the specification about queries: chat messages that the chat template can render."""
    if not tokenizer.chat_template:
        return {"query_prompt": "Query: {text}\nThought:", "query_prompt_no_think": "Query: {text}"}
    system, user = Message(role="system", content="{instruction}"), Message(role="user", content="{text}")
    both = Message(role="user", content="{instruction}\n\n{text}")  # Gemma's template, for one, has no system role
    for messages in ((system, user), (both,)):
        try:
            rendered = tokenizer.apply_chat_template(
                [message.model_dump() for message in messages], tokenize=False, add_generation_prompt=True
            )
        except Exception:  # noqa: BLE001, S112 - a template can raise anything
            continue
        if rendered.count("{text}") == rendered.count("{instruction}") == 1:
            return {"query_prompt": messages, "query_instruction": INSTRUCTION}
    raise CheckpointError(
        f"the chat template of {source} does not show a query once; remove it from a copy of the model "
        "(chat_template.jinja, or chat_template in tokenizer_config.json), and prompts become plain text"
    )


def _check_causal(model: Any, source: str) -> None:  # noqa: ANN401 - transformers'
    """Refuse a model in which a token sees those after it: its vectors would depend on padding, and it cannot think.

    Raises:
        CheckpointError: The hidden states at the first tokens depend on the last one.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    ids = torch.tensor([[*range(_PROBE), last] for last in (rows - 1, rows - 2)]) % rows
    with torch.no_grad():
        one, other = model.eval().get_decoder()(input_ids=ids).last_hidden_state[:, :_PROBE].float()
    if not torch.allclose(one, other, rtol=0, atol=1e-5 * float(one.abs().max())):
        raise CheckpointError(
            f"{source} is not causal: the states of its tokens depend on later tokens, as in BERT. T1 needs a language "
            "model that generates text from left to right"
        )


def _try_out(folder: Path, source: str) -> None:
    """Load a model that was written, and embed a document and a query with it.

    Raises:
        CheckpointError: That fails.
    """
    try:
        with T1Embedder.load(folder, device="cpu") as embedder:
            embedder.embed_documents(["text"])
            embedder.embed_query("text", budget=1)
    except (T1Error, ValueError) as error:
        raise CheckpointError(
            f"{source} can be given the token, but the result cannot be used: {error}. Nothing was written"
        ) from error


def _end_tokens(tokenizer: Any, model: Any) -> tuple[str, ...]:  # noqa: ANN401 - transformers'
    """Return the tokens that end a turn or a text."""
    ids = model.generation_config.eos_token_id
    ids = ids if isinstance(ids, list) else [ids]
    known = {tokenizer.eos_token_id, *ids} - {None}
    return tuple(sorted(tokenizer.convert_ids_to_tokens(each) for each in known))
