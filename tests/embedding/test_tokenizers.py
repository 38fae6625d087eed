"""Tokenizers of other families: tokens before every text, and characters written in bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from t1_vectorstore.backends.fake import FakeBackend, identity
from t1_vectorstore.checkpoints.checkpoint import SPEC_FILE, Checkpoint
from t1_vectorstore.checkpoints.spec import CheckpointSpec, Decoding, Message
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.types import OnTokens, QueryEmbedding, Trajectory
from tests.checkpoints import save_checkpoint

TEXTS = ["llamas live in Peru", "a", "Oslo is a city, 3 km from here"]
SPEC = CheckpointSpec(query_prompt="{text}", decoding=Decoding(max_tokens=64))


def sentencepiece_tokenizer(bos: str | None = "<bos>") -> Tokenizer:
    """A tokenizer as Llama 2's, Gemma's and Mistral's: white space as a letter, bytes as tokens, and a first token."""
    special = ["<unk>", *([bos] if bos else []), "<emb_token>"]
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyzLPO,"]
    vocabulary = {token: index for index, token in enumerate([*special, *byte_tokens, *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, vocabulary[bos])]
        )
    return tokenizer


def byte_level_tokenizer() -> Tokenizer:
    """A tokenizer as Llama 3's: bytes as letters, and a first token."""
    special = ["<|begin|>", "<emb_token>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={token: n for n, token in enumerate([*special, *letters])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    first = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), first])
    return tokenizer


@pytest.mark.parametrize("tokenizer", [sentencepiece_tokenizer(), byte_level_tokenizer()], ids=["llama 2", "llama 3"])
def test_prompts_have_the_tokens_that_transformers_puts_before_a_text(tokenizer: Tokenizer) -> None:
    prompter = Prompter(tokenizer, SPEC)
    expected = [[*ids, prompter.emb_id] for ids in PreTrainedTokenizerFast(tokenizer_object=tokenizer)(TEXTS).input_ids]
    assert [prompt.ids for prompt in prompter.documents(TEXTS)] == expected
    assert [prompt.ids for prompt in prompter.queries(TEXTS, think=False)] == expected
    assert [[*prompt.ids, prompter.emb_id] for prompt in prompter.queries(TEXTS, think=True)] == expected


def test_the_specification_can_say_which_tokens_begin_a_prompt() -> None:
    tokenizer = byte_level_tokenizer()
    first = tokenizer.token_to_id("<|begin|>")
    [without] = Prompter(tokenizer, SPEC.with_overrides({"begin_tokens": []})).documents(["x"])
    [own] = Prompter(tokenizer, SPEC).documents(["x"])
    [named] = Prompter(tokenizer, SPEC.with_overrides({"begin_tokens": ["<|begin|>"]})).documents(["x"])
    [written] = Prompter(tokenizer, SPEC.with_overrides({"document_prompt": "<|begin|>{text}"})).documents(["x"])
    assert own.ids == named.ids == written.ids == [first, *without.ids]


def test_the_first_token_counts_towards_the_limit_and_a_long_text_loses_its_end() -> None:
    prompter = Prompter(sentencepiece_tokenizer(), SPEC.with_overrides({"max_document_tokens": 8}))
    [prompt] = prompter.documents(["abcdefghijkl"])
    assert len(prompt.ids) == 8
    assert prompt.ids[0] == prompter._begin_ids[0]
    assert prompt.dropped == 13 - 6


def test_a_chat_template_is_taken_as_it_renders(tmp_path: Path) -> None:
    """It has the first token itself, which must not come twice."""
    folder = save_checkpoint(tmp_path / "chat", spec=SPEC, vocab_size=300)
    sentencepiece_tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text("<bos>{% for m in messages %}{{ m.content }}{% endfor %}")
    messages = (Message(role="user", content="{text}"),)
    (folder / SPEC_FILE).write_text(SPEC.model_copy(update={"query_prompt": messages}).model_dump_json())
    prompter = Prompter.load(Checkpoint.load(folder))
    [query], [document] = prompter.queries(["a"], think=False), prompter.documents(["a"])
    assert query.ids == document.ids
    assert query.ids.count(prompter._begin_ids[0]) == 1


def test_fingerprints_change_only_where_vectors_do(tmp_path: Path) -> None:
    folders = {}
    for bos in ("<bos>", None):
        folders[bos] = save_checkpoint(tmp_path / str(bos), spec=SPEC, vocab_size=300)
        sentencepiece_tokenizer(bos).save(str(folders[bos] / "tokenizer.json"))
    with_token, without = (Checkpoint.load(folders[bos]) for bos in ("<bos>", None))
    assert (with_token.begin_tokens, without.begin_tokens) == (("<bos>",), ())
    none_first = Checkpoint.load(folders["<bos>"], overrides={"begin_tokens": []})
    assert none_first.fingerprint(role="document") != with_token.fingerprint(role="document")
    # As before the field existed: of the bundled model and of every model without such a token.
    assert Checkpoint.load("t1-mini").fingerprint(role="document") == "a674f324c9cfb91c"
    fields = without.spec.identity_fields("query")
    assert "begin_tokens" not in json.dumps(fields)


class Writer(FakeBackend):
    """A model that thinks the given tokens."""

    def __init__(self, ids: Sequence[int], emb_id: int) -> None:
        super().__init__(16, emb_id=emb_id)
        self._ids = list(ids)

    def think(
        self,
        prompts: Sequence[Sequence[int]],
        decoding: Decoding,
        *,
        on_tokens: OnTokens | None = None,
        **options: Any,
    ) -> list[Trajectory]:
        for token in self._ids if on_tokens else []:
            on_tokens(0, [token])  # type: ignore[misc]
        [trajectory] = super().think(prompts, decoding, **options)
        trajectory.ids[:] = self._ids
        return [trajectory]


@pytest.mark.parametrize(
    "thought",
    ["Peru", "caf\u00e9 in Oslo", "\U0001f999\U0001f999 a", "\u00e9", "a \u4f60\u597d b", "\u4f60\u597d"],
)
@pytest.mark.parametrize("missing_bytes", [0, 1])
def test_a_streamed_thought_never_breaks_on_bytes(thought: str, missing_bytes: int) -> None:
    """Also when the budget ends the thought within a character."""
    prompter = Prompter(sentencepiece_tokenizer(), SPEC)
    ids = prompter.encode([thought])[0].ids
    ids = ids[: len(ids) - missing_bytes]
    embedder = T1Embedder(prompter, Writer(ids, prompter.emb_id), identity(16))
    *pieces, embedding = embedder.stream_query("a question")
    assert isinstance(embedding, QueryEmbedding)
    [whole] = embedding.thoughts
    assert "".join(map(str, pieces)) == whole.text
    assert missing_bytes or whole.text == thought
    assert not any("\ufffd" in str(piece) for piece in pieces[:-1])


def test_a_byte_that_is_never_completed_is_shown_as_such() -> None:
    prompter = Prompter(sentencepiece_tokenizer(), SPEC)
    invalid = [prompter._plain.token_to_id("<0xE4>"), *prompter.encode(["Peru"])[0].ids]
    embedder = T1Embedder(prompter, Writer(invalid, prompter.emb_id), identity(16))
    *pieces, embedding = embedder.stream_query("a question")
    assert "".join(map(str, pieces)) == embedding.thoughts[0].text == "\ufffd Peru"  # type: ignore[union-attr]


def test_white_space_that_is_an_added_token_is_ordinary_text() -> None:
    """Gemma's tokenizers list line breaks and double spaces as added tokens that are not special."""
    definition = json.loads(sentencepiece_tokenizer().to_str())
    number = definition["model"]["vocab"]["\n"] = len(definition["model"]["vocab"])
    kinds = {"special": False, "normalized": False, "single_word": False, "lstrip": False, "rstrip": False}
    definition["added_tokens"].append({"id": number, "content": "\n", **kinds})
    prompter = Prompter(Tokenizer.from_str(json.dumps(definition)), SPEC)
    [prompt] = prompter.documents(["a\nb"])
    assert len(prompt.ids) == len(prompter.documents(["a"])[0].ids) + 2
    ids = prompter.thought_ids("a\nb")
    assert prompter.thought_text(ids) == "a\nb"
