"""Rewards against values worked out by hand, and the judge that adds them up."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from t1_vectorstore.checkpoint import Checkpoint
from t1_vectorstore.prompts import Prompter
from t1_vectorstore.training import model as models
from t1_vectorstore.training import rewards
from t1_vectorstore.training.batching import Encoder, pack
from t1_vectorstore.training.configs import Reward
from t1_vectorstore.training.model import T1ForTraining
from t1_vectorstore.training.thoughts import Index, Judge, Watch, sample
from tests.checkpoints import save_checkpoint
from tests.evaluation import formulas

TEXTS = ["llamas live high", "camels live dry", "fish live wet", "birds fly"]


def test_discounted_ranks() -> None:
    assert [rewards.discounted_rank(rank) for rank in (1, 3, 10, 11)] == [
        1.0,
        0.5,
        pytest.approx(0.28906, abs=1e-5),
        0.0,
    ]
    with pytest.raises(ValueError, match="counted from 1"):
        rewards.discounted_rank(0)


def test_ndcg_is_that_of_the_evaluation() -> None:
    ranking = [f"d{rank}" for rank in range(1, 21)]
    for ranks in ([1], [4], [2, 3], [1, 7, 15], [11]):
        relevant = {f"d{rank}": 1.0 for rank in ranks}
        assert rewards.ndcg(ranks) == pytest.approx(formulas.ndcg(ranking, relevant, 10))
    with pytest.raises(ValueError, match="no reward"):
        rewards.ndcg([])


def test_margin_and_length() -> None:
    assert rewards.margin(0.5, 0.5) == 0.5
    assert rewards.margin(0.6, 0.5) == pytest.approx(1 / (1 + math.exp(-1)))
    assert [rewards.too_long(tokens, 10, 20) for tokens in (5, 10, 15, 20, 30)] == [0, 0, 0.5, 1, 1]
    with pytest.raises(ValueError, match="above"):
        rewards.too_long(1, 20, 20)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[T1ForTraining, Prompter]:
    folder = save_checkpoint(tmp_path_factory.mktemp("model"))
    model, _, _ = models.load(folder)
    return T1ForTraining(model.eval()), Prompter.load(Checkpoint.load(folder))


def test_the_judge_adds_up_what_a_thoughts_vector_finds(parts: tuple[T1ForTraining, Prompter]) -> None:
    model, prompter = parts
    encoder = Encoder(prompter)
    index = Index(encoder, TEXTS)
    index.refresh(model)
    weights = Reward(rank=2.0, margin=0.5, unclosed=-0.25, length=0.1, free_tokens=2, cosine=0.3)
    judge = Judge(model, prompter, index, weights)
    [prompt] = prompter.queries(["where do llamas live"], think=True)
    closed = prompter.thought_ids("high")
    [first, second] = judge([prompt.ids, prompt.ids], [closed, closed[:-1]], [[0], [0]])
    vector = model.vectors([pack(encoder.queries(["where do llamas live"], ["high"]))])[0]
    cosines = (model.vectors([pack(encoder.documents(TEXTS))]) @ vector).tolist()
    rank = 1 + sum(other >= cosines[0] for other in cosines[1:])
    distance = 1 / (1 + math.exp(-(cosines[0] - max(cosines[1:])) / 0.1))
    length = (len(closed) - 1 - 2) / (prompter.spec.decoding.max_tokens - 2)
    expected = 2 * rewards.discounted_rank(rank) + 0.5 * distance + 0.3 * cosines[0] - 0.1 * length
    assert first.reward == pytest.approx(expected, abs=1e-2)  # bfloat16
    assert (first.closed, second.closed) == (True, False)
    assert second.reward == pytest.approx(first.reward - 0.25)


def test_several_right_documents_do_not_stand_in_each_others_way(parts: tuple[T1ForTraining, Prompter]) -> None:
    model, prompter = parts
    index = Index(Encoder(prompter), TEXTS)
    index.refresh(model)
    [prompt] = prompter.queries(["anything"], think=True)
    [judged] = Judge(model, prompter, index, Reward())([prompt.ids], [prompter.thought_ids("so")], [[0, 1, 2, 3]])
    assert judged.rank == pytest.approx(1.0)


def test_sampled_thoughts_end_where_the_model_ends_them(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, closes=3.0)
    model, _, _ = models.load(folder)
    prompter = Prompter.load(Checkpoint.load(folder, overrides={"decoding": {"max_tokens": 12}}))
    torch.manual_seed(0)
    prompts = [prompt.ids for prompt in prompter.queries(["a", "a much longer query"] * 8, think=True)]
    thoughts = sample(model, prompts, prompter, 1.0)
    assert all(len(thought) <= 13 for thought in thoughts)
    assert any(thought[-1] == prompter.emb_id for thought in thoughts)
    assert all(prompter.emb_id not in thought[:-1] for thought in thoughts)
    assert len({tuple(thought) for thought in thoughts}) > 8


def test_the_watch_stops_on_rewards_that_never_vary() -> None:
    watch = Watch(collapse=0.1, patience=3)
    assert watch(0, [[1.0, 1.0]], None) is None
    assert watch(1, [[1.0, 1.0], [0.2, 0.4]], None) is None
    assert [watch(step, [[1.0, 1.0]], None) is None for step in (2, 3)] == [True, True]
    assert "equal for 3 steps" in str(watch(4, [[1.0, 1.0]], None))


def test_the_watch_stops_when_exact_thoughts_fall() -> None:
    watch = Watch(collapse=0.2, patience=99, window=2)
    shares = [0.5, 0.7, 0.7, 0.6, 0.5]
    assert [watch(step, [[0.0, 1.0]], share) is None for step, share in enumerate(shares)] == [True] * 5
    assert "from 70% to 45%" in str(watch(5, [[0.0, 1.0]], 0.4))
