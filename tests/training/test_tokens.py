"""Adding the emb token to a plain language model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import CheckpointError
from t1_vectorstore.training.add_token import add_token
from t1_vectorstore.training.model import load_checkpoint
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


@pytest.mark.parametrize("template", [None, TEMPLATE])
def test_the_new_embedding_is_the_mean_of_the_others(plain: Path, tmp_path: Path, template: str | None) -> None:
    if template:
        tokenizer = AutoTokenizer.from_pretrained(plain)
        tokenizer.chat_template = template
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
        assert torch.allclose(part.weight[number], part.weight[:used].mean(0), atol=1e-5)
    embedded = T1Embedder.load(out).embed_query("where do llamas live")
    assert embedded.thoughts
    assert isinstance(spec.query_prompt, str) == (template is None)


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
