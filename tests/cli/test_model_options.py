"""Flags of the model, such as ``--device`` and ``--backend``: what they pass to the model, and what they refuse."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from t1_vectorstore.backends.decoder.model import DecoderModel
from t1_vectorstore.cli import app
from t1_vectorstore.cli.options import ModelFlags
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.keyword_options import set_options
from t1_vectorstore.options import LoadingOptions, ModelOptions
from tests.backends.stub_vllm import stub_vllm

REMOTE = ["--backend", "remote", "--engine-option", "generate_url=http://127.0.0.1:9"]
EMBED = ["--engine-option", "embed_url=http://127.0.0.1:9"]
COMMANDS = [
    ["index", "corpus.jsonl", "--to", "idx"],
    ["search", "idx", "llamas"],
    ["verify", "corpus.jsonl", "--index", "idx", "--vectors", "1"],
    ["reindex", "idx", "--hybrid"],
    ["eval", "--labels", "labels.jsonl", "--index", "idx", "--systems", "no-thinking"],
    ["tune", "--labels", "labels.jsonl", "--index", "idx"],
]


@pytest.fixture
def loads(run: Any, corpus: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[ModelOptions]:
    """Create an index and judgements, and return a list that collects the options of every loaded model."""
    run("index", corpus(*({"id": f"{n}", "text": f"text {n}"} for n in range(20))), "--to", "idx")
    labels = [json.dumps({"query": f"text {n}", "positives": [f"{n}"]}) for n in range(20)]
    (folder / "labels.jsonl").write_text("\n".join(labels))
    given: list[ModelOptions] = []
    fake = T1Embedder.from_options

    def load(options: ModelOptions, *checkpoint: Any) -> T1Embedder:
        given.append(options)
        return fake(options, *checkpoint)

    monkeypatch.setattr(T1Embedder, "from_options", load)
    return given


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_every_command_passes_them_to_the_model(run: Any, loads: list[ModelOptions], command: list[str]) -> None:
    run(*command, "--backend", "vllm", "--engine-option", "max_model_len=512", "--engine-option", "tokenizer_mode=slow")
    on_a_cpu = ["--device", "cpu", "--dtype", "float32", "--batch-tokens", "512", "--threads", "2"]
    run(*(["reindex", "idx", "--no-hybrid"] if command[0] == "reindex" else command), *on_a_cpu)
    on_vllm, on_cpu = loads
    assert on_vllm.backend == "vllm"
    assert on_vllm.engine_options == {"max_model_len": 512, "tokenizer_mode": "slow"}
    assert not {"device", "dtype", "batch_tokens", "threads"} & on_vllm.model_fields_set
    assert (on_cpu.backend, on_cpu.engine_options, on_cpu.device) == ("transformers", None, "cpu")
    assert (on_cpu.dtype, on_cpu.batch_tokens, on_cpu.threads) == ("float32", 512, 2)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_every_command_closes_the_model(
    run: Any, loads: list[ModelOptions], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    closed: list[T1Embedder] = []
    monkeypatch.setattr(T1Embedder, "close", lambda self: closed.append(self))
    run(*command)
    assert len(closed) == len(loads) == 1


WRONG = [
    (["--device", "cuda:99"], "device 'cuda:99' is not on this machine"),
    (["--device", "cpu", "--device", "meta"], "device 'meta' is not on this machine"),
    (
        ["--backend", "llama.cpp"],
        "backend must be 'transformers', 'llama-cpp', 'vllm', 'remote' or 'service', got 'llama.cpp'",
    ),
    (["--dtype", "float8"], "dtype must be 'auto', 'float32', 'bfloat16' or 'float16', got 'float8'"),
    (["--batch-tokens", "0"], "batch_tokens must be greater than or equal to 1, got 0"),
    (["--threads", "-1"], "threads must be greater than or equal to 1, got -1"),
    (
        ["--threads", "99999"],
        f"threads must be at most {4 * (os.cpu_count() or 64)} on this machine",
    ),
    (
        ["--backend", "vllm", "--batch-tokens", "512"],
        "batch_tokens=512 is for backend='transformers'; 'vllm' has engine_options",
    ),
    ([*REMOTE, "--dtype", "float16"], "dtype='float16' is chosen where the servers are started"),
    (["--backend", "vllm", "--device", "cpu"], "device='cpu' is for backend='transformers'; 'vllm' has engine_options"),
    (["--engine-option", "max_model_len=512"], "are for the backends 'llama-cpp', 'vllm' and 'remote'"),
    (["--backend", "vllm", "--engine-option", "max_model_len"], "--engine-option 'max_model_len' is not of the form"),
    (["--backend", "vllm", "--engine-option", "a=1", "--engine-option", "a=2"], "a=... is given twice"),
    (REMOTE, "embed_url: Field required"),
    ([*REMOTE, "--engine-option", "embed_url=gpu-1"], "embed_url: String should match"),
    ([*REMOTE, "--engine-option", "embed_url=http://h", "--engine-option", "fingerprint=12"], "valid string (got 12)"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_wrong_values_are_refused_before_an_index_is_created(
    run: Any, folder: Path, corpus: Any, options: list[str], message: str
) -> None:
    refused = run("index", corpus({"id": "a", "text": "one"}), "--to", "idx", *options, code=2)
    assert message in refused.stderr
    assert not (folder / "idx").exists()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_every_command_refuses_wrong_values_before_loading(
    run: Any, loads: list[ModelOptions], command: list[str]
) -> None:
    assert "is not on this machine" in run(*command, "--device", "cuda:99", code=2).stderr
    assert not loads


def test_flags_that_place_a_model_are_refused_where_none_is_loaded(run: Any, loads: list[ModelOptions]) -> None:
    verified = run("verify", "corpus.jsonl", "--index", "idx", "--device", "cpu", code=2)
    assert "need --vectors" in verified.stderr
    for option in (["--backend", "vllm"], ["--batch-tokens", "512"]):
        assert "load no model" in run("reindex", "idx", "--rollback", *option, code=2).stderr
    assert not loads


def test_workers_on_ray_have_one_device_which_this_machine_may_lack(run: Any, corpus: Any) -> None:
    on_ray = ["index", corpus({"text": "one"}), "--to", "http://127.0.0.1:9", "--ray", "local"]
    assert "a worker has one device" in run(*on_ray, "--device", "cuda:0", "--device", "cuda:1", code=2).stderr
    options = ModelFlags(device=["cuda:99"], threads=99_999).parse(here=False)
    assert set_options(options, LoadingOptions) == {"device": "cuda:99", "threads": 99_999, "truncation": "allow"}


def test_error_about_engine_options_does_not_show_a_key(run: Any, corpus: Any) -> None:
    command = ["index", corpus({"text": "one"}), "--to", "idx", *REMOTE, "--engine-option", "api_key=secret"]
    assert "secret" not in run(*command, code=2).output


@pytest.mark.parametrize("key", [["--api-key", "secret"], ["--api-key=secret"], ["--engine-option", "api_key=secret"]])
def test_report_does_not_show_a_key(
    run: Any, loads: list[ModelOptions], monkeypatch: pytest.MonkeyPatch, key: list[str]
) -> None:
    command = [*COMMANDS[4], "--report", "report.html"]
    monkeypatch.setattr(sys, "argv", ["t1", *command, *key])
    run(*command)
    report = Path("report.html").read_text()
    assert "t1 eval --labels" in report
    assert "secret" not in report


@pytest.mark.parametrize("command", [["search", "idx", "llamas", "--refine-steps"], [*COMMANDS[4][:-1], "rt"]], ids=str)
def test_impossible_refine_steps_are_refused_before_loading_a_model(
    run: Any, loads: list[ModelOptions], command: list[str]
) -> None:
    def command_with(steps: int) -> list[str]:
        return [*command, f"{steps}"] if command[0] == "search" else [*command[:-1], f"rt:{steps}"]

    run(*command_with(2))
    assert loads.pop().backend == "transformers"
    refused = [run(*command_with(2), *options, code=2).stderr for options in (["--backend", "vllm"], [*REMOTE, *EMBED])]
    assert all("refine_steps=2 feeds hidden states back" in each for each in refused)
    assert "refine_steps must be less than or equal to 64, got 65" in run(*command_with(65), code=2).stderr
    assert loads == []


@pytest.mark.process
def test_t1_mini_on_named_devices(folder: Path, corpus: Any) -> None:
    """With the real model; the processes of two devices are ended, otherwise the command would hang."""
    source = corpus({"id": "a", "text": "Llamas live in the Andes."}, {"id": "b", "text": "Snow is white."})
    for command in (
        ["index", source, "--to", "idx", "--device", "cpu", "--device", "cpu"],
        ["verify", source, "--index", "idx", "--vectors", "2", "--device", "cpu"],
        ["search", "idx", "llamas", "--budget", "8", "--device", "cpu"],
    ):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    assert "Llamas live" in result.stdout


def test_t1_mini_with_dtype_batch_tokens_and_threads(
    folder: Path, corpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real model, whose forward passes are recorded."""
    source = corpus({"id": "a", "text": "Llamas live in the Andes."}, {"id": "b", "text": "Snow is white."})
    passes: list[tuple[int, torch.dtype, int]] = []
    encode = DecoderModel.encode

    def recorded(self: DecoderModel, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        passes.append((len(sequences), self.decoder.dtype, torch.get_num_threads()))
        return encode(self, sequences)

    monkeypatch.setattr(DecoderModel, "encode", recorded)
    for command, flags in (
        (["index", source, "--to", "usual"], []),
        (["index", source, "--to", "idx"], ["--dtype", "float16", "--batch-tokens", "8", "--threads", "2"]),
        (["search", "idx", "llamas", "--no-think"], ["--dtype", "float32", "--threads", "2"]),
    ):
        result = CliRunner().invoke(app, [*command, *flags])
        assert result.exit_code == 0, result.output
    assert "Llamas live" in result.stdout
    usual, *small, query = passes
    assert (usual[0], usual[2]) == (2, 1)
    assert small == [(1, torch.float16, 2)] * 2
    assert query == (1, torch.float32, 2)


def test_unreachable_remote_servers_are_named(folder: Path, corpus: Any) -> None:
    urls = [*REMOTE, "--engine-option", "embed_url=http://127.0.0.1:9", "--engine-option", "attempts=1"]
    result = CliRunner().invoke(app, ["index", corpus({"id": "a", "text": "one"}), "--to", "idx", *urls])
    assert result.exit_code == 1
    assert "http://127.0.0.1:9" in result.output


def test_remote_backend_needs_no_local_weights(tiny: Path, folder: Path, corpus: Any) -> None:
    """With the fingerprint of the servers' model; another fingerprint is another model."""
    source = corpus({"id": "a", "text": "Llamas live in the Andes."})
    light = shutil.copytree(tiny, folder / "light")
    (light / "model.safetensors").unlink()
    local = T1Embedder.load(tiny, dtype="float32")
    made = CliRunner().invoke(app, ["index", source, "--to", "idx", "--model", str(tiny)])
    assert made.exit_code == 0, made.output
    with stub_vllm(local) as stub:
        options = ["--backend", "remote", "--model", str(light)]
        options += ["--engine-option", f"generate_url={stub.url}", "--engine-option", f"embed_url={stub.url}"]
        search = ["search", "idx", "llamas", "--budget", "4", *options, "--engine-option"]
        found = CliRunner().invoke(app, [*search, f'fingerprint="{local.identity.fingerprint}"'])
        assert found.exit_code == 0, found.output
        assert "Llamas live" in found.stdout
        assert any("max_tokens" in asked for _, asked in stub.requests)
        other = CliRunner().invoke(app, [*search, f'fingerprint="{"0" * 16}"'])
        assert other.exit_code == 1
        assert "holds vectors of" in other.output
