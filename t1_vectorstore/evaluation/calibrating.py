"""Fits the threshold of ``think="auto"`` on a user's queries; see ``t1_vectorstore.searching.deciding``.

Judged queries are scored by nDCG@10. Queries without judgements are scored by agreement: the first document that
thinking finds counts as the only relevant one. The threshold is then the cheapest that still ranks these documents as
high, whether they are right or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.evaluation import experiment
from t1_vectorstore.evaluation.beir import read_beir
from t1_vectorstore.evaluation.benchmark import Benchmark, refuse_missing
from t1_vectorstore.evaluation.labels import indexed_documents, read_labels
from t1_vectorstore.evaluation.scoring import MAIN
from t1_vectorstore.evaluation.systems import EmbeddingCache, T1System
from t1_vectorstore.evaluation.trade_off import AskedTwice, TradeOff, cheapest, curve, held_out
from t1_vectorstore.readers import Fields
from t1_vectorstore.readers.lines import Lines, raise_error
from t1_vectorstore.readers.records import numbered_jsonl
from t1_vectorstore.searching.deciding import PROBED, figures, ranked_scores, unsureness
from t1_vectorstore.types import Calibration

if TYPE_CHECKING:
    from t1_vectorstore.collection import Collection
    from t1_vectorstore.vectorstore import T1VectorStore

MIN_QUERIES = 20
KEEP = 0.97
"""Share of the quality of always thinking that a threshold keeps by default."""
_DEPTH = 100
_NOTHING_JUDGED = "(not judged)"


@dataclass(frozen=True)
class CalibrationResult:
    """A fitted threshold, and the measurements behind it.

    Attributes:
        calibration: What to store with the collection. Its shares are those to expect on other queries.
        chosen: What the threshold keeps and costs on the queries themselves.
        points: The same for every threshold, from never to always thinking.
        asked: The queries, in order.
        left_out: Number of queries that were left out, since thinking finds nothing for them.
    """

    calibration: Calibration
    chosen: TradeOff
    points: Sequence[TradeOff]
    asked: Sequence[AskedTwice]
    left_out: int = 0


def read_queries(path: Path, split: str, collection: Collection) -> Benchmark | dict[str, str]:
    """Read queries to calibrate on.

    Args:
        path: A folder in BEIR's format, or a file: JSON Lines with ``query`` and, if they are judged, ``positives``;
            or text with a query on each line (``.txt``).
        split: Split of the folder.
        collection: The index, which must hold every relevant document.

    Returns:
        A benchmark if the queries are judged, otherwise their texts by id.

    Raises:
        CorpusError: A missing file, a malformed line, no query, or a document that is not in the index.
    """
    if path.is_dir():
        task = read_beir(path, split)
        relevant = {name for gains in task.relevant.values() for name, gain in gains.items() if gain > 0}
        refuse_missing(str(path), relevant - indexed_documents(collection, relevant))
        return task
    if path.suffix == ".txt":
        texts = [line.strip() for line in _lines(path) if line.strip()]
    else:
        records = [record for _, record in numbered_jsonl(path, fields=Fields(text="query"))]
        if any("positives" in record.metadata for record in records):
            return read_labels(path, collection)
        texts = [record.text for record in records]
    if not texts:
        raise CorpusError(f"{path} has no queries")
    return {f"q{number}": text for number, text in enumerate(dict.fromkeys(texts), 1)}


def calibrate(
    store: T1VectorStore,
    queries: Benchmark | Mapping[str, str],
    *,
    keep: float = KEEP,
    thinking: Mapping[str, Any] | None = None,
    on_progress: Callable[[str, int], None] | None = None,
) -> CalibrationResult:
    """Find the threshold that keeps a share of the quality of always thinking for the fewest thought tokens.

    Args:
        store: The index. A hybrid one is searched by words, too, as it is by default.
        queries: At least 20 judged queries, or texts by id.
        keep: The share of the quality, in (0, 1].
        thinking: Options of the thoughts, such as ``{"budget": 40}``.
        on_progress: Function that is called with an activity and the number of queries that are done since the last
            call. Each query counts twice.

    Raises:
        ValueError: Fewer than 20 queries, none for which thinking changes anything, or a model that does not think.
    """
    judged = isinstance(queries, Benchmark)
    count = len(queries.queries if isinstance(queries, Benchmark) else queries)
    if count < MIN_QUERIES:
        raise ValueError(f"calibration needs at least {MIN_QUERIES} queries, got {count}")
    # 1. Answer every query with and without thinking. (Vectors are cached, so each query is thought about once.)
    cache: EmbeddingCache = {}
    hybrid = store.collection.hybrid
    with_thought = T1System("thinking", store, {**(thinking or {}), "think": True}, hybrid=hybrid, cache=cache)
    without = T1System("without a thought", store, {"think": False}, hybrid=hybrid, cache=cache)
    task = queries if isinstance(queries, Benchmark) else _judge_by_agreement(queries, with_thought)
    tried = experiment.run(task, [with_thought, without], depth=_DEPTH, on_progress=on_progress)
    # 2. Score how unsure each ranking without a thought is, as a search does.
    thought, plain = tried.outcomes.values()
    asked = [
        AskedTwice(
            score=_unsureness(store.collection, plain.run.answers[query].vector),
            plain=plain.scores[MAIN][query],
            thinking=thought.scores[MAIN][query],
            tokens=thought.run.answers[query].thought_tokens,
        )
        for query in task.queries
    ]
    # 3. Choose the threshold.
    points = curve(asked)
    if all(query.plain == query.thinking for query in asked):
        raise ValueError(
            f"thinking changes the ranking of none of the {len(asked)} queries, so no threshold can be fitted: give "
            "queries for which it does, or search with think=False"
        )
    chosen, expected = cheapest(points, keep), held_out(asked, keep)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    calibration = Calibration(chosen.threshold, len(asked), judged, expected.quality, expected.tokens, now)
    return CalibrationResult(calibration, chosen, points, asked, count - len(asked))


def _judge_by_agreement(queries: Mapping[str, str], thinking: T1System) -> Benchmark:
    """Return a benchmark whose only relevant document of a query is the first that thinking finds."""
    unjudged = Benchmark("agreement", None, queries, {query: {_NOTHING_JUDGED: 1} for query in queries})
    answers = thinking.answer(unjudged, _DEPTH)
    first = {query: next(iter(answer.ranking)) for query, answer in answers.items() if answer.ranking}
    if not first:
        raise ValueError("thinking finds nothing for any of the queries: is the index empty?")
    return replace(unjudged.subset(first.keys()), relevant={query: {name: 1} for query, name in first.items()})


def _unsureness(collection: Collection, vector: Any) -> float:  # noqa: ANN401 - a vector
    scores = ranked_scores(collection.search(vector, limit=PROBED))
    return unsureness(figures(scores)) if len(scores) > 1 else 0.0


def _lines(path: Path) -> list[str]:
    lines = Lines(path, raise_error)
    found = []
    for line in lines:
        if error := lines.take_error():
            raise error
        found.append(line)
    return found
