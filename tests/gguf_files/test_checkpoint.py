"""A GGUF file as a checkpoint: what is read, how it is identified, and which files are refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from gguf import GGML_QUANT_SIZES, GGUFReader

from t1_vectorstore.backends.fake import SPEC, byte_tokenizer
from t1_vectorstore.checkpoints import checkpoint as checkpoints
from t1_vectorstore.checkpoints.checkpoint import SPEC_FILE, Checkpoint
from t1_vectorstore.checkpoints.gguf_format import _TYPES, GGUFHeader
from t1_vectorstore.checkpoints.gguf_tokenizer import TOKENIZER_JSON
from t1_vectorstore.checkpoints.spec import Message
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.embedding.thinking import check_limits
from t1_vectorstore.errors import CheckpointError
from tests.gguf_files.files import write_gguf
from tests.gguf_files.tokenizers_of_families import byte_level

FIELDS = {TOKENIZER_JSON: byte_tokenizer().to_str()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "model.gguf", FIELDS)


def test_the_reader_reads_what_the_formats_own_package_reads(file: Path) -> None:
    header, reference = GGUFHeader.read(file), GGUFReader(file)
    own = {key for key in reference.fields if not key.startswith("GGUF.")}
    assert set(header.metadata) == own
    assert all(header.metadata[key] == reference.fields[key].contents() for key in own)
    expected = [
        (t.name, tuple(map(int, t.shape)), t.tensor_type.name, t.data_offset, t.n_bytes) for t in reference.tensors
    ]
    assert [(t.name, t.shape, t.kind, t.start, t.end - t.start) for t in header.tensors] == expected


def test_the_table_of_tensor_types_is_the_formats_own() -> None:
    assert {kind.value: (kind.name, *size) for kind, size in GGML_QUANT_SIZES.items()} == dict(_TYPES)


def test_a_checkpoint_is_complete(file: Path) -> None:
    checkpoint = Checkpoint.load(file)
    assert (checkpoint.hidden_size, checkpoint.layers, checkpoint.max_positions, checkpoint.dimension) == (
        64,
        2,
        2048,
        64,
    )
    assert checkpoint.spec == SPEC
    assert checkpoint.path == file
    assert checkpoint.chat_template is None
    assert Prompter.load(checkpoint).documents(["abc"])[0].ids[-1] == 4


def test_the_chat_template_is_read_with_its_tokens(tmp_path: Path) -> None:
    _, fields = byte_level("qwen2")
    template = "{{ bos_token }}{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}"
    tokens = {"tokenizer.ggml.bos_token_id": 900, "tokenizer.ggml.eos_token_id": 901}
    spec = SPEC.with_overrides({"query_prompt": [Message(role="user", content="{text}")]})
    given = fields | tokens | {"tokenizer.chat_template": template}
    file = write_gguf(tmp_path / "model.gguf", given, rows=2000, spec=spec.model_dump_json())
    checkpoint = Checkpoint.load(file)
    assert checkpoint.chat_template is not None
    assert checkpoint.chat_template.render([Message(role="user", content="x")]) == "<|im_start|>x<|im_end|>"
    [prompt] = Prompter.load(checkpoint).queries(["x"], think=True)
    assert (prompt.ids[0], prompt.ids[-1]) == (900, 901)


def test_the_specification_is_in_the_file_or_beside_it_or_a_preset(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "model.gguf", FIELDS, spec=None)
    with pytest.raises(CheckpointError, match=r"model.gguf has no t1_config.json beside it, so its prompts"):
        Checkpoint.load(file)
    beside = SPEC.with_overrides({"query_prompt": "beside {text}"})
    (tmp_path / SPEC_FILE).write_text(beside.model_dump_json(), encoding="utf-8")
    assert Checkpoint.load(file).spec == beside
    assert Checkpoint.load(write_gguf(tmp_path / "own.gguf", FIELDS)).spec == SPEC
    preset = "Qwen/Qwen3-Embedding-0.6B"
    assert Checkpoint.load(file, preset=preset).spec.emb_token == "<|endoftext|>"
    with pytest.raises(CheckpointError, match=r"t1.config in .*bad.gguf is not a specification: there is no field 'x'"):
        Checkpoint.load(write_gguf(tmp_path / "bad.gguf", FIELDS, spec='{"x": 1}'))


def test_a_file_on_the_hub_is_named_after_its_repository(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def snapshot_download(repository: str, **options: object) -> str:
        asked.append((repository, options["revision"], options["allow_patterns"]))
        return str(file.parent)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert Checkpoint.load("owner/name:model.gguf", revision="main").path == file
    assert asked == [("owner/name", "main", ["model.gguf", SPEC_FILE])]
    with pytest.raises(CheckpointError, match=r"the hub's owner/name has no file 'other/q8_0.gguf'"):
        Checkpoint.load("owner/name:other/q8_0.gguf")
    assert asked[1][2] == ["other/q8_0.gguf", f"other/{SPEC_FILE}"]
    for name in ("missing.gguf", "/tmp/missing.gguf", "owner/name.gguf"):
        with pytest.raises(
            CheckpointError, match=f"there is no file '{name}'; a file on the hub is written owner/name:"
        ):
            Checkpoint.load(name)


def test_the_fingerprint_changes_with_the_vectors_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fingerprint(name: str = "other.gguf", **fields: object) -> str:
        file = write_gguf(tmp_path / name, FIELDS | {key.replace("__", "."): value for key, value in fields.items()})
        return Checkpoint.load(file).fingerprint(role="document")

    for whole in (2**30, 0):  # hashed as a whole, and in samples
        monkeypatch.setattr("t1_vectorstore.checkpoints.gguf.WHOLE", whole)
        plain = fingerprint("model.gguf")
        assert fingerprint(general__name="x", tokenizer__chat_template="{{ x }}", general__file_type=3) == plain
        other_query = SPEC.with_overrides({"query_prompt": "q {text}"}).model_dump_json()
        assert fingerprint(t1__config=other_query) == plain
        other_document = SPEC.with_overrides({"document_prompt": "d {text}"}).model_dump_json()
        changed = {fingerprint(t1__config=other_document), fingerprint(qwen3__rope__freq_base=5.0)}
        changed.add(fingerprint(**{TOKENIZER_JSON.replace(".", "__"): FIELDS[TOKENIZER_JSON] + " "}))
        for tensor in GGUFHeader.read(tmp_path / "model.gguf").tensors:
            data = bytearray((tmp_path / "model.gguf").read_bytes())
            data[tensor.end - 1] ^= 1
            (tmp_path / "bit.gguf").write_bytes(data)
            changed.add(Checkpoint.load(tmp_path / "bit.gguf").fingerprint(role="document"))
        assert len(changed | {plain}) == 6


def test_a_context_longer_than_trained_is_refused(tmp_path: Path) -> None:
    checkpoint = Checkpoint.load(write_gguf(tmp_path / "model.gguf", FIELDS | {"qwen3.context_length": 100}))
    with pytest.raises(CheckpointError, match="accepts only 100 tokens"):
        check_limits(checkpoint, checkpoint.max_positions)


@pytest.mark.parametrize("change", [lambda file: os.utime(file, ns=(0, 0)), Path.unlink])
def test_a_file_that_changes_is_noticed(file: Path, change: Callable[[Path], None]) -> None:
    checkpoint = Checkpoint.load(file)
    change(file)
    with pytest.raises(CheckpointError, match=r"was changed while it was in use|cannot be read"):
        checkpoint.fingerprint(role="document")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(kept: float, file: Path) -> None:
    data = file.read_bytes()
    for end in (int(kept * len(data)), 4, 20):
        file.write_bytes(data[:end])
        with pytest.raises(CheckpointError, match="is truncated or damaged: its"):
            Checkpoint.load(file)


def test_an_impossible_length_is_refused_without_reading_it(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[24:32] = (2**60).to_bytes(8, "little")  # the length of the first key
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="its header does not end within"):
        Checkpoint.load(file)


@pytest.mark.parametrize(
    ("version", "message"),
    [(1, "version 1 of the GGUF format, .* t1 export gguf"), (4, "version 4 .* update t1-vectorstore and llama.cpp")],
)
def test_other_versions_of_the_format_are_refused(version: int, message: str, file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[4:8] = version.to_bytes(4, "little")
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match=message):
        Checkpoint.load(file)


def test_a_tensor_type_of_the_future_is_refused(file: Path) -> None:
    data = file.read_bytes()
    name = b"output_norm.weight"
    at = data.index(name) + len(name) + 4 + 8  # after the number of dimensions and the one dimension
    file.write_bytes(data[:at] + (99).to_bytes(4, "little") + data[at + 4 :])
    with pytest.raises(CheckpointError, match=r"'output_norm.weight' of the type 99, which this version"):
        Checkpoint.load(file)


def test_a_big_endian_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a big-endian GGUF file"):
        Checkpoint.load(write_gguf(tmp_path / "model.gguf", FIELDS, big_endian=True))


def test_a_file_that_is_something_else_is_refused(file: Path) -> None:
    file.write_bytes(b"PK\3\4 and more")
    with pytest.raises(CheckpointError, match="is not a GGUF file"):
        Checkpoint.load(file)


NO_MODELS = {
    "a part of a model": ({"split.count": 3}, "is one of 3 parts of a model"),
    "a LoRA adapter": ({"general.type": "adapter"}, "its general.type is 'adapter'"),
    "an encoder": ({"general.architecture": "bert"}, "the architecture 'bert', which does not generate text"),
    "a model that sees later tokens": ({"qwen3.attention.causal": False}, "does not generate text from left to right"),
    "no sizes": ({"qwen3.embedding_length": None}, "has no qwen3.embedding_length"),
}


@pytest.mark.parametrize("kind", NO_MODELS)
def test_what_is_no_language_model_is_refused(kind: str, tmp_path: Path) -> None:
    fields, message = NO_MODELS[kind]
    architecture = fields.pop("general.architecture", "qwen3") if kind == "an encoder" else "qwen3"
    file = write_gguf(tmp_path / "model.gguf", FIELDS | fields, architecture=str(architecture))
    with pytest.raises(CheckpointError, match=message):
        _ = Checkpoint.load(file).dimension


def test_a_file_with_only_a_vocabulary_is_refused(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data.replace(b"token_embd.weight", b"other_embd.weight"))
    with pytest.raises(CheckpointError, match=r"token_embd.weight is missing"):
        Checkpoint.load(file)


def test_a_folder_may_be_named_like_a_file(tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoints.BUNDLED / "t1-mini", tmp_path / "folder.gguf")
    assert Checkpoint.load(folder).dimension == Checkpoint.load("t1-mini").dimension


@pytest.mark.process
def test_reading_imports_nothing_heavy(tmp_path: Path) -> None:
    _, fields = byte_level("qwen2")
    spec = SPEC.with_overrides({"query_prompt": [{"role": "user", "content": "{text}"}]}).model_dump_json()
    template = {"tokenizer.chat_template": "{% for message in messages %}{{ message.content }}{% endfor %}"}
    file = write_gguf(tmp_path / "model.gguf", fields | template, rows=2000, spec=spec)
    code = (
        "import json, sys\nfrom t1_vectorstore.checkpoints.checkpoint import Checkpoint\n"
        "from t1_vectorstore.embedding.prompts import Prompter\n"
        f"checkpoint = Checkpoint.load({str(file)!r})\nPrompter.load(checkpoint).queries(['x'], think=True)\n"
        "checkpoint.identity\nprint(json.dumps([*sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "gguf", "llama_cpp"} & set(json.loads(done.stdout))
