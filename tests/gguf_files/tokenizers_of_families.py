"""Small tokenizers as those of language models, and the metadata that llama.cpp's converter writes for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX as QWEN2
from transformers.models.qwen3_5.tokenization_qwen3_5 import PRETOKENIZE_REGEX as QWEN35

from t1_vectorstore.checkpoints.gguf_tokenizer import TokenType
from tests.gguf_files.files import TEXTS, random_texts, vocabulary_fields

LLAMA3 = (  # of the tokenizer.json of Llama 3
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
SPECIAL = ("<|im_start|>", "<|im_end|>", "<emb_token>")
CORPUS = [Path(__file__).read_text(encoding="utf-8"), *TEXTS * 3, *random_texts(300, seed=1)]


def split_at(expression: str) -> pre_tokenizers.PreTokenizer:
    """The pre-tokenizer of Qwen's and Llama's ``tokenizer.json``."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(expression), behavior="isolated"), byte_level])


def digits_first() -> pre_tokenizers.PreTokenizer:
    """The pre-tokenizer of SmolLM's and StarCoder's ``tokenizer.json``."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])


BYTE_LEVEL: dict[str, tuple[Callable[[], pre_tokenizers.PreTokenizer], bool, bool]] = {
    "llama-bpe": (lambda: split_at(LLAMA3), False, True),
    "qwen2": (lambda: split_at(QWEN2), True, False),
    "qwen35": (lambda: split_at(QWEN35), True, False),
    "smollm": (digits_first, False, False),
    "gpt-2": (lambda: pre_tokenizers.ByteLevel(add_prefix_space=False), False, False),
}
"""Pre-tokenizer, whether texts are normalised to NFC, and whether whole words are looked up, by llama.cpp's name."""


def byte_level(name: str) -> tuple[Tokenizer, dict[str, Any]]:
    """A trained byte-level tokenizer, and its metadata."""
    split, nfc, whole_words = BYTE_LEVEL[name]
    tokenizer = Tokenizer(models.BPE(ignore_merges=whole_words))
    tokenizer.pre_tokenizer, tokenizer.decoder = split(), decoders.ByteLevel()
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    trained = json.loads(tokenizer.to_str())["model"]
    merges = [" ".join(merge) for merge in trained["merges"]]
    fields = vocabulary_fields(*_vocabulary(tokenizer), pre=name, merges=merges, add_bos_token=False)
    return tokenizer, fields


def sentencepiece(*, prefix: bool) -> tuple[Tokenizer, dict[str, Any]]:
    """A tokenizer as Llama 2's: its merges join the two pieces with the best score."""
    from transformers.convert_slow_tokenizer import generate_merges

    words = trainers.BpeTrainer(vocab_size=500, show_progress=False)
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    learned.train_from_iterator(CORPUS, words)
    pieces = sorted(learned.get_vocab(), key=lambda piece: (len(piece) == 1, learned.get_vocab()[piece]))
    first = ["<unk>", "<s>", "</s>"]
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    tokens = [*first, *byte_tokens, *pieces, "<emb_token>"]
    types = [
        *(TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL),
        *([TokenType.BYTE] * 256),
        *([TokenType.NORMAL] * len(pieces)),
        TokenType.CONTROL,
    ]
    ids = {token: index for index, token in enumerate(tokens)}
    scores = [0.0 if kind != TokenType.NORMAL else -float(n - 259) for n, kind in enumerate(types)]
    merges: Any = generate_merges(
        ids, {piece: scores[ids[piece]] for piece in pieces}, skip_tokens=[*first, *byte_tokens]
    )
    model = models.BPE(vocab=ids, merges=merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    space = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), space]) if prefix else space
    tokenizer.add_special_tokens([*first, "<emb_token>"])
    fields = vocabulary_fields(
        tokens, types, model="llama", scores=scores, add_space_prefix=prefix, add_bos_token=False
    )
    return tokenizer, fields


def _vocabulary(tokenizer: Tokenizer) -> tuple[list[str], list[TokenType]]:
    """Tokens and types in the order of the ids; the special ones are control tokens."""
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id)
    return tokens, [TokenType.CONTROL if token in SPECIAL else TokenType.NORMAL for token in tokens]
