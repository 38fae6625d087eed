"""The tokenizer of a GGUF file, as a ``tokenizers.Tokenizer``.

A file that has the original ``tokenizer.json`` in its metadata gives that one. Otherwise the tokenizer is built from
llama.cpp's own fields, for those kinds whose original tokenizer is known exactly. Every other kind is refused, because
other tokens mean other vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, NoReturn

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from t1_vectorstore.errors import CheckpointError

TOKENIZER_JSON = "tokenizer.huggingface.json"
"""Key of the original ``tokenizer.json``, as the format's documentation names it."""


class TokenType(IntEnum):
    """llama.cpp's types of tokens."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


_ADDED = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.USER_DEFINED)
"""Types of the tokens that are read only where a template names them."""

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_WORDS}\p{{N}}{{1,3}}{_REST}"
_QWEN2 = rf"{_WORDS}\p{{N}}{_REST}"
_QWEN35 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_SPLITS: Mapping[str, str] = {
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "smaug-bpe", "dbrx"), _LLAMA3),
    "qwen2": _QWEN2,
    "qwen35": _QWEN35,
    "tekken": _TEKKEN,
}
"""Pre-tokenizers by ``tokenizer.ggml.pre``: the expressions of the original ``tokenizer.json`` files, of which
llama.cpp's are paraphrases."""
_DIGITS = ("smollm", "starcoder", "refact")
"""Those that split off each digit, then split as GPT-2."""
_GPT2 = ("gpt-2", "phi-2", "olmo")
_NFC = ("qwen2", "qwen35")
"""Those whose original tokenizer normalises texts to NFC. llama.cpp's does not."""
_WHOLE_WORDS = ("llama3", "llama-v3", "llama-bpe", "tekken")
"""Those that take a word of the vocabulary as it is, without merging."""
_BEGIN = _WHOLE_WORDS
"""Those that begin a text with the BOS token if the file does not say otherwise."""


def build_tokenizer(file: Path, metadata: Mapping[str, Any]) -> Tokenizer:
    """Build the tokenizer that a file's metadata describes.

    Args:
        file: The file, for messages.
        metadata: All its metadata.

    Raises:
        CheckpointError: There is no tokenizer, it is damaged, or it cannot be built exactly.
    """
    try:
        if TOKENIZER_JSON in metadata:
            return Tokenizer.from_str(metadata[TOKENIZER_JSON])
        return _Builder(file, metadata).build()
    except CheckpointError:
        raise
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"the tokenizer in {file} is damaged: {error}") from error


