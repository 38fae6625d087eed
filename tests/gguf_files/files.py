"""Write small GGUF files with the format's own package, and texts that tokenizers disagree about."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFEndian, GGUFWriter

from t1_vectorstore.backends.fake import SPEC
from t1_vectorstore.checkpoints.gguf import SPEC_KEY
from t1_vectorstore.checkpoints.gguf_tokenizer import TokenType

ALPHABETS = "aAbBzZ '’ſ\n\r\t.,!?-_/0123456789½٣Ⅻéßñ́ड़िक्षعربيไทย漢字かなカナ한글🙂👩‍👩‍👧\u00a0\u2009\u3000\ufeff<|>[]{}"
TEXTS = (
    "Llamas live in Peru, don't they? I'LL say: THEY'RE there.",
    "  two spaces,\ttab,\n\n new lines \r\n\r\n and an end  ",
    "12345 67 8.90 ½ ٣٤ Ⅻ 1,000,000",
    "naïve café (NFC), nai\u0308ve cafe\u0301 (NFD), ﬁne ﬀ K Å",
    "हिन्दी में क्षत्रिय, ไทย, 한국어, 漢字かな交じり文、です。",
    "العربية ١٢٣ עברית",
    "👩‍👩‍👧‍👦 🙂🏽 🇵🇪 ❤️",
    "def f(x):\n    return x**2  # a comment\n\n\n\tif x: pass",
    "<|im_start|>user <emb_token> </s> <unk> <s> <0x0A> ▁ Ġ",
    "a\u00a0b\u2009c\u3000d\ufeffe\u200bf",
    "'s 't 'Re 'VE 'ſ x'ſ ''s",
    "x" * 300 + " " * 40 + "!" * 50 + "\n" * 10,
)


def random_texts(count: int, seed: int = 0) -> list[str]:
    """Texts of random characters that pre-tokenizers treat differently."""
    choice = random.Random(seed)
    return ["".join(choice.choices(ALPHABETS, k=choice.randint(1, 40))) for _ in range(count)]


def vocabulary_fields(
    tokens: Sequence[str], types: Sequence[TokenType] | None = None, *, model: str = "gpt2", **fields: Any
) -> dict[str, Any]:
    """The metadata of a tokenizer; by default all its tokens are normal."""
    given = {"model": model, "tokens": list(tokens), "token_type": [*map(int, types or [1] * len(tokens))], **fields}
    return {f"tokenizer.ggml.{name}": value for name, value in given.items()}


def write_gguf(
    file: Path,
    fields: Mapping[str, Any] | None = None,
    *,
    architecture: str = "qwen3",
    rows: int = 300,
    hidden: int = 64,
    spec: str | None = SPEC.model_dump_json(),
    big_endian: bool = False,
) -> Path:
    """Write a file with an embedding matrix, and the metadata that a checkpoint needs.

    Args:
        file: File to write.
        fields: More metadata; ``None`` removes a field.
        architecture: Model family, as llama.cpp names it.
        rows: Number of rows of the embedding matrix.
        hidden: Its width.
        spec: The specification in the file.
        big_endian: Whether to write it for a big-endian machine.
    """
    writer = GGUFWriter(file, architecture, endianess=GGUFEndian.BIG if big_endian else GGUFEndian.LITTLE)
    shape = {"block_count": 2, "embedding_length": hidden, "context_length": 2048}
    known: dict[str, Any] = {f"{architecture}.{name}": value for name, value in shape.items()}
    known |= {SPEC_KEY: spec} | dict(fields or {})
    for key, value in known.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif value is not None:
            writer.add_array(key, value)
    weights = np.random.default_rng(0).normal(size=(rows, hidden)).astype(np.float32)
    writer.add_tensor("token_embd.weight", weights)
    writer.add_tensor("output_norm.weight", np.ones(hidden, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
