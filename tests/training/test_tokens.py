"""Adding the emb token to a plain language model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import CheckpointError, MissingExtraError
from t1_vectorstore.training.add_token import add_token
from t1_vectorstore.training.model import load_checkpoint
from tests.adapters.files import save_base
from tests.checkpoints import save_checkpoint

TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}<|assistant|>"


@pytest.fixture(params=["tied", "untied", "spare"])
def plain(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A model without a specification; one has spare embedding rows, like Qwen models."""
    from t1_vectorstore.backends.fake import byte_tokenizer

    size = byte_tokenizer().get_vocab_size()
    spare = {"vocab_size": size + 30} if request.param == "spare" else {}
    folder = save_checkpoint(tmp_path / "plain", tie_word_embeddings=request.param == "tied", **spare)
    (folder / "t1_config.json").unlink()
    return folder


@pytest.mark.parametrize("end", [None, "<pad>"])
@pytest.mark.parametrize("template", [None, TEMPLATE])
def test_the_new_embedding_is_that_of_the_end_token_or_the_mean_of_the_others(
    plain: Path, tmp_path: Path, template: str | None, end: str | None
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(plain)
    tokenizer.chat_template, tokenizer.eos_token = template, end
    tokenizer.save_pretrained(plain)
    out = tmp_path / "out"
    spec = add_token(str(plain), out, emb_token="<vector>", max_thought_tokens=8)
    assert Checkpoint.load(out).spec == spec
    before = AutoModelForCausalLM.from_pretrained(plain)
    after, tokenizer, _ = load_checkpoint(out)
    number = tokenizer.convert_tokens_to_ids("<vector>")
    assert tokenizer.encode("<vector>") == [number]
    old = before.get_input_embeddings().weight
    used = min(number, len(old))
    assert torch.equal(after.get_input_embeddings().weight[:used], old[:used])
    for part in (after.get_input_embeddings(), after.get_output_embeddings()):
        wanted = part.weight[tokenizer.convert_tokens_to_ids(end)] if end else part.weight[:used].mean(0)
        assert torch.allclose(part.weight[number], wanted, atol=1e-5)
    embedded = T1Embedder.load(out).embed_query("where do llamas live")
    assert embedded.thoughts
    assert isinstance(spec.query_prompt, str) == (template is None)


def test_the_new_embedding_can_start_as_that_of_a_text(plain: Path, tmp_path: Path) -> None:
    add_token(str(plain), tmp_path / "out", emb_token="<vector>", max_thought_tokens=8, start="ab")
    model, tokenizer, _ = load_checkpoint(tmp_path / "out")
    weight = model.get_input_embeddings().weight
    wanted = weight[tokenizer.convert_tokens_to_ids(["a", "b"])].mean(0)
    assert torch.allclose(weight[tokenizer.convert_tokens_to_ids("<vector>")], wanted, atol=1e-5)
    with pytest.raises(ValueError, match="start='' has no tokens"):
        add_token(str(plain), tmp_path / "other", emb_token="<vector>", start="")
    assert not (tmp_path / "other").exists()


def test_unsuitable_models_are_refused_and_nothing_is_written(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="already has the token '<emb_token>'"):
        add_token(str(plain), tmp_path / "out")
    with pytest.raises(
        ValueError, match="max_thought_tokens=2000 leaves too few tokens for queries: the model accepts"
    ):
        add_token(str(plain), tmp_path / "out", emb_token="<vector>", max_thought_tokens=2000)
    with pytest.raises(CheckpointError, match="cannot be loaded as a causal language model"):
        add_token(str(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(FileExistsError, match="is not an empty folder: choose another"):
        add_token(str(plain), plain, emb_token="<vector>")


FAMILIES: dict[str, dict[str, object]] = {
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 1024},
    "bloom": {"hidden_size": 64, "n_layer": 2, "n_head": 4},
    "gpt_neox": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128},
    "opt": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 128},
    "gemma2": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128},
    "bert": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128},
}
NO_SYSTEM_ROLE = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}\n{% endfor %}"
)


