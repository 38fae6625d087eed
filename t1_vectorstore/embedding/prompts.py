"""Prompts of texts as token ids, and the text of thoughts.

Special tokens are read from the templates of prompts only, never from a user's text: a document that contains
``<emb_token>`` or ``<|im_end|>`` is tokenised as those characters.
"""

from __future__ import annotations

import json
import re
import unicodedata
import warnings
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Encoding, Tokenizer

from t1_vectorstore.checkpoints.chat_template import ChatTemplate
from t1_vectorstore.checkpoints.checkpoint import Checkpoint, begin_tokens
from t1_vectorstore.checkpoints.spec import CheckpointSpec, Message, PromptTemplate
from t1_vectorstore.errors import (
    CheckpointError,
    InvalidText,
    TextTooLong,
    TruncationWarning,
    external_stacklevel,
)
from t1_vectorstore.types import Role, Truncated, Truncation

TEXT, INSTRUCTION = "{text}", "{instruction}"

_INCOMPLETE = "\ufffd"
"""What tokenizers decode bytes to that are not a character."""
_BYTE_TOKEN = re.compile("<0x[0-9A-F]{2}>")
"""Tokens of single bytes, with which SentencePiece's tokenizers write characters that their vocabulary lacks."""

_WHITE_SPACE = " \t\r\n\u2581"
"""With the character that SentencePiece's tokenizers write for a space."""

_NO_LONGER_IN_ASCII = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "BertNormalizer"}
"""Normalizers that never make an ASCII text longer."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt in token ids.

    Attributes:
        ids: The whole prompt. It ends with the emb token, unless a thought follows.
        text_tokens: Number of tokens of the text, with those that were left out.
        dropped: Number of tokens left out at the end of the text, so that the prompt fits.
    """

    ids: list[int]
    text_tokens: int
    dropped: int = 0


def check_texts(texts: Iterable[str], what: str, *, may_be_empty: bool = False) -> list[str]:
    """Refuse texts that no model can embed, and return the others as a list.

    Raises:
        TypeError: A single string instead of several, or an item that is not a string.
        InvalidText: A text that is empty or white space, or has a lone surrogate and so cannot be encoded as UTF-8.
    """
    if isinstance(texts, str | bytes):
        raise TypeError(f"expected several {what} texts, got one {type(texts).__name__}; wrap it in a list")
    checked = list(texts)
    for index, text in enumerate(checked):
        name = f"the {what}" if len(checked) == 1 else f"{what} text {index}"
        if not isinstance(text, str):
            raise TypeError(f"{name} is {text!r:.80}, of type {type(text).__name__}; expected str")
        if not text.strip() and not (may_be_empty and not text):
            state = f"only white space ({text!r:.40})" if text else "empty"
            raise InvalidText(f"{name} is {state}: there is nothing to embed")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidText(
                f"{name} has a lone surrogate {text[error.start]!r} at position {error.start}, which is "
                "not a character. Repair it with text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')."
            ) from None
    return checked


def check_truncation(
    prompts: Sequence[Prompt], role: Role, policy: Truncation, spec: CheckpointSpec
) -> list[Truncated]:
    """Apply the truncation policy, and return the truncated texts, in order.

    Raises:
        TextTooLong: A text was truncated, and the policy is ``raise``.
    """
    cuts = [Truncated(i, prompt.dropped, prompt.text_tokens) for i, prompt in enumerate(prompts) if prompt.dropped]
    if cuts and policy != "allow":
        limit = spec.max_query_tokens if role == "query" else spec.max_document_tokens
        message = (
            f"{len(cuts)} of {len(prompts)} {role} texts are over the limit of {limit} tokens; "
            f"text {cuts[0].index} loses {cuts[0].dropped_tokens} of {cuts[0].total_tokens}. Split it, or raise "
            f"max_{role}_tokens"
        )
        if policy == "raise":
            raise TextTooLong(message)
        warnings.warn(message, TruncationWarning, stacklevel=external_stacklevel())
    return cuts


def _is_white_space(token: Mapping[str, Any], vocabulary: Container[str]) -> bool:
    """Whether an added token is ordinary white space, such as Gemma's line breaks: no text could be without them."""
    return not token["special"] and not token["content"].strip(_WHITE_SPACE) and token["content"] in vocabulary


