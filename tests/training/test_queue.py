"""Documents of earlier steps as further negatives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from t1_vectorstore.training.batches import make_batch
from t1_vectorstore.training.configs import Sft
from t1_vectorstore.training.losses import info_nce
from t1_vectorstore.training.packing import TokenSequence
from t1_vectorstore.training.queue import DocumentQueue
from t1_vectorstore.training.supervised import contrastive_losses
from tests.training.small_recipes import SFT

TEACHER = {"teacher": "x"}


def unit(*rows: list[float]) -> torch.Tensor:
    return functional.normalize(torch.tensor(rows), dim=-1)


def test_the_oldest_documents_leave_the_queue() -> None:
    queue = DocumentQueue(3)
    for step in range(3):
        numbers = torch.tensor([2 * step, 2 * step + 1])
        queue.add(numbers[:, None].expand(2, 4), numbers, torch.zeros(2, 0))
    assert queue.numbers.tolist() == [3, 4, 5]
    assert queue.vectors[:, 0].tolist() == [3.0, 4.0, 5.0]
    again = DocumentQueue(3)
    again.load_state_dict(queue.state_dict())
    for name, value in queue.state_dict().items():
        assert torch.equal(getattr(again, name), value)


def test_earlier_documents_are_negatives_unless_they_are_relevant_or_say_the_same() -> None:
    sequence = TokenSequence([5, 6], 2)
    stage = Sft.model_validate(SFT)
    query = unit([1.0, 0.2, 0.0]).requires_grad_()
    own = unit([1.0, 0.0, 0.0])
    earlier = unit([0.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.9, 0.1, 0.0], [0.0, 0.0, 1.0])
    teacher = unit([1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.05], [0.0, 1.0])
    batch = make_batch(
        [sequence], [7], [[7, 8]], {7: sequence}, teacher_vectors=torch.cat([unit([1.0, 1.0]), teacher[:1]])
    )
    queue = DocumentQueue(10)
    queue.add(earlier, torch.tensor([1, 8, 2, 7]), teacher[1:])  # 8 and 7 are relevant, and 2 says the same as 7
    nce, _ = contrastive_losses(torch.cat([query, own]), batch, stage, queue, 0.9)
    wanted = info_nce(query, torch.cat([own, earlier[:1]]), torch.tensor([0]), stage.temperature)
    assert nce.item() == pytest.approx(wanted.item(), abs=1e-6)
    assert queue.numbers.tolist() == [1, 8, 2, 7, 7]
    assert not queue.vectors.requires_grad


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mining": {"ranked_by": "teacher"}}, "needs distill, which names the teacher"),
        ({"also_without_thought": True, "think_share": 0.0}, "also_without_thought has no effect"),
        ({"mining": {"sources": ["a"]}}, "mining.sources has no effect with ranked_by=model"),
        ({"mining": {"ranked_by": "teacher", "think": True}, "distill": TEACHER}, "mining.think has no effect"),
        ({"mining": {}, "negatives": 0}, "mining has no effect with negatives=0"),
        ({"mining": {}, "negatives_share": 0}, "mining has no effect with .*negatives_share=0"),
        ({"queue": 9, "info_nce_weight": 0, "triplet_weight": 0}, "queue=9 has no effect"),
    ],
)
def test_options_without_effect_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sft.model_validate(SFT | fields)
    Sft.model_validate(SFT | {"mining": {"ranked_by": "teacher"}, "distill": TEACHER, "queue": 9})
