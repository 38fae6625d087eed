"""The trade-off of ``think="auto"``: for each threshold, how much quality is kept for how many thought tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any

from t1_vectorstore.errors import MissingExtraError

_FOLDS = 5
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class AskedTwice:
    """A query that was answered with and without thinking.

    Attributes:
        score: How unsure the ranking without a thought is; see ``t1_vectorstore.searching.deciding``.
        plain: Quality of that ranking, such as nDCG@10.
        thinking: Quality of the ranking with a thought.
        tokens: Number of tokens of the thought.
    """

    score: float
    plain: float
    thinking: float
    tokens: int


@dataclass(frozen=True, slots=True)
class TradeOff:
    """What a threshold keeps and costs; shares are of always thinking.

    Attributes:
        threshold: Score from which queries are thought about.
        queries: Share of the queries that are thought about.
        quality: Share of the quality.
        tokens: Share of the thought tokens.
    """

    threshold: float
    queries: float
    quality: float
    tokens: float


def measure(asked: Sequence[AskedTwice], threshold: float) -> TradeOff:
    """Return what a threshold would keep and cost on some queries; shares of nothing are 1."""
    thought = [each for each in asked if threshold <= each.score and threshold < 1]
    kept = sum(each.plain for each in asked) + sum(each.thinking - each.plain for each in thought)
    return TradeOff(
        threshold,
        len(thought) / len(asked),
        _share(kept, sum(each.thinking for each in asked)),
        _share(sum(each.tokens for each in thought), sum(each.tokens for each in asked)),
    )


def curve(asked: Sequence[AskedTwice]) -> list[TradeOff]:
    """Return the trade-off of every threshold that makes a difference, from never (1) to always (0) thinking.

    A threshold lies in the middle between two scores.
    """
    quality, always = sum(each.plain for each in asked), sum(each.thinking for each in asked)
    spent, total, thought = 0, sum(each.tokens for each in asked), 0
    points = [TradeOff(1.0, 0.0, _share(quality, always), _share(0, total))]
    unsure_first = [
        list(same) for _, same in groupby(sorted(asked, key=lambda each: -each.score), key=lambda each: each.score)
    ]
    for same, following in zip_longest(unsure_first, unsure_first[1:]):
        thought += len(same)
        quality += sum(each.thinking - each.plain for each in same)
        spent += sum(each.tokens for each in same)
        threshold = (same[0].score + following[0].score) / 2 if following else 0.0
        points.append(TradeOff(threshold, thought / len(asked), _share(quality, always), _share(spent, total)))
    return points


def cheapest(points: Sequence[TradeOff], keep: float) -> TradeOff:
    """Return the point with the fewest tokens among those that keep a share of the quality of always thinking."""
    good = [point for point in points if point.quality >= keep - _ROUNDING]
    return min(good or points[-1:], key=lambda point: (point.tokens, -point.threshold))


def held_out(asked: Sequence[AskedTwice], keep: float) -> TradeOff:
    """Return what to expect of a threshold on queries that it was not fitted on, by cross-validation.

    The queries are dealt into five parts. Each part is measured with the threshold that is fitted on the others. The
    threshold of the answer is the mean.
    """
    parts = [asked[start::_FOLDS] for start in range(min(_FOLDS, len(asked)))]
    kept = always = spent = total = thought = thresholds = 0.0
    for part in parts:
        others = [each for other in parts if other is not part for each in other] or part
        found = cheapest(curve(others), keep)
        there = measure(part, found.threshold)
        always_there, total_there = sum(each.thinking for each in part), sum(each.tokens for each in part)
        kept, always = kept + there.quality * always_there, always + always_there
        spent, total = spent + there.tokens * total_there, total + total_there
        thought, thresholds = thought + there.queries * len(part), thresholds + found.threshold
    return TradeOff(thresholds / len(parts), thought / len(asked), _share(kept, always), _share(spent, total))


def table(points: Sequence[TradeOff], chosen: TradeOff, rows: int = 9) -> str:
    """Return a Markdown table of some of the points, spread evenly over the tokens, with the chosen one."""
    shown = {0, len(points) - 1, points.index(chosen)}
    for step in range(1, rows):
        shown.add(min(range(len(points)), key=lambda at: abs(points[at].tokens - step / rows)))
    lines = ["| threshold | queries thought about | thought tokens | quality |", "|---|---|---|---|"]
    for at in sorted(shown):
        point = points[at]
        name = {0: "1 (never)", len(points) - 1: "0 (always)"}.get(at, f"{point.threshold:.3f}")
        mark = " **chosen**" if point is chosen else ""
        lines.append(f"| {name}{mark} | {point.queries:.0%} | {point.tokens:.0%} | {point.quality:.1%} |")
    return "\n".join(lines)


def plot(points: Sequence[TradeOff], chosen: TradeOff, keep: float, title: str, file: Path) -> None:
    """Draw the curve as a PNG, beside the line of a choice at random.

    Raises:
        MissingExtraError: The ``eval`` extra is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("eval", "the plot") from error
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes: Any = figure.add_subplot()
    axes.plot(*_percent(points), label='think="auto"', linewidth=2)
    axes.plot(*_percent([points[0], points[-1]]), "--", color="#777777", linewidth=1, label="at random")
    axes.axhline(100 * keep, color="#999999", linewidth=1)
    axes.plot(*_percent([chosen]), "o", color="#b02a2a", markersize=8, label=f"threshold {chosen.threshold:.3f}")
    axes.set(title=title, xlabel="thought tokens, % of always thinking", ylabel="quality, % of always thinking")
    axes.grid(visible=True, alpha=0.25)
    axes.legend(loc="lower right")
    figure.savefig(file, format="png", dpi=130)


def _percent(points: Sequence[TradeOff]) -> tuple[list[float], list[float]]:
    return [100 * point.tokens for point in points], [100 * point.quality for point in points]


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 1.0
