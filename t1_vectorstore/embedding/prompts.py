"""The only place where prompts become token ids, and where thoughts become text again.

Text is only ever text: special tokens are read from a prompt's template, never from what a user wrote. A document
that contains ``<emb_token>`` or ``<|im_end|>`` is tokenised as those characters.
"""

from __future__ import annotations

import json
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Encoding, Tokenizer
from tokenizers.decoders import DecodeStream

from t1_vectorstore.checkpoints.chat_template import ChatTemplate
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
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


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt in token ids.

    Attributes:
        ids: the whole prompt; a document's and an unthinking query's end with the emb token.
        text_tokens: how many tokens the text has, those left out included.
        dropped: how many tokens at the end of the text were left out so that the prompt fits.
    """

    ids: list[int]
    text_tokens: int
    dropped: int = 0


def check_texts(texts: Iterable[str], what: str) -> list[str]:
    """Refuse what no model can embed, before any work is done.

    Returns:
        The texts as a list: a generator can be read only once.

    Raises:
        TypeError: a single string in place of several, or an item that is no string.
        InvalidText: a text that is empty or white space, or has a lone surrogate and so is not encodable as UTF-8.
    """
    if isinstance(texts, str | bytes):
        raise TypeError(f"expected several {what} texts, got one {type(texts).__name__}; wrap it in a list")
    checked = list(texts)
    for index, text in enumerate(checked):
        if not isinstance(text, str):
            raise TypeError(f"{what} text {index} is {text!r:.80}, of type {type(text).__name__}; expected str")
        if not text.strip():
            raise InvalidText(f"{what} text {index} is empty or white space ({text!r:.40}): there is nothing to embed")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidText(
                f"{what} text {index} has a lone surrogate {text[error.start]!r} at character {error.start}, which is "
                "no character. Repair it with text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')."
            ) from None
    return checked


def check_truncation(
    prompts: Sequence[Prompt], role: Role, policy: Truncation, spec: CheckpointSpec
) -> list[Truncated]:
    """Apply the truncation policy, and return the texts that were cut, in order.

    Raises:
        TextTooLong: A text was cut, and the policy is ``raise``.
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


_KEEPING = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "BertNormalizer"}