class _Builder:
    """Builds a tokenizer from llama.cpp's fields."""

    def __init__(self, file: Path, metadata: Mapping[str, Any]) -> None:
        self._file, self._fields = file, metadata
        self._tokens: Sequence[str] = self._field("tokens") or []
        count = len(self._tokens)
        if not count:
            self._refuse("it has no vocabulary")
        self._types: Sequence[int] = self._field("token_type") or [TokenType.NORMAL] * count
        self._ids = {token: index for index, token in enumerate(self._tokens)}
        if len(self._ids) != count or len(self._types) != count:
            raise CheckpointError(
                f"the tokenizer in {file} is damaged: it has {count} tokens, {len(self._ids)} of them different, and "
                f"{len(self._types)} types of tokens"
            )

    def build(self) -> Tokenizer:
        model = self._field("model")
        if model == "gpt2":
            tokenizer, begins = self._byte_level(self._field("pre"))
        elif model == "llama":
            tokenizer, begins = self._sentencepiece(), True
        else:
            self._refuse(f"it is of the kind {model!r}")
        self._add_tokens(tokenizer)
        self._add_begin(tokenizer, begins)
        return tokenizer

    def _byte_level(self, pre: str | None) -> tuple[Tokenizer, bool]:
        """Build a tokenizer as GPT-2's and its successors': merges of letters that stand for bytes."""
        merges: Any = [self._merge(text) for text in self._field("merges") or []]
        model = models.BPE(vocab=self._ids, merges=merges, ignore_merges=pre in _WHOLE_WORDS)
        tokenizer = Tokenizer(model)
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pre not in _SPLITS)
        if pre is not None and pre in _SPLITS:
            first: Any = pre_tokenizers.Split(Regex(_SPLITS[pre]), behavior="isolated")
        elif pre in _DIGITS:
            first = pre_tokenizers.Digits(individual_digits=True)
        elif pre in _GPT2:
            first = None
        else:
            self._refuse(f"its pre-tokenizer is {pre!r}")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([first, byte_level]) if first else byte_level
        if pre in _NFC:
            tokenizer.normalizer = normalizers.NFC()
        tokenizer.decoder = decoders.ByteLevel()
        return tokenizer, pre in _BEGIN

    def _sentencepiece(self) -> Tokenizer:
        """Build a tokenizer as Llama 2's: merges of characters in the order of the scores, and bytes for the others."""
        if str(self._fields.get("general.architecture")).startswith("gemma"):
            self._refuse("Gemma's scores do not state the order of its merges")
        for field in ("precompiled_charsmap", "remove_extra_whitespaces"):
            if self._field(field):
                self._refuse(f"it normalises texts ({field})")
        scores = self._field("scores")
        if not scores or len(scores) != len(self._tokens):
            self._refuse("it has no scores")
        normal, unknown = self._of_type(TokenType.NORMAL), next(iter(self._of_type(TokenType.UNKNOWN)), None)
        merges: Any = _merges({token: scores[index] for token, index in normal.items()}, self._ids)
        model = models.BPE(vocab=self._ids, merges=merges, byte_fallback=True, fuse_unk=True, unk_token=unknown)
        tokenizer = Tokenizer(model)
        space = normalizers.Replace(" ", "▁")
        prefixed = self._field("add_space_prefix") is not False
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), space]) if prefixed else space
        tokenizer.decoder = decoders.Sequence(
            [
                *(decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()),
                *([decoders.Strip(" ", 1, 0)] if prefixed else []),
            ]
        )
        return tokenizer

    def _merge(self, text: str) -> tuple[str, str]:
        left, _, right = text.partition(" ")
        if left not in self._ids or right not in self._ids or left + right not in self._ids:  # the library would panic
            raise CheckpointError(
                f"the tokenizer in {self._file} is damaged: it merges {text!r}, which are not its tokens"
            )
        return left, right

    def _add_tokens(self, tokenizer: Tokenizer) -> None:
        for kind in _ADDED:
            special = kind != TokenType.USER_DEFINED
            tokenizer.add_tokens([AddedToken(t, special=special, normalized=False) for t in self._of_type(kind)])

    def _add_begin(self, tokenizer: Tokenizer, default: bool) -> None:
        """Let a text begin with the BOS token if the file says so, or else if llama.cpp does so with this kind."""
        given = self._field("add_bos_token")
        if not (default if given is None else given):
            return
        number = self._field("bos_token_id")
        if number is None or not 0 <= number < len(self._tokens):
            raise CheckpointError(f"{self._file} begins texts with a BOS token, but its id is {number!r}")
        token = self._tokens[number]
        if self._types[number] not in _ADDED:
            tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        template = processors.TemplateProcessing(single=f"{token}:0 $A:0", special_tokens=[(token, number)])
        tokenizer.post_processor = template

    def _of_type(self, wanted: TokenType) -> dict[str, int]:
        """Return the tokens of a type, with their ids."""
        return {token: index for token, index in self._ids.items() if self._types[index] == wanted}

    def _field(self, name: str) -> Any:  # noqa: ANN401 - metadata
        return self._fields.get(f"tokenizer.ggml.{name}")

    def _refuse(self, reason: str) -> NoReturn:
        raise CheckpointError(
            f"the tokenizer in {self._file} cannot be rebuilt exactly: {reason}. Export the original checkpoint with "
            "t1 export gguf, which stores its tokenizer in the file"
        )


def _merges(pieces: Mapping[str, float], ids: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return the merges that scores imply: each way to make a piece of two tokens, best pieces first.

    llama.cpp and SentencePiece join the two neighbours whose piece has the best score.
    """
    found = []
    for piece, score in pieces.items():
        for at in range(1, len(piece)):
            left, right = piece[:at], piece[at:]
            if left in pieces and right in pieces:
                found.append((-score, ids[left], ids[right], left, right))
    found.sort()
    return [(left, right) for *_, left, right in found]
