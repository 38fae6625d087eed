"""Rewards against values worked out by hand, and the judge that adds them up."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.training import model as models
from t1_vectorstore.training import rewards
from t1_vectorstore.training.batching import Encoder, pack
from t1_vectorstore.training.configs import Reward
from t1_vectorstore.training.model import T1ForTraining
from t1_vectorstore.training.retrieval_reward import Index, Judge, Watch
from t1_vectorstore.types import StopReason, Trajectory
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


def thought(
    model: T1ForTraining, encoder: Encoder, query: str, text: str, stop: StopReason = "emb_token"
) -> Trajectory:
    state = model.vectors([pack(encoder.queries([query], [text]))])[0]
    return Trajectory(encoder.prompter.thought_ids(text)[:-1], stop, state.numpy())


def test_the_judge_adds_up_what_a_thoughts_vector_finds(parts: tuple[T1ForTraining, Prompter]) -> None:
    model, prompter = parts
    encoder = Encoder(prompter)
    index = Index(encoder, TEXTS)
    index.refresh(model)
    weights = Reward(rank=2.0, margin=0.5, unclosed=-0.25, length=0.1, free_tokens=2, cosine=0.3)
    judge = Judge(prompter, index, weights)
    closed = thought(model, encoder, "where do llamas live", "high")
    cut = replace(closed, stop="budget")
    [first, second] = judge([closed, cut], [[0], [0]])
    cosines = (model.vectors([pack(encoder.documents(TEXTS))]) @ torch.from_numpy(closed.state)).tolist()
    rank = 1 + sum(other >= cosines[0] for other in cosines[1:])
    distance = 1 / (1 + math.exp(-(cosines[0] - max(cosines[1:])) / 0.1))
    length = (len(closed.ids) - 2) / (prompter.spec.decoding.max_tokens - 2)
    expected = 2 * rewards.discounted_rank(rank) + 0.5 * distance + 0.3 * cosines[0] - 0.1 * length
    assert first.reward == pytest.approx(expected, abs=1e-2)  # bfloat16
    assert (first.closed, second.closed) == (True, False)
    assert second.reward == pytest.approx(first.reward - 0.25)


def test_several_right_documents_do_not_stand_in_each_others_way(parts: tuple[T1ForTraining, Prompter]) -> None:
    model, prompter = parts
    encoder = Encoder(prompter)
    index = Index(encoder, TEXTS)
    index.refresh(model)
    [judged] = Judge(prompter, index, Reward())([thought(model, encoder, "anything", "so")], [[0, 1, 2, 3]])
    assert judged.rank == pytest.approx(1.0)


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


def test_the_watch_of_a_run_that_goes_on_knows_what_was_reached() -> None:
    watch = Watch(collapse=0.2, patience=99, window=2)
    watch.recall([0.7, 0.6], every=2)
    assert watch(5, [[0.0, 1.0]], 0.5) is None
    assert "from 70% to 45%" in str(watch(6, [[0.0, 1.0]], 0.4))
