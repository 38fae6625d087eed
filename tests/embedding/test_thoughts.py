"""The vector from the cache of generation equals that of encoding prompt, thought and emb token from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from t1_vectorstore import T1Embedder
from t1_vectorstore.backends.decoder.decoder import Decoder
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.checkpoints.spec import Decoding
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.types import Trajectory
from tests.checkpoints import save_checkpoint


@pytest.fixture(params=["own", pytest.param("transformers", marks=pytest.mark.thorough)], autouse=True)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run each test with this package's decoder and with transformers."""
    if request.param == "transformers":
        monkeypatch.setattr("t1_vectorstore.backends.local.decoder_config", lambda *_: None)
    return str(request.param)


QUERIES = [f"query number {i} " * (i % 5 + 1) for i in range(12)]


def plain_states(folder: Path, prompts: Sequence[Sequence[int]], layer: int = -1) -> np.ndarray:
    """Encode with plain transformers, one sequence at a time, without a cache."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        states = [
            model(torch.tensor([list(ids)]), output_hidden_states=True).hidden_states[layer][0, -1] for ids in prompts
        ]
    return torch.stack(states).numpy()


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def think(folder: Path, queries: Sequence[str], budget: int, **options: object) -> tuple[list, list[Trajectory], int]:
    embedder = T1Embedder.load(folder, dtype="float32", overrides=options)
    prompter = Prompter.load(Checkpoint.load(folder))
    prompts = [prompt.ids for prompt in prompter.queries(queries, think=True)]
    decoding = embedder.spec.decoding.model_copy(update={"max_tokens": budget})
    return prompts, embedder._backend.think(prompts, decoding), prompter.emb_id


@pytest.mark.parametrize("count", [1, len(QUERIES)])
@pytest.mark.parametrize("budget", [0, 1, 20])
def test_the_vector_equals_that_of_encoding_again(tiny: Path, count: int, budget: int) -> None:
    prompts, thoughts, emb_id = think(tiny, QUERIES[:count], budget)
    whole = [[*prompt, *thought.ids, emb_id] for prompt, thought in zip(prompts, thoughts, strict=True)]
    states = np.stack([thought.state for thought in thoughts])
    assert cosines(states, plain_states(tiny, whole)).min() >= 0.9999


def test_the_batch_above_mixes_finished_thoughts_with_those_over_the_budget(tiny: Path) -> None:
    _, thoughts, _ = think(tiny, QUERIES, 20)
    assert {thought.stop for thought in thoughts} == {"emb_token", "budget"}
    assert all(len(thought.ids) == 20 for thought in thoughts if thought.stop == "budget")
    assert all(len(thought.ids) <= 20 for thought in thoughts if thought.stop == "emb_token")


def test_thoughts_that_the_model_closes_at_once(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, closes=1.5, model_type="llama")
    prompts, thoughts, emb_id = think(folder, QUERIES, 20)
    empty = [at for at, thought in enumerate(thoughts) if not thought.ids]
    assert empty
    assert all(thoughts[at].stop == "emb_token" for at in empty)
    states = np.stack([thoughts[at].state for at in empty])
    assert cosines(states, plain_states(folder, [[*prompts[at], emb_id] for at in empty])).min() >= 0.9999


def test_thoughts_have_the_same_tokens_as_with_generate(tiny: Path) -> None:
    prompts, thoughts, emb_id = think(tiny, QUERIES, 20)
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    for prompt, thought in zip(prompts, thoughts, strict=True):
        output = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt)),
            max_new_tokens=20,
            do_sample=False,
            eos_token_id=emb_id,
        )
        generated = output[0, len(prompt) :].tolist()
        assert list(thought.ids) == [token for token in generated if token != emb_id]


def test_at_most_one_decode_step_follows_the_thought(tiny: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = T1Embedder.load(tiny, dtype="float32")
    steps = []
    kind = Decoder if path == "own" else type(embedder._backend.model._decoder)  # type: ignore[attr-defined]
    forward = kind.__call__
    monkeypatch.setattr(kind, "__call__", lambda *args, **kwargs: steps.append(1) or forward(*args, **kwargs))
    [thought] = embedder.embed_query(QUERIES[0], budget=7).thoughts
    assert (thought.tokens, thought.stop) == (7, "budget")
    # One forward pass for the prompt, one for each token of the thought, one for the emb token if not with the last.
    assert len(steps) == 1 + thought.tokens + (path == "transformers")


def test_pooling_of_another_layer(tiny: Path) -> None:
    prompts, thoughts, emb_id = think(tiny, QUERIES[:3], 5, pooling_layer=1)
    whole = [[*prompt, *thought.ids, emb_id] for prompt, thought in zip(prompts, thoughts, strict=True)]
    states = np.stack([thought.state for thought in thoughts])
    assert cosines(states, plain_states(tiny, whole, layer=1)).min() >= 0.9999
    assert cosines(states, plain_states(tiny, whole)).min() < 0.99
    embedder = T1Embedder.load(tiny, dtype="float32", overrides={"pooling_layer": 1})
    encoded = embedder._backend.encode(whole)
    assert cosines(states, encoded).min() >= 0.9999


def test_a_deadline_closes_thoughts_early(tiny: Path) -> None:
    embedder = T1Embedder.load(tiny, dtype="float32")
    result = embedder.embed_query("what is left", deadline=1e-9)
    assert result.thoughts[0].stop == "deadline"
    assert result.thoughts[0].cut
    same = embedder.embed_query("what is left", budget=0)
    assert float(result.vector @ same.vector) >= 0.9999


def test_sampling_depends_only_on_seed_and_query(tiny: Path) -> None:
    sampled = {"decoding": {"temperature": 1.0, "top_p": 0.9, "top_k": 40, "max_tokens": 20}}
    embedder = T1Embedder.load(tiny, dtype="float32", overrides=sampled)
    together = embedder.embed_queries(QUERIES)
    alone = [embedder.embed_query(query) for query in QUERIES]
    assert [r.thoughts for r in together] == [r.thoughts for r in alone]
    other = T1Embedder.load(tiny, dtype="float32", overrides={"decoding": {**sampled["decoding"], "seed": 1}})
    assert other.embed_query(QUERIES[0]).thoughts != alone[0].thoughts


def test_end_of_turn_is_replaced_by_the_emb_token(tiny: Path) -> None:
    spec = {"emb_source": "appended", "thought_end": ["<emb_token>"], "decoding": Decoding(max_tokens=20)}
    folder_thoughts = think(tiny, QUERIES, 20)[1]
    # The emb token as the end of a turn ends the same thoughts at the same token.
    embedder = T1Embedder.load(tiny, dtype="float32", overrides=spec)
    assert [r.thoughts[0].tokens for r in embedder.embed_queries(QUERIES)] == [len(t.ids) for t in folder_thoughts]


def test_a_model_that_does_not_think(tiny: Path) -> None:
    embedder = T1Embedder.load(tiny, overrides={"thinks": False})
    assert embedder.embed_query("plain").thoughts == ()
    with pytest.raises(ValueError, match="does not generate thoughts"):
        embedder.embed_query("plain", think=True)


def test_a_model_that_thinks_when_asked_to(tiny: Path) -> None:
    embedder = T1Embedder.load(tiny, overrides={"think_by_default": False})
    always = T1Embedder.load(tiny)
    assert embedder.embed_query("plain").thoughts == ()
    assert embedder.embed_query("plain", think=True).thoughts == always.embed_query("plain").thoughts != ()
    assert embedder.identity == always.identity  # documents have the same vectors
    with pytest.raises(ValueError, match="budget=3 is for thoughts, and thinking is off by this checkpoint's default"):
        embedder.embed_query("plain", budget=3)


def test_invalid_options_are_refused(tiny: Path) -> None:
    embedder = T1Embedder.load(tiny)
    for options, message in [
        ({"budget": -1}, "budget must be greater than or equal to 0, got -1"),
        ({"deadline": 0.0}, "deadline must be greater than 0, got 0.0"),
        ({"think": False, "budget": 3}, "thinking is off"),
        ({"budget": 2000}, "At most 1535 are left"),
        ({"task": "poetry"}, "no task 'poetry'"),
        ({"think": "no"}, "think must be a valid boolean or 'auto', got 'no'"),
    ]:
        with pytest.raises(ValueError, match=message):
            embedder.embed_query("x", **options)  # type: ignore[arg-type]
    for options in [{"budget": 1.5}, {"budget": True}, {"budget": "3"}, {"deadline": "1"}]:
        [(name, value)] = options.items()
        with pytest.raises(TypeError, match=f"{name} must be a valid .*, got {value!r}"):
            embedder.embed_query("x", **options)  # type: ignore[arg-type]