class Prompter:
    """Builds the prompts of one checkpoint. Fast to call and thread-safe."""

    def __init__(self, tokenizer: Tokenizer, spec: CheckpointSpec, *, chat: ChatTemplate | None = None) -> None:
        """Prepare the templates.

        Args:
            tokenizer: The checkpoint's tokenizer; it is copied, not changed.
            spec: The checkpoint's specification.
            chat: The checkpoint's chat template, which prompts given as messages need.

        Raises:
            CheckpointError: The emb token, or one that begins prompts or ends thoughts, is not a single token of the
                tokenizer.
        """
        definition: dict[str, Any] = json.loads(tokenizer.to_str())
        self._special: dict[str, int] = {
            token["content"]: token["id"]
            for token in definition["added_tokens"]
            if not _is_white_space(token, definition["model"]["vocab"])
        }
        # Without its added tokens, the copy cannot recognise them in a text; templates are split at them beforehand.
        definition |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
        self._plain: Tokenizer = Tokenizer.from_str(json.dumps(definition))
        self._special_ids = frozenset(self._special.values())
        self._chat = chat
        self.spec = spec
        self.emb_id = self._token_id(spec.emb_token)
        first = begin_tokens(tokenizer) if spec.begin_tokens is None else spec.begin_tokens
        self._begin_ids = [*map(self._token_id, first)]
        self.stop_ids = (self.emb_id, *map(self._token_id, spec.thought_end))
        self._query = self._parse(spec.query_prompt, spec.max_query_tokens)
        no_think = spec.query_prompt if spec.query_prompt_no_think is None else spec.query_prompt_no_think
        self._query_no_think = self._parse(no_think, spec.max_query_tokens, close=True)
        self._document = self._parse(spec.document_prompt, spec.max_document_tokens, close=True)
        spare = self._document.spare_tokens(spec.document_instruction)
        self._fitting_bytes = spare - 1 if _no_token_below_a_byte(definition) else -1
        self._normalizers = _normalizers(definition)

    @classmethod
    def load(cls, checkpoint: Checkpoint) -> Prompter:
        """Read a checkpoint's tokenizer and its chat template, if it has one."""
        return cls(checkpoint.tokenizer, checkpoint.spec, chat=checkpoint.chat_template)

    def documents(self, texts: Sequence[str]) -> list[Prompt]:
        """Build the prompt of each document, in order."""
        return self._document.fill(texts, self.spec.document_instruction)

    def surely_fits(self, text: str) -> bool:
        """Return whether a document certainly fits, without tokenising it; ``False`` if that is uncertain.

        Byte-level and WordPiece tokenizers make at most one token of each byte of the normalised text. The normalised
        text has no more bytes than the text, if that is ASCII or already in the normal form NFC.
        """
        if len(text) > self._fitting_bytes or len(text.encode()) > self._fitting_bytes:
            return False
        if text.isascii():
            return self._normalizers <= _NO_LONGER_IN_ASCII
        return self._normalizers <= {"NFC"} and unicodedata.is_normalized("NFC", text)

    def excess_tokens(self, text: str) -> int:
        """Return the number of tokens that would be left out at the end of a document."""
        return 0 if self.surely_fits(text) else self.documents([text])[0].dropped

    def queries(
        self, texts: Sequence[str], *, think: bool, task: str | None = None, instruction: str | None = None
    ) -> list[Prompt]:
        """Build the prompt of each query, in order.

        Args:
            texts: The queries.
            think: Whether a thought follows the prompt; otherwise the prompt ends with the emb token.
            task: Name of the task instruction to use instead of the default one.
            instruction: An own instruction instead of either.

        Raises:
            ValueError: The specification has no such task, or the instruction cannot be a part of its prompt.
        """
        template = self._query if think else self._query_no_think
        if instruction is not None:
            self._check_instruction(instruction, template)
            try:
                return template.fill(texts, instruction)
            except CheckpointError as error:  # the prompt has no room for it
                raise ValueError(f"instruction={instruction!r:.80} does not fit: {error}") from error
        if task is not None and task not in self.spec.tasks:
            raise ValueError(f"no task {task!r}; the checkpoint has {sorted(self.spec.tasks)}")
        return template.fill(texts, self.spec.query_instruction if task is None else self.spec.tasks[task])

    def _check_instruction(self, instruction: str, template: _Template) -> None:
        """Refuse an instruction that the prompt has no place for, or that seems to be a part of a template.

        Raises:
            InvalidText: White space, or a text that cannot be encoded.
            ValueError: Any other mistake.
        """
        check_texts([instruction], "instruction")
        if not template.takes_instruction:
            raise ValueError(
                f"instruction={instruction!r:.80}, but this checkpoint's prompt of queries has no {INSTRUCTION}; leave "
                "it out, or load the model with another query_prompt"
            )
        if forbidden := [part for part in (TEXT, INSTRUCTION, *self._special) if part in instruction]:
            raise ValueError(
                f"instruction={instruction!r:.80} contains {forbidden[0]!r}, which has a meaning only in the prompt of "
                "the checkpoint; leave it out"
            )

    def thought_ids(self, thought: str) -> list[int]:
        """Return a thought in token ids as the model would generate it, with the emb token at its end."""
        return [*self.encode([thought])[0].ids, self.emb_id]

    def thought_text(self, ids: Sequence[int]) -> str:
        """Return the text of generated tokens, without special tokens."""
        text: str = self._plain.decode([token for token in ids if token not in self._special_ids])
        return text.strip()

    def check_ids(self, prompts: Iterable[Iterable[int]]) -> None:
        """Refuse token ids that the tokenizer does not have.

        Raises:
            ValueError: There is one.
        """
        size = max(self._plain.get_vocab_size(), max(self._special_ids, default=-1) + 1)
        for prompt in prompts:
            if unknown := [token for token in prompt if not 0 <= token < size]:
                raise ValueError(f"there is no token {unknown[0]}; the tokenizer has {size:,}")

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ordinary tokens.

        Raises:
            ValueError: An id that is no token, or that of a special token, or tokens that are not whole characters.
        """
        for token in ids:
            if token in self._special_ids:
                raise ValueError(f"token {token} is a special token, which no text has")
            if not 0 <= token < 2**32 or self._plain.id_to_token(token) is None:
                size = self._plain.get_vocab_size()
                raise ValueError(f"there is no token {token}; the tokenizer has {size:,} ordinary ones")
        text: str = self._plain.decode(list(ids))
        if _INCOMPLETE in text and self.encode([text])[0].ids != list(ids):
            raise ValueError(f"the {len(ids)} tokens begin or end within a character: {text!r:.80}")
        return text

    def thought_decoder(self) -> Callable[[Sequence[int]], str]:
        """Return a function that takes generated tokens as they arrive, and returns the text that they add.

        Bytes that are not a whole character yet are held back. At the end of a thought they may stay held back.
        """
        ids: list[int] = []
        start = known = 0  # text is decoded from ``start`` on; what the tokens before ``known`` give was returned

        def decode(new: Sequence[int]) -> str:
            nonlocal start, known
            ids.extend(token for token in new if token not in self._special_ids)
            # Some tokens give other text at the start of a sequence, so decode them with those before them.
            before, text = self._plain.decode(ids[start:known]), self._plain.decode(ids[start:])
            # A byte token's text depends on the bytes around it, until another token follows.
            if not ids or text.endswith(_INCOMPLETE) or _BYTE_TOKEN.fullmatch(self._plain.id_to_token(ids[-1]) or ""):
                return ""
            start, known = known, len(ids)
            return str(text[len(before) :])

        return decode

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Tokenise texts as ordinary characters, including the names of special tokens in them."""
        encodings: list[Encoding] = self._plain.encode_batch(list(texts), add_special_tokens=False)
        for text, encoding in zip(texts, encodings, strict=True):
            if not self._special_ids.isdisjoint(encoding.ids):
                raise InvalidText(f"this tokenizer cannot read a special token as ordinary characters: {text!r:.80}")
        return encodings

    def _token_id(self, token: str) -> int:
        token_id = self._special.get(token)
        if token_id is None:
            raise CheckpointError(
                f"the tokenizer has no token {token!r} (it would be split into "
                f"{self._plain.encode(token, add_special_tokens=False).tokens}). A T1 checkpoint has it as one added "
                "token with a trained embedding; a plain language model must be trained to become a T1."
            )
        return token_id

    def _parse(self, template: PromptTemplate, limit: int, *, close: bool = False) -> _Template:
        text = template if isinstance(template, str) else self._render(template)
        special = "|".join(re.escape(token) for token in sorted(self._special, key=len, reverse=True))
        parts = re.split(f"({special})", text) if special else [text]
        pieces = [self._special.get(part, part) for part in parts if part]
        if isinstance(template, str) and pieces[: len(self._begin_ids)] != self._begin_ids:
            pieces = [*self._begin_ids, *pieces]
        return _Template(self, [*pieces, self.emb_id] if close else pieces, limit)

    def _render(self, messages: Sequence[Message]) -> str:
        if self._chat is None:
            raise CheckpointError(
                "the prompt is given as chat messages, and the checkpoint has no chat template "
                "(chat_template.jinja or tokenizer_config.json); write the prompt as a string instead"
            )
        text = self._chat.render(messages)
        if text.count(TEXT) != 1:
            raise CheckpointError(
                f"the chat template in {self._chat.file} shows the text {text.count(TEXT)} times, not once: "
                f"{text!r:.200}"
            )
        return text


