"""Measures a model on multi-hop questions over the whole Factbook corpus, against its static twin.

    python -m t1_vectorstore.evaluation.factbook --data countries.jsonl.gz --model t1-mini --twin runs/static/model

Every figure comes from the shipped path, :class:`~t1_vectorstore.embedder.T1Embedder`, and an exact search over all
documents. The splits are those of :mod:`t1_vectorstore.demo.chains`:

- ``hop1``: one fact, trained, possibly in other words;
- ``comp2``, ``comp3``, ``len4``: held-out compositions of start countries seen in training, of 2, 3 and 4 hops;
- ``ood2``, ``ood3``, ``ood4``: start countries that never start a composed training query.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
from typing_extensions import Unpack

from t1_vectorstore.demo.chains import Example, FactDocument, build_corpus, build_split
from t1_vectorstore.demo.factbook import World, read_world
from t1_vectorstore.evaluation import metrics
from t1_vectorstore.evaluation.thoughts import Probe
from t1_vectorstore.specification import Aggregation
from t1_vectorstore.thinking import ThinkingOptions

if TYPE_CHECKING:
    from t1_vectorstore.embedder import T1Embedder
    from t1_vectorstore.types import Vectors

K = 10


@dataclass(frozen=True)
class Figures:
    """What one way of embedding queries reaches on one split.

    Attributes:
        split: Name of the split.
        mode: ``thinking``, ``no thinking``, ``gold thought``, ``another's thought`` (the gold thought of the next
            query) or ``static twin``; the first two also with the steps of a refinement, as in ``thinking, 2 last``.
        queries: Number of queries.
        ndcg: Mean nDCG@10, with its standard error ``ndcg_se``; ``hit`` is hit@1 likewise.
        exact: Share of thoughts equal to the gold thought; None where none is generated.
    """

    split: str
    mode: str
    queries: int
    ndcg: float
    ndcg_se: float
    hit: float
    hit_se: float
    exact: float | None


def splits(world: World, count: int, seed: int) -> dict[str, list[Example]]:
    """Build every split, ``count`` queries each where the facts allow as many."""
    built = {"hop1": build_split(world, None, 1, count, seed)}
    built |= {f"comp{hops}": build_split(world, "comp", hops, count, seed) for hops in (2, 3)}
    built["len4"] = build_split(world, "comp", 4, count, seed)
    return built | {f"ood{hops}": build_split(world, "ood", hops, count, seed) for hops in (2, 3, 4)}


def evaluate(
    model: Probe,
    twin: T1Embedder | None,
    corpus: Sequence[FactDocument],
    queries: Mapping[str, Sequence[Example]],
    *,
    refine: Sequence[int] = (),
) -> list[Figures]:
    """Measure every split in every mode; without a twin, the twin's rows are missing.

    Args:
        model: what is measured.
        twin: its control.
        corpus: all documents.
        queries: by split.
        refine: steps of refinements (see ``specification.Refining``), each with both ways to aggregate.
    """
    ids = [document.id for document in corpus]
    texts = [document.text for document in corpus]
    documents = model.embedder.embed_documents(texts).vectors
    twin_documents = twin.embed_documents(texts).vectors if twin else None
    figures = []
    for split, examples in queries.items():
        asked = [example.query for example in examples]
        gold = [example.thought for example in examples]
        embedded = model.embedder.embed_queries(asked, think=True)
        exact = metrics.mean(
            [float(e.thoughts[0].text == model.as_thought(g)) for e, g in zip(embedded, gold, strict=True)]
        )
        modes = {
            "thinking": np.stack([embedding.vector for embedding in embedded]),
            "no thinking": embedded_as(model.embedder, asked, think=False),
            "gold thought": model.embed_given(asked, gold),
            "another's thought": model.embed_given(asked, [*gold[1:], gold[0]]),
        }
        for steps, how, think in product(refine, get_args(Aggregation), (True, False)):
            mode = f"{'thinking' if think else 'no thinking'}, {steps} {how}"
            modes[mode] = embedded_as(model.embedder, asked, think=think, refine_steps=steps, refine=how)
        for mode, rows in modes.items():
            share = exact if mode == "thinking" else None
            figures.append(measure(split, mode, rows, documents, ids, examples, share))
        if twin is not None and twin_documents is not None:
            rows = embedded_as(twin, asked, think=False)
            figures.append(measure(split, "static twin", rows, twin_documents, ids, examples, None))
    return figures


def embedded_as(embedder: T1Embedder, queries: Sequence[str], **options: Unpack[ThinkingOptions]) -> Vectors:
    """Return (n, dimension) vectors of queries."""
    return np.stack([embedding.vector for embedding in embedder.embed_queries(queries, **options)])


def measure(
    split: str,
    mode: str,
    queries: Vectors,
    documents: Vectors,
    ids: Sequence[str],
    examples: Sequence[Example],
    exact: float | None,
) -> Figures:
    """Rank all documents by cosine and average.

    Args:
        split: Name of the split.
        mode: Name of the way the queries were embedded.
        queries: (n, dim) unit vectors, in the order of ``examples``.
        documents: (m, dim) unit vectors, in the order of ``ids``.
        ids: Ids of the documents.
        examples: What should be found.
        exact: Share of exact thoughts, handed through.
    """
    best = np.argsort(-(queries @ documents.T), axis=1, kind="stable")[:, :K]
    rankings = [[ids[column] for column in row] for row in best]
    relevant = [{example.positive: 1.0} for example in examples]
    ndcg = [metrics.ndcg(ranking, gold, K) for ranking, gold in zip(rankings, relevant, strict=True)]
    hit = [metrics.hit(ranking, gold, 1) for ranking, gold in zip(rankings, relevant, strict=True)]
    errors = metrics.standard_error(ndcg), metrics.standard_error(hit)
    return Figures(split, mode, len(examples), metrics.mean(ndcg), errors[0], metrics.mean(hit), errors[1], exact)


def table(figures: Sequence[Figures]) -> str:
    """Render figures as a Markdown table."""
    lines = ["| split | mode | queries | nDCG@10 | hit@1 | exact thoughts |", "|---|---|---|---|---|---|"]
    for f in figures:
        exact = "" if f.exact is None else f"{f.exact:.1%}"
        cells = f"{f.ndcg:.3f} ± {f.ndcg_se:.3f} | {f.hit:.3f} ± {f.hit_se:.3f} | {exact}"
        lines.append(f"| {f.split} | {f.mode} | {f.queries} | {cells} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: print the table, and write the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(prog="python -m t1_vectorstore.evaluation.factbook", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="countries.jsonl.gz")
    parser.add_argument("--model", default="t1-mini", help="bundled model or folder")
    parser.add_argument("--twin", help="folder of the static twin")
    parser.add_argument("--queries", type=int, default=250, help="per split")
    parser.add_argument("--seed", type=int, default=0, help="of the splits' queries")
    parser.add_argument("--dtype", default="auto", help="of the weights")
    parser.add_argument("--refine", type=int, nargs="+", default=[], metavar="STEPS", help="also refine the vectors")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    given = parser.parse_args(arguments)
    if given.queries < 1:
        raise ValueError(f"--queries must be at least 1, got {given.queries}")
    world = read_world(given.data)

    model = Probe.load(given.model, dtype=given.dtype)
    twin = Probe.load(given.twin, dtype=given.dtype).embedder if given.twin else None
    asked = splits(world, given.queries, given.seed)
    figures = evaluate(model, twin, build_corpus(world), asked, refine=given.refine)
    print(table(figures))  # noqa: T201 - the command's output
    if given.json:
        given.json.write_text(json.dumps([asdict(f) for f in figures], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