def plain_model(folder: Path, model_type: str, template: str | None = None) -> Path:
    """Save a small random model of a family, without a specification."""
    from transformers import AutoConfig, PreTrainedTokenizerFast

    from t1_vectorstore.backends.fake import byte_tokenizer

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer(), eos_token="<pad>", chat_template=template)
    fields = {"vocab_size": len(tokenizer), "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **fields, **FAMILIES[model_type])
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("model_type", [name for name in FAMILIES if name != "bert"])
def test_the_written_model_can_be_used_whatever_its_family(tmp_path: Path, model_type: str) -> None:
    out = tmp_path / "models" / "out"
    spec = add_token(str(plain_model(tmp_path / "plain", model_type)), out, emb_token="<vector>", max_thought_tokens=8)
    with T1Embedder.load(out) as embedder:
        assert embedder.spec == spec
        assert embedder.embed_documents(["llamas", "llamas live in Peru"]).vectors.shape == (2, 64)
        assert embedder.embed_query("where do llamas live").thoughts
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_bidirectional_model_is_refused(tmp_path: Path) -> None:
    plain = plain_model(tmp_path / "plain", "bert")
    with pytest.raises(CheckpointError, match=r"is not causal: .* as in BERT"):
        add_token(str(plain), tmp_path / "out", emb_token="<vector>", max_thought_tokens=8)
    assert not (tmp_path / "out").exists()


def test_without_a_system_role_the_instruction_is_in_the_users_message(tmp_path: Path) -> None:
    plain = plain_model(tmp_path / "plain", "gpt2", NO_SYSTEM_ROLE)
    spec = add_token(str(plain), tmp_path / "out", emb_token="<vector>", max_thought_tokens=8)
    assert [message["role"] for message in spec.model_dump()["query_prompt"]] == ["user"]
    with T1Embedder.load(tmp_path / "out") as embedder:
        assert embedder.embed_query("where do llamas live").thoughts


@pytest.mark.parametrize(
    "template", ["<|user|>", "{{ raise_exception('no') }}", "{% for m in messages %}x{% endfor %}"]
)
def test_a_chat_template_that_cannot_show_a_query_is_refused_with_a_remedy(tmp_path: Path, template: str) -> None:
    plain = plain_model(tmp_path / "plain", "gpt2", template)
    with pytest.raises(CheckpointError, match=r"remove it from a copy of the model \(chat_template.jinja"):
        add_token(str(plain), tmp_path / "out", emb_token="<vector>", max_thought_tokens=8)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_used_afterwards_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is loaded at the end, and its error is reported with the reason."""
    plain = plain_model(tmp_path / "plain", "gpt2")
    monkeypatch.setattr(
        "t1_vectorstore.checkpoints.folder._OTHER_NAMES",
        dict.fromkeys(("hidden_size", "num_hidden_layers", "max_position_embeddings"), ()),
    )
    with pytest.raises(CheckpointError, match=r"has no hidden_size.*Nothing was written"):
        add_token(str(plain), tmp_path / "out", emb_token="<vector>", max_thought_tokens=8)
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]


def test_bundled_model_is_refused_without_asking_the_hub(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="t1-mini already has its token"):
        add_token("t1-mini", tmp_path / "out")


def test_a_gguf_file_without_the_packages_that_read_it_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("t1_vectorstore.training.add_token.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"t1-vectorstore\[train\]"):
        add_token(str(tmp_path / "x.gguf"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.train
def test_a_gguf_file_is_prepared_like_the_folder_it_was_made_from(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")  # of the extra for training
    file = save_base(tmp_path)
    add_token(str(file), tmp_path / "one", emb_token="<vector>", max_thought_tokens=8)
    add_token(str(tmp_path / "base"), tmp_path / "other", emb_token="<vector>", max_thought_tokens=8)
    (one, tokenizer, _), (other, same, _) = (load_checkpoint(tmp_path / name) for name in ("one", "other"))
    weights, wanted = (model.get_input_embeddings().weight for model in (one, other))
    assert tokenizer.get_vocab() == same.get_vocab()
    assert tokenizer("Llamas 1234") == same("Llamas 1234")
    assert torch.allclose(weights[: len(tokenizer) - 1], wanted[: len(tokenizer) - 1])
    assert torch.allclose(
        one.get_decoder().layers[0].self_attn.q_proj.weight, other.get_decoder().layers[0].self_attn.q_proj.weight
    )
    with pytest.raises(CheckpointError):
        add_token(str(tmp_path / "nothing.gguf"), tmp_path / "new", emb_token="<vector>", max_thought_tokens=8)
    assert not (tmp_path / "new").exists()
