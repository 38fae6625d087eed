"""What all routes share."""

from __future__ import annotations

from dataclasses import dataclass

from t1_vectorstore.server.catalog import Catalog
from t1_vectorstore.server.observing import Metrics, Spans
from t1_vectorstore.server.options import ServiceOptions
from t1_vectorstore.server.work import Slots, Work


@dataclass(frozen=True)
class Service:
    """The parts of one service.

    Attributes:
        options: Its options.
        catalog: Its indexes and models.
        queries: Slots of requests that somebody waits for: searches, rankings, reads.
        documents: Slots of requests that encode documents or load them. Their backlog does not delay queries.
        writes: Slots of requests that store or delete rows as they are; they do not wait for loads.
        work: Runs what requests ask for.
        metrics: Prometheus metrics.
        spans: OpenTelemetry spans.
    """

    options: ServiceOptions
    catalog: Catalog
    queries: Slots
    documents: Slots
    writes: Slots
    work: Work
    metrics: Metrics
    spans: Spans