class _Template:
    """A prompt template: a sequence of token ids and strings, one of which contains the placeholder of the text."""

    def __init__(self, prompter: Prompter, pieces: Sequence[str | int], limit: int) -> None:
        self._prompter = prompter
        self._pieces = pieces
        self._limit = limit

    @property
    def takes_instruction(self) -> bool:
        """Whether the template has a place for an instruction."""
        return any(isinstance(piece, str) and INSTRUCTION in piece for piece in self._pieces)

    def spare_tokens(self, instruction: str) -> int:
        """Return how many tokens certainly remain for the text, if each byte next to it becomes a token."""
        before, left, right, after = self._surroundings(instruction)
        return self._limit - len(before) - len(left.encode()) - len(right.encode()) - len(after)

    def fill(self, texts: Sequence[str], instruction: str) -> list[Prompt]:
        before, left, right, after = self._surroundings(instruction)
        encodings = self._prompter.encode([f"{left}{text}{right}" for text in texts])
        return [
            self._fit(before, encoding, after, len(left), len(left) + len(text))
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def _surroundings(self, instruction: str) -> tuple[list[int], str, str, list[int]]:
        """Return the tokens before the text, the characters on either side of it, and the tokens after it.

        The text is tokenised together with the characters next to it, so that words are split as in training.
        """
        at = next(i for i, piece in enumerate(self._pieces) if isinstance(piece, str) and TEXT in piece)
        before, after = self._ids(self._pieces[:at], instruction), self._ids(self._pieces[at + 1 :], instruction)
        left, right = (side.replace(INSTRUCTION, instruction) for side in str(self._pieces[at]).split(TEXT))
        return before, left, right, after

    def _ids(self, pieces: Sequence[str | int], instruction: str) -> list[int]:
        ids: list[int] = []
        for piece in pieces:
            text = piece.replace(INSTRUCTION, instruction) if isinstance(piece, str) else ""
            ids += [piece] if isinstance(piece, int) else self._prompter.encode([text])[0].ids
        return ids

    def _fit(self, before: list[int], encoding: Encoding, after: list[int], start: int, end: int) -> Prompt:
        """Build a prompt. Tokens in excess of the limit are left out at the end of the text, which is ``start:end``."""
        ids = encoding.ids
        inside = [index for index, (a, b) in enumerate(encoding.offsets) if a < end and b > start]
        first, last = (inside[0], inside[-1] + 1) if inside else (len(ids), len(ids))
        excess = len(before) + len(ids) + len(after) - self._limit
        dropped = max(0, min(excess, last - first))
        if excess > dropped:
            raise CheckpointError(
                f"the prompt is {excess - dropped} tokens longer than its limit of {self._limit} without any text; "
                "raise max_query_tokens or max_document_tokens, or shorten the instruction"
            )
        return Prompt([*before, *ids[: last - dropped], *ids[last:], *after], last - first, dropped)


def _no_token_below_a_byte(tokenizer: Mapping[str, Any]) -> bool:
    """Return whether each token stands for a byte or more of the text, except for one space before it."""
    kind = tokenizer["model"]["type"]
    return kind == "WordPiece" or (kind == "BPE" and '"ByteLevel"' in json.dumps(tokenizer.get("pre_tokenizer")))


def _normalizers(tokenizer: Mapping[str, Any]) -> set[str]:
    """Return the types of all steps that change a text before it is tokenised."""
    found = tokenizer.get("normalizer") or {"type": "Sequence", "normalizers": []}
    return {step["type"] for step in found.get("normalizers", [found])}
