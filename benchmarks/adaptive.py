"""Measure ``think="auto"`` on a mixed set over the corpus of t1 demo: half single facts, half chains of two to four.

    python -m benchmarks.adaptive COUNTRIES [--queries 600] [--weights] [--json FILE] [--plot FILE]

COUNTRIES is the Factbook's ``countries.jsonl.gz``; see recipes/t1_mini. The threshold is measured on other queries than
it is fitted on. ``--weights`` also fits the weights of the score, on yet others.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recipes.t1_mini.chains import Chain, build_corpus, build_split
from recipes.t1_mini.countries import World, read_world
from t1_vectorstore import Document, T1Embedder, T1VectorStore
from t1_vectorstore.evaluation.benchmark import Benchmark
from t1_vectorstore.evaluation.calibrating import KEEP, calibrate
from t1_vectorstore.evaluation.trade_off import AskedTwice, TradeOff, cheapest, curve, measure, plot
from t1_vectorstore.searching.deciding import DEFAULT_THRESHOLD, PROBED, document_scores, figures

TARGET = 0.6
"""Share of the thought tokens of always thinking."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("countries", type=Path)
    parser.add_argument("--queries", type=int, default=600, help="number of queries in each set")
    parser.add_argument("--weights", action="store_true", help="also fit the weights of the score")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--plot", type=Path, help="file to draw the trade-off to")
    options = parser.parse_args(argv)
    world = read_world(options.countries)
    with tempfile.TemporaryDirectory() as folder, T1Embedder.load("t1-mini") as embedder:
        store = T1VectorStore.open(folder, embedder)
        store.add(Document(document.text, id=document.id) for document in build_corpus(world))
        fitted = calibrate(store, mixed_set(world, options.queries, seed=0))
        asked = calibrate(store, mixed_set(world, options.queries, seed=1)).asked
        rows = {
            "fitted on other queries": measure(asked, fitted.calibration.threshold),
            "the default": measure(asked, DEFAULT_THRESHOLD),
            f"the best with {TARGET:.0%} of the tokens": within(asked, TARGET),
            "an oracle that knows what each thought gains": cheapest(curve(by_gain(asked)), KEEP),
        }
        if options.weights:
            print(fit_weights(store, [mixed_set(world, options.queries, seed=seed) for seed in (2, 3)]), "\n")
        store.close()
    print("| threshold | | queries thought about | thought tokens | nDCG@10 |")
    print("|---|---|---|---|---|")
    for name, found in rows.items():
        print(f"| {name} | {found.threshold:.3f} | {found.queries:.0%} | {found.tokens:.0%} | {found.quality:.1%} |")
    if options.json:
        figures_of = {name: asdict(found) for name, found in rows.items()}
        everything = {"queries": options.queries, "keep": KEEP, "target": TARGET, "rows": figures_of}
        options.json.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        plot(curve(asked), rows["fitted on other queries"], KEEP, "t1-mini, threshold of other queries", options.plot)


def mixed_set(world: World, count: int, *, seed: int) -> Benchmark:
    """Return single facts, and as many chains from unseen starts: of two, three and four facts, a third each."""
    chains: list[Chain] = build_split(world, None, 1, count // 2, seed)
    for hops in (2, 3, 4):
        chains += build_split(world, "ood", hops, count // 6, seed)
    queries = {f"q{at}": chain.query for at, chain in enumerate(chains)}
    relevant = {f"q{at}": {chain.positive: 1} for at, chain in enumerate(chains)}
    return Benchmark(f"mixed/{seed}", None, queries, relevant)


def within(asked: Sequence[AskedTwice], tokens: float) -> TradeOff:
    """Return the point of the curve with the best quality for a share of the tokens."""
    return max((point for point in curve(asked) if point.tokens <= tokens), key=lambda point: point.quality)


def by_gain(asked: Sequence[AskedTwice]) -> list[AskedTwice]:
    """Return the queries with scores that put what a thought gains for each of its tokens first."""
    gains = sorted((each.thinking - each.plain) / max(1, each.tokens) for each in asked)
    ranks = {gain: at / len(gains) for at, gain in enumerate(gains)}
    return [
        AskedTwice(ranks[(each.thinking - each.plain) / max(1, each.tokens)], each.plain, each.thinking, each.tokens)
        for each in asked
    ]


def fit_weights(store: T1VectorStore, sets: Sequence[Benchmark]) -> str:
    """Return the terms of a logistic regression of whether a thought improves the ranking."""
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

    shown: list[Any] = []
    improved: list[bool] = []
    for each in sets:
        for embedding in store.embedder.embed_queries(each.queries.values(), think=False):
            found = figures(document_scores(store.collection.search(embedding.vector, limit=PROBED)))
            shown.append([found.level, found.margin, found.entropy])
        improved += [pair.thinking > pair.plain for pair in calibrate(store, each).asked]
    model = LogisticRegression(C=1e4, max_iter=5000).fit(shown, improved)
    level, margin, entropy = model.coef_[0]
    return f"bias {model.intercept_[0]:.1f}, level {level:.1f}, margin {margin:.1f}, entropy {entropy:.1f}"


if __name__ == "__main__":
    main()
