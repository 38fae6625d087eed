"""A tokenizer as metadata of a GGUF file.

This package reads the original ``tokenizer.json``, which is stored as it is. llama.cpp's own fields are for its tools,
such as its server. They are written if llama.cpp would give the same tokens.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from t1_vectorstore.checkpoints.gguf_tokenizer import TOKENIZER_JSON, TokenType, build_tokenizer
from t1_vectorstore.errors import CheckpointError

_PRE_TOKENIZERS = ("llama-bpe", "qwen2", "smollm", "gpt-2", "qwen35", "tekken")
"""Names of llama.cpp's pre-tokenizers that are tried."""
_TEXTS = (
    "Llamas live in Peru, don't they? I'LL say: THEY'RE there, and we'Ve seen 12345.67 of them in 1999.",
    "  two spaces,\ttab,\n\n lines \r\n\r\n and   an end  \n",
    "naïve café, ßẞ, ½ ٣٤ Ⅻ, हिन्दी में क्षत्रिय, ไทย, 한국어, 漢字かな交じり文、です。 العربية עברית",
    "👩‍👩‍👧‍👦 🙂🏽 a\u00a0b\u2009c\u3000d\ufeffe '''\"\"\" ======!!!??? <|x|> </s> x=[1,2]; // y",
    "def f(x):\n    return x**2  # a comment\n\n\n\tif x: pass\r\n\r\n",
    "IJsselmeerCamelCase snake_case HTTPServer iPhone2 ΣΊΣΥΦΟΣ Ǆungla",
)
"""Texts by which a tokenizer is recognised, as in llama.cpp's converter. They are in NFC, which llama.cpp lacks."""


def tokenizer_fields(
    tokenizer: Tokenizer, rows: int, special: Mapping[str, str], begin: tuple[str, ...]
) -> dict[str, Any]:
    """Return a tokenizer's metadata.

    Args:
        tokenizer: The tokenizer.
        rows: Number of the model's embeddings; llama.cpp wants as many tokens.
        special: Special tokens by name, such as ``eos_token``.
        begin: Tokens before every text.

    Raises:
        CheckpointError: It has more tokens than the model has embeddings.
    """
    vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    if (highest := max(vocabulary.values())) >= rows:
        raise CheckpointError(f"the tokenizer has the token {highest}, but the model has only {rows} embeddings")
    definition = json.loads(tokenizer.to_str())
    tokens = [f"[PAD{index}]" for index in range(rows)]
    types = [TokenType.UNUSED] * rows
    for token, index in vocabulary.items():
        tokens[index], types[index] = token, TokenType.NORMAL
    for added in definition["added_tokens"]:
        types[added["id"]] = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    fields = {TOKENIZER_JSON: tokenizer.to_str(), "tokenizer.ggml.model": "none"}
    own = _own_fields(tokenizer, definition, tokens, types) or {}
    ids = {key: vocabulary[special[name]] for name, key in _SPECIAL.items() if special.get(name) in vocabulary}
    if len(begin) == 1:
        ids["bos_token_id"] = vocabulary[begin[0]]
    # Also where llama.cpp has no such tokenizer: chat templates name these tokens.
    own |= {**({"add_bos_token": len(begin) == 1} if own else {}), **ids}
    return fields | {f"tokenizer.ggml.{key}": value for key, value in own.items()}


_SPECIAL = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}
"""Names of special tokens in transformers and in llama.cpp."""


def _own_fields(
    tokenizer: Tokenizer, definition: Mapping[str, Any], tokens: list[str], types: list[TokenType]
) -> dict[str, Any] | None:
    """Return the fields by which llama.cpp gives the same tokens; ``None`` if it cannot."""
    model, decoder = definition["model"], json.dumps(definition["decoder"])
    if model["type"] == "WordPiece" and model["continuing_subword_prefix"] == "##":
        return _wordpiece(tokens, types, model["unk_token"])
    if model["type"] != "BPE" or not model["merges"]:  # llama.cpp refuses one without merges
        return None
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    fields: dict[str, Any] = {"tokens": tokens, "token_type": [*map(int, types)]}
    if '"ByteLevel"' in decoder:
        candidates = [{**fields, "model": "gpt2", "pre": pre, "merges": merges} for pre in _PRE_TOKENIZERS]
    elif model["byte_fallback"]:
        prefix = '"Prepend"' in json.dumps(definition["normalizer"])
        candidates = [{**_scores(fields, model["unk_token"], model["merges"]), "add_space_prefix": prefix}]
    else:
        return None
    expected = _reading(tokenizer)
    return next((fields for fields in candidates if _reading(_rebuilt(fields)) == expected), None)


def _rebuilt(fields: Mapping[str, Any]) -> Tokenizer:
    given = {f"tokenizer.ggml.{key}": value for key, value in fields.items()} | {"tokenizer.ggml.add_bos_token": False}
    return build_tokenizer(Path("the export"), given)


def _reading(tokenizer: Tokenizer) -> list[Any]:
    """Return how a tokenizer reads the texts: their parts, and tokens, without recognising special tokens."""
    definition: dict[str, Any] = json.loads(tokenizer.to_str())
    plain = Tokenizer.from_str(json.dumps(definition | {"added_tokens": [], "post_processor": None}))
    texts = [unicodedata.normalize("NFC", text) for text in _TEXTS]
    parts = [plain.pre_tokenizer.pre_tokenize_str(text) for text in texts] if plain.pre_tokenizer else []
    return [parts, [encoding.ids for encoding in plain.encode_batch(texts, add_special_tokens=False)]]


def _wordpiece(tokens: list[str], types: list[TokenType], unknown: str) -> dict[str, Any] | None:
    """Return a WordPiece vocabulary as llama.cpp writes it: with a mark where a word begins, not where it goes on."""
    normal = (TokenType.NORMAL, TokenType.UNUSED)
    written = [
        token
        if kind not in normal or token == unknown
        else token.removeprefix("##")
        if token[:2] == "##"
        else f"▁{token}"
        for token, kind in zip(tokens, types, strict=True)
    ]
    if len(set(written)) != len(written):
        return None
    number = tokens.index(unknown)
    return {"model": "bert", "tokens": written, "token_type": [*map(int, types)], "unknown_token_id": number}


def _scores(fields: Mapping[str, Any], unknown: str | None, merges: list[Any]) -> dict[str, Any]:
    """Return the fields of a SentencePiece tokenizer, whose scores state the order of the merges."""
    tokens, types = fields["tokens"], list(fields["token_type"])
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        ranks.setdefault(left + right, rank)
    for index, token in enumerate(tokens):
        if token == unknown:
            types[index] = int(TokenType.UNKNOWN)
        elif len(token) == 6 and token.startswith("<0x"):
            types[index] = int(TokenType.BYTE)
    scores = [-float(ranks.get(token, len(merges))) for token in tokens]
    return {**fields, "token_type": types, "model": "llama", "scores": scores}
