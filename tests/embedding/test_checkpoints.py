"""Checkpoints: fingerprints, specifications and presets, and errors for unusable ones."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from t1_vectorstore import CheckpointSpec, T1Embedder
from t1_vectorstore.checkpoints.checkpoint import SPEC_FILE, Checkpoint
from t1_vectorstore.checkpoints.presets import PRESETS
from t1_vectorstore.checkpoints.spec import Decoding
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.errors import CheckpointError
from t1_vectorstore.options import ModelOptions


def test_the_document_fingerprint_covers_whatever_affects_document_vectors(tiny: Path, tmp_path: Path) -> None:
    plain = Checkpoint.load(tiny)
    assert plain.fingerprint(role="document") == Checkpoint.load(tiny).fingerprint(role="document")
    for overrides in [
        {"document_prompt": "<document>passage: {text}"},
        {"document_instruction": "represent"},
        {"pooling_layer": -2},
        {"normalize": False},
        {"truncate_dim": 32},
        {"max_document_tokens": 100},
    ]:
        other = Checkpoint.load(tiny, overrides=overrides)
        assert other.fingerprint(role="document") != plain.fingerprint(role="document"), overrides
        assert other.fingerprint(role="query") != plain.fingerprint(role="query"), overrides
    for overrides in [{"query_prompt": "<query>why {text}<think>"}, {"decoding": {"max_tokens": 3}}]:
        other = Checkpoint.load(tiny, overrides=overrides)
        assert other.fingerprint(role="document") == plain.fingerprint(role="document"), overrides
        assert other.fingerprint(role="query") != plain.fingerprint(role="query"), overrides
    copy = shutil.copytree(tiny, tmp_path / "copy")
    assert Checkpoint.load(copy).fingerprint(role="document") == plain.fingerprint(role="document")
    weights = load_file(copy / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert Checkpoint.load(copy).fingerprint(role="document") != plain.fingerprint(role="document")


def test_large_weights_are_sampled(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("t1_vectorstore.checkpoints.fingerprint.WHOLE", 100_000)
    monkeypatch.setattr("t1_vectorstore.checkpoints.fingerprint._BLOCK", 256)
    sampled = Checkpoint.load(tiny).fingerprint(role="document")
    assert sampled == Checkpoint.load(tiny).fingerprint(role="document")
    weights = load_file(tiny / "model.safetensors")
    for name in weights:  # a change to any tensor changes the fingerprint, even to the smallest norm
        copy = shutil.copytree(tiny, tmp_path / name)
        save_file({**weights, name: weights[name] + 1}, copy / "model.safetensors", metadata={"format": "pt"})
        assert Checkpoint.load(copy).fingerprint(role="document") != sampled, name


def test_a_tokenizer_without_the_emb_token_is_refused(tiny: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    with pytest.raises(CheckpointError, match=r"no token '<vec>' \(it would be split into \['<', 'v', 'e', 'c', '>'\]"):
        Prompter(tokenizer, CheckpointSpec(emb_token="<vec>"))


def test_a_checkpoints_own_code_is_not_run_by_default(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "with-code")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    with pytest.raises(CheckpointError, match="does not load"):
        T1Embedder.load(folder)
    assert not (tmp_path / "ran").exists()


def test_pickled_weights_are_not_loaded(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="Only safetensors are loaded"):
        T1Embedder.load(folder)


def test_a_tokenizer_with_more_tokens_than_the_weights_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "mixed")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens(["<vec>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(CheckpointError, match="has only 261 embeddings"):
        T1Embedder.load(folder, overrides={"emb_token": "<vec>"})


def test_incomplete_folders_and_unknown_names_are_refused(tiny: Path, tmp_path: Path) -> None:
    for missing, message in [
        (SPEC_FILE, f"has no {SPEC_FILE}"),
        ("config.json", "config.json cannot be read"),
        ("tokenizer.json", "tokenizer.json cannot be read"),
        ("model.safetensors", "has no .safetensors weights"),
    ]:
        folder = shutil.copytree(tiny, tmp_path / f"without-{missing}")
        (folder / missing).unlink()
        with pytest.raises(CheckpointError, match=message):
            T1Embedder.load(folder)
    (folder := shutil.copytree(tiny, tmp_path / "list")).joinpath("config.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"config.json must be a JSON object, got a list"):
        T1Embedder.load(folder)
    with pytest.raises(CheckpointError, match="name is empty"):
        T1Embedder.load("")
    with pytest.raises(CheckpointError, match=r"not a folder, .* or one of the models \['t1-mini', 't1-small'\]"):
        T1Embedder.load("t2-maxi")
    with pytest.raises(CheckpointError, match="no preset 'nobody/nothing'; the presets are"):
        T1Embedder.load(tiny, preset="nobody/nothing")


def test_truncated_weights_are_refused(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "damaged")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(CheckpointError, match="does not load"):
        T1Embedder.load(folder)


def test_missing_weights_are_refused(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "partial")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks weights .*layers.1.mlp.up_proj"):
        T1Embedder.load(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Invalid JSON"),
        ('{"emb_tokens": "<e>"}', "there is no field 'emb_tokens'; did you mean 'emb_token'?"),
        ('{"query_prompt": "no placeholder"}', "exactly once"),
        ('{"max_document_tokens": 1}', "greater than or equal to 8"),
        ('{"emb_source": "appended"}', "needs thought_end"),
        ('{"unverified": ["mood"]}', r"unverified names fields that .* does not have: \['mood'\]"),
        (
            '{"document_prompt": "{text}<emb_token>"}',
            "contains '<emb_token>', which is appended to prompts; leave it out",
        ),
    ],
)
def test_invalid_specifications_are_refused(tiny: Path, tmp_path: Path, text: str, message: str) -> None:
    folder = shutil.copytree(tiny, tmp_path / "copy")
    (folder / SPEC_FILE).write_text(text)
    with pytest.raises(CheckpointError, match=message):
        Checkpoint.load(folder)


def test_invalid_overrides_are_refused(tiny: Path) -> None:
    with pytest.raises(TypeError, match=r"overrides must be a valid dictionary, got \[\('truncate_dim', 3\)\]"):
        Checkpoint.load(tiny, overrides=[("truncate_dim", 3)])
    with pytest.raises(ValueError, match="emb_tokn"):
        Checkpoint.load(tiny, overrides={"emb_tokn": "x"})
    with pytest.raises(ValueError, match=r"truncate_dim=9999, but .* has only 64 dimensions"):
        T1Embedder.load(tiny, overrides={"truncate_dim": 9999})
    with pytest.raises(ValueError, match="pooling_layer=7"):
        T1Embedder.load(tiny, overrides={"pooling_layer": 7})
    with pytest.raises(CheckpointError, match=r"max_document_tokens=4096, but .* accepts only 2048 tokens"):
        T1Embedder.load(tiny, overrides={"max_document_tokens": 4096})
    assert Checkpoint.load(tiny, overrides={"decoding": {"seed": 3}}).spec.decoding == Decoding(max_tokens=64, seed=3)


def test_prompts_given_as_messages_use_the_chat_template(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "chat")
    spec = json.loads((folder / SPEC_FILE).read_text())
    spec |= {
        "query_prompt": [{"role": "system", "content": "{instruction}"}, {"role": "user", "content": "{text}"}],
        "query_prompt_no_think": None,
        "query_instruction": "Think.",
        "tasks": {"law": "Think like a lawyer."},
    }
    (folder / SPEC_FILE).write_text(json.dumps(spec))
    with pytest.raises(CheckpointError, match="no chat template"):
        Prompter.load(Checkpoint.load(folder))
    for template, message in [
        ("{{ raise_exception('no system prompts') }}", "no system prompts"),
        ("{% for", "cannot render"),
        ("nothing", "shows the text 0 times"),
        ("{{ messages[1].content }}{{ messages[1].content }}", "shows the text 2 times"),
    ]:
        (folder / "chat_template.jinja").write_text(template)
        with pytest.raises(CheckpointError, match=message):
            Prompter.load(Checkpoint.load(folder))
    (folder / "chat_template.jinja").unlink()
    template = (
        "{% for m in messages %}<query>{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}<think>{% endif %}"
    )
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    prompter = Prompter.load(Checkpoint.load(folder))
    [prompt] = prompter.queries(["why?"], think=True)
    assert prompter.thought_text(prompt.ids) == "system: Think.\nuser: why?"
    assert prompt.ids.count(1) == 2
    assert prompt.ids[-1] == 3
    [other] = prompter.queries(["why?"], think=False, task="law")
    assert prompter.thought_text(other.ids) == "system: Think like a lawyer.\nuser: why?"
    assert other.ids[-2:] == [3, prompter.emb_id]


def test_chat_templates_may_use_special_tokens_and_change_the_fingerprint(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "chat")
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": {"content": "<query>"}}))
    overrides = {"document_prompt": [{"role": "user", "content": "{text}"}]}
    fingerprints = set()
    for template in ("{{ bos_token }}{{ messages[0].content }}", "{{ bos_token }}say {{ messages[0].content }}"):
        (folder / "chat_template.jinja").write_text(template)
        checkpoint = Checkpoint.load(folder, overrides=overrides)
        [prompt] = Prompter.load(checkpoint).documents(["x"])
        assert prompt.ids[0] == 1
        fingerprints.add(checkpoint.fingerprint(role="document"))
    assert len(fingerprints) == 2
    plain = {Checkpoint.load(folder).fingerprint(role="document"), Checkpoint.load(tiny).fingerprint(role="document")}
    assert len(plain) == 1  # no prompt uses the template
    (folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"tokenizer_config.json cannot be read"):
        Checkpoint.load(folder).fingerprint(role="document")


def test_a_checkpoints_own_code_changes_the_fingerprint_if_it_is_run(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "code")
    found = []
    for code in ("one = 1", "one = 2"):
        (folder / "modeling.py").write_text(code)
        found.append([Checkpoint.load(folder, remote_code=on).fingerprint(role="document") for on in (True, False)])
    assert found[0][0] != found[1][0]
    assert found[0][1] == found[1][1]


def test_the_fingerprint_does_not_change_if_all_dimensions_are_kept(tiny: Path) -> None:
    whole = Checkpoint.load(tiny, overrides={"truncate_dim": 64})
    assert whole.fingerprint(role="document") == Checkpoint.load(tiny).fingerprint(role="document")


def test_overridden_fields_are_not_unverified() -> None:
    spec = PRESETS["ForwardAILabs/MRE-T1"].with_overrides({"max_query_tokens": 100})
    assert "max_query_tokens" not in spec.unverified
    assert "query_prompt" in spec.unverified


def test_presets_list_their_unverified_fields(tiny: Path) -> None:
    assert set(PRESETS) >= {"ForwardAILabs/MRE-T1", "CITech/CRE-T1-SFT-preview-1202", "Qwen/Qwen3-Embedding-0.6B"}
    assert {"query_prompt", "emb_source", "decoding"} <= set(PRESETS["ForwardAILabs/MRE-T1"].unverified)
    assert PRESETS["Qwen/Qwen3-Embedding-4B"].unverified == ()
    assert not PRESETS["Qwen/Qwen3-Embedding-4B"].thinks
    described = Checkpoint.load(tiny, preset="Qwen/Qwen3-Embedding-0.6B", overrides={"emb_token": "<emb_token>"})
    assert described.spec.query_prompt == "Instruct: {instruction}\nQuery:{text}"


def test_a_hub_id_without_a_network_is_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        CheckpointError,
        match=r"'ForwardAILabs/MRE-T1' is not a local folder .* Without a network, pass a folder",
    ):
        T1Embedder.load("ForwardAILabs/MRE-T1")


def test_embedder_is_shown_with_its_model_and_dimension() -> None:
    assert repr(T1Embedder.fake(8)) == "T1Embedder(model='fake', backend=FakeBackend, dimension=8)"


def test_options_without_a_name_are_refused_with_the_name() -> None:
    with pytest.raises(TypeError, match=r"ModelOptions takes named arguments only: write model='t1-mini'"):
        ModelOptions("t1-mini")  # type: ignore[call-arg,misc]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"truncate_dm": 8}, "there is no field 'truncate_dm'; did you mean 'truncate_dim'?"),
        ({"decoding": {"temprature": 1}}, "there is no field 'decoding.temprature'; did you mean 'temperature'?"),
        (
            {"temperature": 1},
            "there is no field 'temperature'; 'temperature' is a part of 'decoding': write decoding=",
        ),
        ({"truncate_dim": "many"}, "truncate_dim must be a whole number (got 'many')"),
    ],
)
def test_wrong_overrides_are_refused_in_plain_words(tiny: Path, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Checkpoint.load(tiny, overrides=overrides)
