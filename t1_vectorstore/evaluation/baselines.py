"""Baselines to compare T1 with: BM25, and any sentence-transformers model."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t1_vectorstore.errors import CheckpointError, MissingExtraError
from t1_vectorstore.evaluation.benchmark import Benchmark
from t1_vectorstore.evaluation.runs import Answer
from t1_vectorstore.evaluation.systems import BATCH_SIZE, OnProgress
from t1_vectorstore.iteration import batched

if TYPE_CHECKING:
    from t1_vectorstore.types import Document


class Bm25:
    """BM25 over documents in memory.

    The settings are the defaults of ``bm25s``: Lucene's variant, k1 = 1.5, b = 0.75, and English stop words. Training
    uses it, too, to check thoughts. Hybrid collections have their own: ``t1_vectorstore.collection.bm25``.
    """

    name = "bm25"
    model = None

    def __init__(self, documents: Iterable[Document]) -> None:
        """Index the documents.

        Raises:
            MissingExtraError: The ``eval`` extra is not installed.
            ValueError: No document has a word.
        """
        try:
            import bm25s
        except ModuleNotFoundError as error:
            raise MissingExtraError("eval", "BM25") from error
        self._library: Any = bm25s
        self._index: Any = bm25s.BM25()
        self._ids, texts = _ids_and_texts(documents)
        words = bm25s.tokenize(texts, stopwords="en", show_progress=False)
        if not any(words.ids):
            raise ValueError(f"BM25 ranks by words of two letters or more, and none of {len(texts)} texts has one")
        self._index.index(words, show_progress=False)

    def search(self, query: str, limit: int) -> dict[str, float]:
        """Return scores by document id, best first, of at most ``limit`` documents that share a word with the query."""
        words = self._library.tokenize([query], stopwords="en", show_progress=False, return_ids=False)
        rows, scores = self._index.retrieve(words, k=min(limit, len(self._ids)), show_progress=False)
        found = zip(rows[0].tolist(), scores[0].tolist(), strict=True)
        return _best_scores((self._ids[row], score) for row, score in found if score > 0)

    def answer(self, task: Benchmark, depth: int, on_progress: OnProgress | None = None) -> dict[str, Answer]:
        """Rank by words."""
        answers = {}
        for query, text in task.queries.items():
            started = time.perf_counter()
            answers[query] = Answer(self.search(text, depth), time.perf_counter() - started)
            if on_progress:
                on_progress(1)
        return answers


class SentenceTransformerSystem:
    """A bi-encoder of the ``sentence-transformers`` library, by cosine over all documents in memory."""

    model = None

    def __init__(self, model: str, documents: Iterable[Document], *, instruction: str | None = None) -> None:
        """Load the model and encode the documents.

        Args:
            model: Folder or hub id.
            documents: Documents to rank.
            instruction: Prompt to put before each query. Default: the model's own.

        Raises:
            MissingExtraError: sentence-transformers is not installed.
            CheckpointError: There is no such model, or it cannot be loaded.
        """
        self._encoder: Any = load_encoder(model, f"ranking by {model}")
        self.name = f"st:{model.rstrip('/').rsplit('/', 1)[-1]}"
        self._prompt = instruction
        self._ids, texts = _ids_and_texts(documents)
        self._vectors = self._encoder.encode_document(texts, normalize_embeddings=True, show_progress_bar=False)

    def answer(self, task: Benchmark, depth: int, on_progress: OnProgress | None = None) -> dict[str, Answer]:
        """Rank by cosine."""
        import numpy as np

        answers = {}
        for batch in batched(task.queries.items(), BATCH_SIZE):
            started = time.perf_counter()
            vectors = self._encoder.encode_query(
                [text for _, text in batch], prompt=self._prompt, normalize_embeddings=True, show_progress_bar=False
            )
            scores = vectors @ self._vectors.T
            best = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
            seconds = (time.perf_counter() - started) / len(batch)
            for row, (query, _) in enumerate(batch):
                ranking = _best_scores((self._ids[column], float(scores[row, column])) for column in best[row])
                answers[query] = Answer(ranking, seconds)
            if on_progress:
                on_progress(len(batch))
        return answers


def check_model_name(model: str, use: str = "to rank by: st:MODEL takes a folder, or a model of the hub") -> None:
    """Refuse a folder that does not exist; any other name may be a model of the hub.

    Args:
        model: Folder or hub id.
        use: End of the message: what the model is for.

    Raises:
        ValueError: There is no such folder.
    """
    if not Path(model).is_dir() and (model.startswith((".", "/", "~")) or model.count("/") > 1):
        raise ValueError(f"there is no folder {model!r} {use}")


def load_encoder(model: str, feature: str) -> Any:  # noqa: ANN401 - the library's
    """Load a sentence-transformers model.

    Args:
        model: Folder or hub id.
        feature: What needs it, for the message if the library is missing.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        CheckpointError: There is no such model, or it cannot be loaded.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ModuleNotFoundError as error:
        raise MissingExtraError("eval", feature) from error
    return _load(SentenceTransformer, model)


@contextmanager
def _without_retry_lines() -> Iterator[None]:
    """Keep the hub's client from printing a line for each retry; the last error is reported."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _load(load: Callable[..., Any], model: str) -> Any:  # noqa: ANN401 - the library's
    is_folder = Path(model).is_dir()
    try:
        if not is_folder and "/" in model:
            from huggingface_hub import snapshot_download

            # One file first, to fail at once: the library asks for several, and retries each of them.
            with _without_retry_lines():
                snapshot_download(model, allow_patterns="config.json")
        with _without_retry_lines():
            return load(model, local_files_only=is_folder)
    except Exception as error:  # the libraries raise their own and OSError, for the same reason to the user
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"cannot load {model!r} by sentence-transformers, which takes a folder with such a model, or its id on the "
            f"hub (without a network, of a model that was downloaded before): {reason}"
        ) from error


def _ids_and_texts(documents: Iterable[Document]) -> tuple[list[str], list[str]]:
    ids, texts = [], []
    for document in documents:  # an iterator: each document is read once
        ids.append(str(document.id))
        texts.append(document.text)
    return ids, texts


def _best_scores(ranked: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Return the best score of each document; the chunks of a document have its id."""
    scores: dict[str, float] = {}
    for document, score in ranked:
        scores.setdefault(document, score)
    return scores
