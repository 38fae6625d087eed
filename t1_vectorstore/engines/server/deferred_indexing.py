"""Deferred indexing on a server, and what its optimizer is doing.

While the indexing threshold is 0 a server builds no graph, which more than doubles the speed of a load. What the
threshold was is written into the collection's metadata *before* it is set to 0, and stays there: whoever comes next,
also after a crash, can restore it. It is never overwritten with 0, so loads that overlap cannot lose it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from qdrant_client import models

from t1_vectorstore.types import Indexing

FORMER = "t1_indexing_threshold"
"""The key in the collection's metadata under which the threshold is kept, in kilobytes of vectors a segment."""

Call: TypeAlias = Callable[..., Any]
"""Calls a method of the client for one collection: its name, and its arguments."""


def defer(call: Call) -> None:
    """Stop indexing until ``restore``; where it is off already, nothing is done and nothing forgotten."""
    threshold = _threshold(call("get_collection"))
    if threshold:
        call("update_collection", metadata={FORMER: threshold})
        if _former(call("get_collection")) == threshold:  # a server before 1.16 keeps no metadata: it goes on indexing
            call("update_collection", optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0))


def restore(call: Call) -> None:
    """Index again, by the threshold that there was before; where nobody deferred it, only wake what waits."""
    found = call("get_collection")
    former = None if _threshold(found) else _former(found)
    if former or found.status == models.CollectionStatus.GREY:  # an optimizer waits after a restart, for any change
        call("update_collection", optimizers_config=models.OptimizersConfigDiff(indexing_threshold=former))


def indexing(call: Call) -> Indexing:
    """What the optimizer is doing."""
    found: models.CollectionInfo = call("get_collection")
    failed = found.optimizer_status if isinstance(found.optimizer_status, models.OptimizersStatusOneOf1) else None
    return Indexing(
        status=found.status.value,
        indexed=found.indexed_vectors_count or 0,
        points=found.points_count or 0,
        deferred=bool(_former(found)) and not _threshold(found),
        error=failed.error if failed else "",
    )


def _threshold(found: models.CollectionInfo) -> int | None:
    return found.config.optimizer_config.indexing_threshold


def _former(found: models.CollectionInfo) -> int | None:
    former = (found.config.metadata or {}).get(FORMER)
    return int(former) if isinstance(former, int | float) else None
