"""Write a checkpoint folder as a GGUF file, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter, LlamaFileType
from gguf.quants import quantize

from t1_vectorstore.checkpoints.chat_template import read_json_object
from t1_vectorstore.checkpoints.checkpoint import Checkpoint, begin_tokens
from t1_vectorstore.checkpoints.folder import CheckpointFolder
from t1_vectorstore.checkpoints.gguf import SPEC_KEY
from t1_vectorstore.checkpoints.stored_tensors import NUMBER_TYPES as STORED_TYPES
from t1_vectorstore.checkpoints.stored_tensors import StoredTensor, read_tensors
from t1_vectorstore.errors import CheckpointError
from t1_vectorstore.export.families import Conversion
from t1_vectorstore.export.tokenizers import tokenizer_fields

NUMBER_TYPES: Mapping[str, tuple[GGMLQuantizationType, LlamaFileType]] = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
}
"""Number types of the matrices; vectors, such as the weights of norms, are always float32."""

_LARGEST_HALF = 65_504.0


def lossless_type(checkpoint: Checkpoint) -> str:
    """Return the number type that holds all of a checkpoint's weights as they are: ``f32``, ``f16`` or ``bf16``."""
    kinds = {STORED_TYPES[tensor.kind][1] for tensor in _stored_tensors(checkpoint.path)}
    return kinds.pop() if len(kinds) == 1 else "f32"


def write_gguf(checkpoint: Checkpoint, out: Path, kind: str) -> None:
    """Write a checkpoint as a GGUF file: weights, tokenizer, chat template and specification.

    Args:
        checkpoint: A checkpoint in a folder.
        out: File to write.
        kind: Number type of the matrices, one of ``NUMBER_TYPES``.

    Raises:
        CheckpointError: Something in the checkpoint that is not exported, or cannot be read.
    """
    assert isinstance(checkpoint.files, CheckpointFolder)
    conversion = Conversion(checkpoint.config)
    tensors = _named_tensors(checkpoint, conversion)
    number_type, file_type = NUMBER_TYPES[kind]
    fields: dict[str, Any] = {
        "general.type": "model",
        "general.name": Path(checkpoint.name).name,
        "general.file_type": int(file_type),
        SPEC_KEY: checkpoint.spec.model_dump_json(),
        **{f"{conversion.architecture}.{key}": value for key, value in conversion.fields.items() if value is not None},
        **_texts_fields(checkpoint, conversion.fields["vocab_size"]),
    }
    with closing(GGUFWriter(out, conversion.architecture)) as writer:
        for key, value in fields.items():
            _add_field(writer, key, value)

        # 1. The header has all names, shapes and types. Nothing is read yet.
        for name, tensor in tensors.items():
            own = number_type if len(tensor.shape) > 1 else GGMLQuantizationType.F32
            count = int(np.prod(tensor.shape))
            size = count * (4 if own == GGMLQuantizationType.F32 else 2)
            writer.add_tensor_info(name, tensor.shape, np.dtype(np.float32), size, raw_dtype=own)
        for name, extra in conversion.extra.items():
            writer.add_tensor_info(name, extra.shape, extra.dtype, extra.nbytes)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        # 2. One tensor at a time is in memory.
        for tensor in tensors.values():
            converted = conversion.convert(tensor.name, tensor.read())
            own = number_type if converted.ndim > 1 else GGMLQuantizationType.F32
            if own == GGMLQuantizationType.F16 and float(np.abs(converted).max()) > _LARGEST_HALF:
                raise CheckpointError(
                    f"{tensor.name} has values above {_LARGEST_HALF:,.0f}, the largest of f16: take bf16"
                )
            writer.write_tensor_data(quantize(converted, own))
        for extra in conversion.extra.values():
            writer.write_tensor_data(extra)


def _texts_fields(checkpoint: Checkpoint, rows: int) -> dict[str, Any]:
    """Return the metadata of tokenizer and chat template."""
    file = checkpoint.path / "tokenizer_config.json"
    chat = checkpoint.chat_template
    special = {} if chat is None else dict(chat.special_tokens)
    if chat is None and file.is_file():
        given = {name: value for name, value in read_json_object(file).items() if name.endswith("_token")}
        special = {name: value for name, value in given.items() if isinstance(value, str)}
    fields = tokenizer_fields(checkpoint.tokenizer, rows, special, begin_tokens(checkpoint.tokenizer))
    return fields if chat is None else {**fields, "tokenizer.chat_template": chat.source}


def _named_tensors(checkpoint: Checkpoint, conversion: Conversion) -> dict[str, StoredTensor]:
    """Return the tensors that are written, by llama.cpp's names.

    Raises:
        CheckpointError: Tensors that llama.cpp does not know, or embeddings that are missing or of another size.
    """
    stored = list(_stored_tensors(checkpoint.path))
    bare = not any(tensor.name.startswith("model.") for tensor in stored)  # saved without its language model head
    named: dict[str, StoredTensor] = {}
    for tensor in stored:
        name = conversion.name(f"model.{tensor.name}" if bare and tensor.name != "lm_head.weight" else tensor.name)
        if name is not None:
            named[name] = tensor
    wanted = ["token_embd.weight", "output_norm.weight"]
    wanted += ["output.weight"] * (not conversion.tied and checkpoint.spec.thinks)
    if missing := [name for name in wanted if name not in named]:
        raise CheckpointError(f"{checkpoint.path} lacks weights: llama.cpp's {missing[0]}")
    rows, asked = named["token_embd.weight"].shape[0], conversion.fields["vocab_size"]
    if rows != asked:
        raise CheckpointError(f"{checkpoint.path} has {rows} embeddings, but config.json asks for {asked}")
    return named


def _stored_tensors(folder: Path) -> Iterator[StoredTensor]:
    for file in sorted(folder.glob("*.safetensors")):
        yield from read_tensors(file)


def _add_field(writer: GGUFWriter, key: str, value: Any) -> None:  # noqa: ANN401 - any metadata
    kinds = {bool: GGUFValueType.BOOL, int: GGUFValueType.UINT32, float: GGUFValueType.FLOAT32}
    kinds |= {str: GGUFValueType.STRING, list: GGUFValueType.ARRAY}
    writer.add_key_value(key, value, kinds[type(value)])
