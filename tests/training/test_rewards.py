"""Rewards against values computed by hand, and the monitor that stops a collapsing run."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.training import rewards
from t1_vectorstore.training.configs import RewardWeights
from t1_vectorstore.training.model import T1ForTraining, load_checkpoint
from t1_vectorstore.training.packing import PromptEncoder, pack
from t1_vectorstore.training.policy import CollapseMonitor
from t1_vectorstore.training.rewards import CorpusIndex, RetrievalReward
from t1_vectorstore.types import StopReason, Trajectory
from tests.checkpoints import save_checkpoint
from tests.evaluation import formulas

TEXTS = ["llamas live high", "camels live dry", "fish live wet", "birds fly"]


def test_only_the_first_ten_ranks_are_worth_something() -> None:
    assert [rewards.discounted_rank(rank) for rank in (1, 3, 10, 11)] == [
        1.0,
        0.5,
        pytest.approx(0.28906, abs=1e-5),
        0.0,
    ]
    with pytest.raises(ValueError, match="counted from 1"):
        rewards.discounted_rank(0)


def test_ndcg_equals_that_of_the_evaluation() -> None:
    ranking = [f"d{rank}" for rank in range(1, 21)]
    for ranks in ([1], [4], [2, 3], [1, 7, 15], [11]):
        relevant = {f"d{rank}": 1.0 for rank in ranks}
        assert rewards.ndcg(ranks) == pytest.approx(formulas.ndcg(ranking, relevant, 10))
    with pytest.raises(ValueError, match="at least one relevant document"):
        rewards.ndcg([])


def test_margin_is_a_sigmoid_and_the_length_penalty_is_linear() -> None:
    assert rewards.margin(0.5, 0.5) == 0.5
    assert rewards.margin(0.6, 0.5) == pytest.approx(1 / (1 + math.exp(-1)))
    assert [rewards.excess_length(tokens, 10, 20) for tokens in (5, 10, 15, 20, 30)] == [0, 0, 0.5, 1, 1]
    with pytest.raises(ValueError, match="above"):
        rewards.excess_length(1, 20, 20)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[T1ForTraining, Prompter]:
    folder = save_checkpoint(tmp_path_factory.mktemp("model"))
    model, _, _ = load_checkpoint(folder)
    return T1ForTraining(model.eval()), Prompter.load(Checkpoint.load(folder))


def thought(
    model: T1ForTraining, encoder: PromptEncoder, query: str, text: str, stop: StopReason = "emb_token"
) -> Trajectory:
    state = model.vectors([pack(encoder.queries([query], [text]))])[0]
    return Trajectory(encoder.prompter.thought_ids(text)[:-1], stop, state.numpy())


def test_the_reward_is_the_weighted_sum_of_its_terms(parts: tuple[T1ForTraining, Prompter]) -> None:
    model, prompter = parts
    encoder = PromptEncoder(prompter)
    index = CorpusIndex(encoder, TEXTS)
    index.refresh(model)
    weights = RewardWeights(rank=2.0, margin=0.5, unclosed=-0.25, length=0.1, free_tokens=2, cosine=0.3)
    judge = RetrievalReward(prompter, index, weights)
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


def test_several_relevant_documents_can_have_a_perfect_rank(parts: tuple[T1ForTraining, Prompter]) -> None:
    model, prompter = parts
    encoder = PromptEncoder(prompter)
    index = CorpusIndex(encoder, TEXTS)
    index.refresh(model)
    [judged] = RetrievalReward(prompter, index, RewardWeights())(
        [thought(model, encoder, "anything", "so")], [[0, 1, 2, 3]]
    )
    assert judged.rank == pytest.approx(1.0)


def test_the_monitor_stops_a_run_with_constant_rewards() -> None:
    monitor = CollapseMonitor(collapse=0.1, patience=3)
    assert monitor(0, [[1.0, 1.0]], None) is None
    assert monitor(1, [[1.0, 1.0], [0.2, 0.4]], None) is None
    assert [monitor(step, [[1.0, 1.0]], None) is None for step in (2, 3)] == [True, True]
    assert "equal for 3 steps" in str(monitor(4, [[1.0, 1.0]], None))


def test_the_monitor_stops_a_run_whose_exact_thoughts_fall() -> None:
    monitor = CollapseMonitor(collapse=0.2, patience=99, window=2)
    shares = [0.5, 0.7, 0.7, 0.6, 0.5]
    assert [monitor(step, [[0.0, 1.0]], share) is None for step, share in enumerate(shares)] == [True] * 5
    assert "from 70% to 45%" in str(monitor(5, [[0.0, 1.0]], 0.4))


def test_the_monitor_of_a_continued_run_knows_the_earlier_maximum() -> None:
    monitor = CollapseMonitor(collapse=0.2, patience=99, window=2)
    monitor.restore([0.7, 0.6], every=2)
    assert monitor(5, [[0.0, 1.0]], 0.5) is None
    assert "from 70% to 45%" in str(monitor(6, [[0.0, 1.0]], 0.4))
