"""T1 as a model of mteb: a task of mteb's own class, scored by mteb, with the bundled model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.evaluation.beir import read_beir
from t1_vectorstore.evaluation.mteb_model import T1Encoder
from tests.evaluation import small_benchmark

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_benchmark.write(tmp_path_factory.mktemp("mteb") / "questions")


@pytest.fixture(scope="module")
def embedder() -> T1Embedder:
    return T1Embedder.load("t1-mini")


def task(questions: Path) -> Any:
    from mteb import TaskMetadata
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    benchmark = read_beir(questions)

    class Questions(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name="T1Questions",
            description="Questions of several hops.",
            reference=None,
            dataset={"path": "none/none", "revision": "1"},
            type="Retrieval",
            category="t2t",
            modalities=["text"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
            date=None,
            domains=None,
            task_subtypes=None,
            license=None,
            annotations_creators=None,
            dialect=None,
            sample_creation=None,
            bibtex_citation=None,
        )

        def load_data(self, **_: Any) -> None:
            self.queries = {"test": dict(benchmark.queries)}
            self.corpus = {"test": {str(d.id): {"title": "", "text": d.text} for d in benchmark.documents()}}
            self.relevant_docs = {"test": {query: dict(gains) for query, gains in benchmark.relevant.items()}}
            self.convert_v1_dataset_format_to_v2(num_proc=None)
            self.data_loaded = True

    return Questions()


def test_mteb_and_t1_eval_give_the_same_scores(questions: Path, embedder: T1Embedder) -> None:
    import mteb
    from typer.testing import CliRunner

    from t1_vectorstore.cli import app

    outcome = CliRunner().invoke(app, ["eval", str(questions), "--systems", "thinking,no-thinking", "--json"])
    ours = {row["system"]: row["nDCG@10"] for row in json.loads(outcome.stdout)["benchmarks"][0]["systems"]}
    theirs = {}
    for name, think in (("thinking", True), ("no-thinking", False)):
        encoder = T1Encoder(embedder=embedder, think=think)
        assert isinstance(encoder, mteb.EncoderProtocol)
        result = mteb.evaluate(encoder, task(questions), cache=None, show_progress_bar=False)
        theirs[name] = result.task_results[0].get_score()
    assert theirs == pytest.approx(ours, abs=1e-4)
    assert theirs["thinking"] > theirs["no-thinking"]


def test_description_names_model_and_fingerprint(embedder: T1Embedder) -> None:
    meta = T1Encoder(embedder=embedder, think=False).mteb_model_meta
    assert meta.name == "t1/t1-mini"
    assert meta.revision.startswith(f"{embedder.identity.fingerprint[:16]}-")
    assert meta.experiment_kwargs == {"think": False}


def test_the_cache_never_serves_the_score_of_another_configuration(
    questions: Path, embedder: T1Embedder, tmp_path: Path
) -> None:
    """Equal configurations share a revision, others do not, and mteb's cache is asked by the revision."""
    configurations: list[dict[str, Any]] = [{}, {"think": False}, {"budget": 1}, {"refine_steps": 2}, {"samples": 2}]
    revisions = [T1Encoder(embedder=embedder, **options).mteb_model_meta.revision for options in configurations]
    for overrides in ({"query_instruction": "x"}, {"decoding": {"temperature": 0.5}}, {"max_query_tokens": 20}):
        changed = T1Embedder.load("t1-mini", truncation="allow", overrides=overrides)
        revisions.append(T1Encoder(embedder=changed).mteb_model_meta.revision)
    assert len(set(revisions)) == len(revisions)
    assert T1Encoder(embedder=embedder, think=False).mteb_model_meta.revision == revisions[1]

    import mteb

    scores = []
    for think in (True, False):
        encoder = T1Encoder(embedder=embedder, think=think)
        cache = mteb.ResultCache(tmp_path / "cache")
        result = mteb.evaluate(encoder, task(questions), cache=cache, show_progress_bar=False)
        scores.append(result.task_results[0].get_score())
    assert scores[0] > scores[1]


def test_empty_texts_are_embedded_with_a_warning(embedder: T1Embedder) -> None:
    encoder = T1Encoder(embedder=embedder)
    with pytest.warns(UserWarning, match="1 of 2 texts are empty"):
        vectors = encoder.encode([{"text": ["Oslo", ""]}])
    assert vectors.shape == (2, embedder.dimension)
    assert encoder.similarity(vectors, vectors).diagonal().tolist() == pytest.approx([1, 1])
    assert encoder.similarity_pairwise(vectors, vectors).tolist() == pytest.approx([1, 1])
    assert encoder.encode([]).shape == (0, embedder.dimension)
