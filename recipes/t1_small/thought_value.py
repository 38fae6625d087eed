"""How much thoughts improve a model's retrieval, by their similarity to the right thought, and at best.

Every query is embedded without a thought, with the right one, and with several that the model samples. How near a
thought is to the right one is the cosine of their vectors by another model. The best sampled thought of each query,
which only its score can choose, bounds what a reward for retrieval can teach a model that thinks such thoughts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.evaluation.baselines import load_encoder
from t1_vectorstore.evaluation.beir import read_beir
from t1_vectorstore.evaluation.benchmark import Benchmark
from t1_vectorstore.evaluation.runs import Answer, Run
from t1_vectorstore.evaluation.scoring import MAIN, Difference, compare, score
from t1_vectorstore.types import Vectors

EDGES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
"""Cosines between the groups of thoughts."""
DEPTH = 100


def report(folder: Path, split: str, embedder: T1Embedder, judge: str, *, samples: int = 5) -> str:
    """Return the report as text.

    Args:
        folder: BEIR folder whose split has right thoughts, as the data generators write it.
        split: Name of the split.
        embedder: Model, with the sampling temperature of the thoughts.
        judge: Folder or hub id of the sentence-transformers model that compares thoughts.
        samples: Number of thoughts of each query.

    Raises:
        CorpusError: The folder cannot be read.
        CheckpointError: The judge cannot be loaded.
        ValueError: The split has no right thoughts.
    """
    # 1. The questions and the judge.
    encode = load_encoder(judge, "comparing thoughts").encode
    whole = read_beir(folder, split)
    if not whole.thoughts:
        raise ValueError(f"the split {split!r} of {folder} has no right thoughts to compare with")
    queries = {name: text for name, text in whole.queries.items() if name in whole.thoughts}
    right = [whole.thoughts[name][0] for name in queries]
    assert whole.read is not None
    documents = {str(document.id): document.text for document in whole.read()}

    # 2. The vectors.
    vectors = np.asarray(embedder.embed_documents(documents.values()).vectors)
    texts = list(queries.values())
    sampled = embedder.embed_queries(texts, think=True, samples=samples)
    thoughts = [[thought.text for thought in embedded.thoughts] for embedded in sampled]
    of_thoughts = [embedded.thought_vectors for embedded in sampled]

    # 3. The scores of each query: without a thought, with the right one, and with each of the sampled ones.
    task = Benchmark(whole.name, None, queries, {name: whole.relevant[name] for name in queries})
    names = list(documents)

    def scores(rows: Sequence[Any]) -> Mapping[str, float]:
        return _scores(task, np.stack(rows), vectors, names)

    plain = scores([embedded.vector for embedded in embedder.embed_queries(texts, think=False)])
    gold = scores([embedded.vector for embedded in embedder.embed_queries(texts, think=True, thoughts=right)])
    own = [scores([rows[number] for rows in of_thoughts if rows is not None]) for number in range(samples)]

    # 4. The gains of sampled thoughts, by their cosine with the right one.
    wanted = encode(right, normalize_embeddings=True)
    cosines = np.stack(
        [(encode([row[n] for row in thoughts], normalize_embeddings=True) * wanted).sum(1) for n in range(samples)]
    )
    gains = np.array([[run[name] - plain[name] for name in queries] for run in own])
    before = np.broadcast_to(list(plain.values()), gains.shape)
    group = np.digitize(cosines, EDGES)
    lines = [f"{len(queries)} queries, {len(documents)} documents; {MAIN} without a thought {np.mean(before):.3f}", ""]
    lines.append("cosine with the right thought | share | gain (standard error) | without a thought")
    for number, (low, high) in enumerate(zip((-1.0, *EDGES), (*EDGES, 1.0), strict=True)):
        found = gains[group == number]
        if found.size:
            error = found.std() / found.size**0.5
            lines.append(
                f"{low:5.2f} to {high:4.2f} | {found.size / gains.size:.3f} | {found.mean():+.4f} ({error:.4f}) | "
                f"{before[group == number].mean():.3f}"
            )

    # 5. What the right thought, and the best of the sampled ones, would gain.
    best = {name: max(run[name] for run in own) for name in queries}
    right_gain, own_gain = compare(gold, plain).mean, float(gains.mean())
    lines += [
        "",
        f"a sampled thought: {own_gain:+.4f}",
        f"the right thought: {_interval(compare(gold, plain))}",
        f"the best of {samples} sampled thoughts: {_interval(compare(best, plain))}",
    ]
    if right_gain > own_gain:
        needed = [(gain - own_gain) / (right_gain - own_gain) for gain in (0.0, 0.03)]
        lines.append(f"share of right thoughts to gain 0: {max(0.0, needed[0]):.2f}; to gain .03: {needed[1]:.2f}")
    return "\n".join(lines)


def _scores(task: Benchmark, queries: Vectors, documents: Vectors, names: Sequence[str]) -> Mapping[str, float]:
    answers = {}
    for name, vector in zip(task.queries, queries, strict=True):
        cosines = documents @ vector
        found = np.argpartition(-cosines, min(DEPTH, len(names) - 1))[:DEPTH]
        answers[name] = Answer({names[row]: float(cosines[row]) for row in found}, 0.0)
    return score(Run("vectors", answers), task)[MAIN]


def _interval(gain: Difference) -> str:
    return f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