class Prompter:
    """Builds the prompts of one checkpoint; cheap to call, safe to share between threads."""

    def __init__(self, tokenizer: Tokenizer, spec: CheckpointSpec, *, chat: ChatTemplate | None = None) -> None:
        """Prepare the templates.

        Args:
            tokenizer: the checkpoint's; it is copied, not changed.
            spec: the checkpoint's specification.
            chat: the checkpoint's chat template, needed when a prompt is given as messages.

        Raises:
            CheckpointError: the tokenizer lacks the emb token or a thought-ending token, or splits it.
        """
        definition: dict[str, Any] = json.loads(tokenizer.to_str())
        self._special: dict[str, int] = {token["content"]: token["id"] for token in definition["added_tokens"]}
        # Without added tokens the copy has no way to read one out of a text; templates are split at them beforehand.
        definition |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
        self._plain: Tokenizer = Tokenizer.from_str(json.dumps(definition))
        self._special_ids = frozenset(self._special.values())
        self._chat = chat
        self.spec = spec
        self.emb_id = self._token_id(spec.emb_token)
        self.stop_ids = (self.emb_id, *map(self._token_id, spec.thought_end))
        self._query = self._parse(spec.query_prompt, spec.max_query_tokens)
        no_think = spec.query_prompt if spec.query_prompt_no_think is None else spec.query_prompt_no_think
        self._query_no_think = self._parse(no_think, spec.max_query_tokens, close=True)
        self._document = self._parse(spec.document_prompt, spec.max_document_tokens, close=True)
        self._most_bytes = self._document.room(spec.document_instruction) - 1 if _a_byte_each(definition) else -1
        self._normalizers = _normalizers(definition)

    @classmethod
    def load(cls, checkpoint: Checkpoint) -> Prompter:
        """Read a checkpoint's tokenizer and, if there is one, its chat template."""
        file = checkpoint.path / "tokenizer.json"
        try:
            tokenizer: Tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise CheckpointError(
                f"{file} cannot be read as a tokenizer: {error}. Make one with "
                "transformers.AutoTokenizer.from_pretrained(...).save_pretrained(...)."
            ) from error
        return cls(tokenizer, checkpoint.spec, chat=checkpoint.chat_template)

    def documents(self, texts: Sequence[str]) -> list[Prompt]:
        """Instruction, text and emb token of each document, in order."""
        return self._document.fill(texts, self.spec.document_instruction)

    def surely_fits(self, text: str) -> bool:
        """Whether a document is short enough to be read whole, as far as that can be told without tokenising it.

        A byte-level tokenizer, or one of word pieces, makes no more tokens than there are bytes, if it does not make
        more bytes of the text first: none of ``_KEEPING`` does so with ASCII, nor NFC with what is in that form.
        """
        if len(text) > self._most_bytes or len(text.encode()) > self._most_bytes:
            return False
        if text.isascii():
            return self._normalizers <= _KEEPING
        return self._normalizers <= {"NFC"} and unicodedata.is_normalized("NFC", text)

    def excess_tokens(self, text: str) -> int:
        """How many tokens at the end of a document would be left out."""
        return 0 if self.surely_fits(text) else self.documents([text])[0].dropped

    def queries(self, texts: Sequence[str], *, think: bool, task: str | None = None) -> list[Prompt]:
        """The prompt of each query, in order: up to where its thought begins, or closed with the emb token.

        Args:
            texts: the queries.
            think: which of the two prompts.
            task: which of the specification's task instructions to use in place of the default one.

        Raises:
            ValueError: the specification has no such task.
        """
        instruction = self.spec.query_instruction
        if task is not None:
            if task not in self.spec.tasks:
                raise ValueError(f"no task {task!r}; the checkpoint has {sorted(self.spec.tasks)}")
            instruction = self.spec.tasks[task]
        return (self._query if think else self._query_no_think).fill(texts, instruction)

    def thought_ids(self, thought: str) -> list[int]:
        """A thought as the model would have generated it: plain tokens and the closing emb token."""
        return [*self.encode([thought])[0].ids, self.emb_id]

    def thought_text(self, ids: Sequence[int]) -> str:
        """The text of generated tokens; special tokens among them are left out."""
        text: str = self._plain.decode([token for token in ids if token not in self._special_ids])
        return text.strip()

    def thought_decoder(self) -> Callable[[Sequence[int]], str]:
        """What makes text of generated tokens as they come, each time what there is to add; special tokens left out."""
        decoding = DecodeStream()

        def decode(ids: Sequence[int]) -> str:
            steps = [decoding.step(self._plain, token) for token in ids if token not in self._special_ids]
            return "".join(filter(None, steps))

        return decode

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Tokenise as plain characters, whatever is written in the texts."""
        encodings: list[Encoding] = self._plain.encode_batch(list(texts), add_special_tokens=False)
        for text, encoding in zip(texts, encodings, strict=True):
            if not self._special_ids.isdisjoint(encoding.ids):
                raise InvalidText(
                    f"this tokenizer has no plain characters for a special token that is written in {text!r:.80}"
                )
        return encodings

    def _token_id(self, token: str) -> int:
        token_id = self._special.get(token)
        if token_id is None:
            raise CheckpointError(
                f"the tokenizer has no token {token!r} (it would be split into "
                f"{self._plain.encode(token, add_special_tokens=False).tokens}). A T1 checkpoint has it as one added "
                "token with a trained embedding; a plain language model has to be trained to become a T1."
            )
        return token_id

    def _parse(self, template: PromptTemplate, limit: int, *, close: bool = False) -> _Template:
        text = template if isinstance(template, str) else self._render(template)
        special = "|".join(re.escape(token) for token in sorted(self._special, key=len, reverse=True))
        parts = re.split(f"({special})", text) if special else [text]
        pieces = [self._special.get(part, part) for part in parts if part]
        return _Template(self, [*pieces, self.emb_id] if close else pieces, limit)

    def _render(self, messages: Sequence[Message]) -> str:
        if self._chat is None:
            raise CheckpointError(
                "the prompt is given as chat messages and the checkpoint has no chat template "
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
    """A prompt as special token ids and strings, one of which holds the text."""

    def __init__(self, prompter: Prompter, pieces: Sequence[str | int], limit: int) -> None:
        self._prompter = prompter
        self._pieces = pieces
        self._limit = limit

    def room(self, instruction: str) -> int:
        """Tokens of the limit that are left for a text, if each byte of what stands next to it were one."""
        before, left, right, after = self._around(instruction)
        return self._limit - len(before) - len(left.encode()) - len(right.encode()) - len(after)

    def fill(self, texts: Sequence[str], instruction: str) -> list[Prompt]:
        before, left, right, after = self._around(instruction)
        encodings = self._prompter.encode([f"{left}{text}{right}" for text in texts])
        return [
            self._fit(before, encoding, after, len(left), len(left) + len(text))
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def _around(self, instruction: str) -> tuple[list[int], str, str, list[int]]:
        """Tokens, then characters, before the text; and those after it.

        The text and the characters next to it are tokenised in one go: word boundaries fall as they did in training.
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


def _a_byte_each(tokenizer: Mapping[str, Any]) -> bool:
    """Whether each token but one, a space before the text, stands for at least one byte of what is tokenised."""
    kind = tokenizer["model"]["type"]
    return kind == "WordPiece" or (kind == "BPE" and '"ByteLevel"' in json.dumps(tokenizer.get("pre_tokenizer")))


def _normalizers(tokenizer: Mapping[str, Any]) -> set[str]:
    """The types of all steps that change a text before it is tokenised."""
    found = tokenizer.get("normalizer") or {"type": "Sequence", "normalizers": []}
    return {step["type"] for step in found.get("normalizers", [found])}
