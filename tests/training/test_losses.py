"""Losses against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from t1_vectorstore.training import losses

QUERIES = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
DOCUMENTS = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
POSITIVES = torch.tensor([0, 1])


def test_language_model_loss_is_the_mean_negative_log_probability() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    expected = (-math.log(3 / 4) - math.log(1 / 2)) / 2
    assert losses.language_model_loss(logits, torch.tensor([0, 1])).item() == pytest.approx(expected, abs=1e-6)
    assert losses.language_model_loss(logits[:0], torch.tensor([], dtype=torch.long)).item() == 0.0


def test_info_nce_is_the_cross_entropy_over_all_documents() -> None:
    first = -math.log(math.exp(2.0) / (math.exp(2.0) + math.exp(1.2) + math.exp(0.0)))
    second = -math.log(math.exp(1.6) / (math.exp(0.0) + math.exp(1.6) + math.exp(2.0)))
    value = losses.info_nce(QUERIES, DOCUMENTS, POSITIVES, temperature=0.5).item()
    assert value == pytest.approx((first + second) / 2, abs=1e-6)


def test_triplet_margin_uses_the_hardest_negative() -> None:
    # First query: 0.3 - 1.0 + 0.6 < 0, nothing; second: 0.3 - 0.8 + 1.0.
    value = losses.triplet_margin(QUERIES, DOCUMENTS, POSITIVES, margin=0.3).item()
    assert value == pytest.approx(0.5 / 2, abs=1e-6)
    assert losses.triplet_margin(QUERIES[:1], DOCUMENTS[:1], POSITIVES[:1], margin=0.3).item() == 0.0


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_of_zero_or_less_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        losses.info_nce(QUERIES, DOCUMENTS, POSITIVES, temperature)


def test_another_relevant_document_is_not_a_negative() -> None:
    ignored = torch.tensor([[False, True, False], [False, False, True]])
    first = -math.log(math.exp(2.0) / (math.exp(2.0) + math.exp(0.0)))
    second = -math.log(math.exp(1.6) / (math.exp(0.0) + math.exp(1.6)))
    nce = losses.info_nce(QUERIES, DOCUMENTS, POSITIVES, 0.5, ignored).item()
    assert nce == pytest.approx((first + second) / 2, abs=1e-6)
    assert losses.triplet_margin(QUERIES, DOCUMENTS, POSITIVES, 0.3, ignored).item() == 0.0


def test_distillation_is_zero_for_the_scores_of_the_teacher() -> None:
    own = QUERIES @ DOCUMENTS.T
    assert losses.distillation(QUERIES, DOCUMENTS, own, 0.1).item() == pytest.approx(0.0, abs=1e-6)
    p, q = (torch.softmax(scores / 0.5, -1) for scores in (own.flip(1), own))
    expected = (p * (p / q).log()).sum(-1).mean().item()
    assert losses.distillation(QUERIES, DOCUMENTS, own.flip(1), 0.5).item() == pytest.approx(expected, abs=1e-6)


def test_distillation_leaves_out_queries_that_the_teacher_skips() -> None:
    own = QUERIES @ DOCUMENTS.T
    partly = own.flip(1).clone()
    partly[0] = float("nan")
    expected = losses.distillation(QUERIES[1:], DOCUMENTS, own.flip(1)[1:], 0.5)
    assert losses.distillation(QUERIES, DOCUMENTS, partly, 0.5).item() == pytest.approx(expected.item())
    assert losses.distillation(QUERIES, DOCUMENTS, torch.full_like(own, float("nan")), 0.5).item() == 0.0
