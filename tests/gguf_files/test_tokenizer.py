"""The tokenizer of a GGUF file gives the tokens of the original one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from t1_vectorstore.backends.fake import byte_tokenizer
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.checkpoints.gguf import GGUFFile
from t1_vectorstore.checkpoints.gguf_tokenizer import TOKENIZER_JSON, TokenType
from t1_vectorstore.checkpoints.spec import Message
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.errors import CheckpointError
from t1_vectorstore.export.tokenizers import tokenizer_fields
from tests.gguf_files.files import TEXTS, random_texts, vocabulary_fields, write_gguf
from tests.gguf_files.tokenizers_of_families import BYTE_LEVEL, SPECIAL, byte_level, sentencepiece

HARD = [*TEXTS, *random_texts(400)]


def rebuilt(folder: Path, fields: dict[str, Any], **options: Any) -> Tokenizer:
    return GGUFFile.read(write_gguf(folder / "model.gguf", fields, rows=2000, **options)).tokenizer


def assert_same(built: Tokenizer, original: Tokenizer) -> None:
    for text in HARD:
        ids = original.encode(text, add_special_tokens=False).ids
        assert built.encode(text, add_special_tokens=False).ids == ids, text
        assert built.decode(ids, skip_special_tokens=False) == original.decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize("name", BYTE_LEVEL)
def test_byte_level(name: str, tmp_path: Path) -> None:
    original, fields = byte_level(name)
    assert_same(rebuilt(tmp_path, fields), original)


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece(prefix: bool, tmp_path: Path) -> None:
    original, fields = sentencepiece(prefix=prefix)
    built = rebuilt(tmp_path, fields, architecture="llama")
    for text in HARD:
        assert built.encode(text).ids == original.encode(text).ids, text


def test_a_stored_tokenizer_is_taken_as_it_is(tmp_path: Path) -> None:
    original = byte_tokenizer()
    built = rebuilt(tmp_path, {TOKENIZER_JSON: original.to_str(), "tokenizer.ggml.model": "none"})
    assert built.to_str() == original.to_str()


def test_special_tokens_in_a_text_stay_text(tmp_path: Path) -> None:
    original, fields = byte_level("qwen2")
    file = write_gguf(tmp_path / "model.gguf", fields, rows=2000)
    prompter = Prompter.load(Checkpoint.load(file))
    [prompt] = prompter.documents(["".join(SPECIAL)])
    special = {original.token_to_id(token) for token in SPECIAL}
    assert special & set(prompt.ids) == {prompter.emb_id}
    assert prompt.ids[-1] == prompter.emb_id
    assert special.isdisjoint(prompt.ids[:-1])


@pytest.mark.parametrize(
    ("pre", "given", "begins"),
    [("llama-bpe", None, True), ("llama-bpe", False, False), ("qwen2", None, False), ("qwen2", True, True)],
)
def test_the_bos_token_begins_a_text_as_in_llama_cpp(
    pre: str, given: bool | None, begins: bool, tmp_path: Path
) -> None:
    original, fields = byte_level(pre)
    bos = original.token_to_id(SPECIAL[0])
    built = rebuilt(tmp_path, fields | {"tokenizer.ggml.add_bos_token": given, "tokenizer.ggml.bos_token_id": bos})
    ids = built.encode("a text").ids
    assert ids == [bos] * begins + original.encode("a text").ids


def test_transformers_reads_the_same_tokens(tmp_path: Path) -> None:
    original, fields = byte_level("qwen2")
    reference = PreTrainedTokenizerFast(tokenizer_object=original)
    built = rebuilt(tmp_path, fields)
    for text in HARD:
        assert built.encode(text, add_special_tokens=False).ids == reference(text).input_ids


REFUSED = {
    "an unknown kind": (vocabulary_fields(["a"], model="rwkv"), "it is of the kind 'rwkv'"),
    "WordPiece": (vocabulary_fields(["a"], model="bert"), "it is of the kind 'bert'"),
    "Unigram": (vocabulary_fields(["a"], model="t5", scores=[0.0]), "it is of the kind 't5'"),
    "an unknown pre-tokenizer": (vocabulary_fields(["a"], pre="kimi-k2"), "pre-tokenizer is 'kimi-k2'"),
    "no pre-tokenizer": (vocabulary_fields(["a"]), "pre-tokenizer is None"),
    "no tokens": ({"tokenizer.ggml.model": "gpt2"}, "it has no vocabulary"),
    "no scores": (vocabulary_fields(["a"], model="llama"), "it has no scores"),
    "normalisation": (
        vocabulary_fields(["a"], model="llama", scores=[0.0], remove_extra_whitespaces=True),
        "it normalises texts",
    ),
    "tokens twice": (vocabulary_fields(["a", "a"], pre="qwen2"), "it has 2 tokens, 1 of them different"),
    "merges of unknown tokens": (
        vocabulary_fields(["a"], pre="qwen2", merges=["a b"]),
        "it merges 'a b', which are not",
    ),
    "a BOS token outside the vocabulary": (
        vocabulary_fields(["a"], pre="qwen2", add_bos_token=True, bos_token_id=7),
        "begins texts with a BOS token, but its id is 7",
    ),
    "a damaged tokenizer.json": ({TOKENIZER_JSON: "{"}, "is damaged: "),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_rebuilt_is_refused(kind: str, tmp_path: Path) -> None:
    fields, message = REFUSED[kind]
    with pytest.raises(CheckpointError, match=message):
        rebuilt(tmp_path, fields)


def test_gemma_without_its_own_tokenizer_is_refused(tmp_path: Path) -> None:
    _, fields = sentencepiece(prefix=False)
    with pytest.raises(CheckpointError, match="Gemma's scores"):
        rebuilt(tmp_path, fields, architecture="gemma3")


def test_more_tokens_than_embeddings(tmp_path: Path) -> None:
    _, fields = byte_level("qwen2")
    with pytest.raises(CheckpointError, match="has the token 902, but its model has only 100 embeddings"):
        _ = GGUFFile.read(write_gguf(tmp_path / "model.gguf", fields, rows=100)).tokenizer


@pytest.mark.parametrize("kind", [None, TokenType.NORMAL])
def test_a_file_without_the_emb_token(kind: TokenType | None, tmp_path: Path) -> None:
    """The token is missing, or is one that a text could contain."""
    _, fields = byte_level("qwen2")
    types, tokens = fields["tokenizer.ggml.token_type"], fields["tokenizer.ggml.tokens"]
    at = tokens.index("<emb_token>")
    if kind is None:
        tokens[at] = "<other>"
    else:
        types[at] = int(kind)
    with pytest.raises(CheckpointError, match="the tokenizer has no token '<emb_token>' \\(it would be split into"):
        Prompter.load(Checkpoint.load(write_gguf(tmp_path / "model.gguf", fields, rows=2000)))


def test_a_chat_template_has_its_tokens_also_where_llama_cpp_has_no_such_tokenizer(tmp_path: Path) -> None:
    """As with Gemma's tokenizers, whose white space is split beforehand."""
    original, _ = sentencepiece(prefix=True)
    original.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    fields = tokenizer_fields(original, 2000, {"bos_token": "<s>"}, ())
    assert fields["tokenizer.ggml.model"] == "none"
    template = {"tokenizer.chat_template": "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"}
    file = write_gguf(tmp_path / "model.gguf", fields | template, rows=2000, architecture="llama")
    chat = Checkpoint.load(file).chat_template
    assert chat is not None
    assert chat.render([Message(role="user", content="x")]) == "<s>x"
