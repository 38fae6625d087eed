"""What T1 is compared with: BM25, and any sentence-transformers model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t1_vectorstore.errors import CheckpointError, MissingExtraError
from t1_vectorstore.evaluation.benchmark import Benchmark
from t1_vectorstore.evaluation.bm25 import Bm25
from t1_vectorstore.evaluation.runs import Answer
from t1_vectorstore.evaluation.systems import BATCH, OnDone, batched

if TYPE_CHECKING:
    from t1_vectorstore.types import Document


class Bm25System:
    """Plain BM25; see ``lexical.py``."""

    name = "bm25"
    space = None

    def __init__(self, documents: Iterable[Document]) -> None:
        """Index the documents in memory.

        Raises:
            MissingExtraError: the ``eval`` extra is not installed.
            ValueError: no document has a word.
        """
        ids, texts = [], []
        for document in documents:
            ids.append(str(document.id))
            texts.append(document.text)
        self._ids = ids
        self._index = Bm25(texts)

    def answer(self, task: Benchmark, depth: int, on_done: OnDone | None = None) -> dict[str, Answer]:
        """Rank by words."""
        answers = {}
        for query, text in task.queries.items():
            started = time.perf_counter()
            ranking = _best((self._ids[row], score) for row, score in self._index.best(text, depth))
            answers[query] = Answer(ranking, time.perf_counter() - started)
            if on_done:
                on_done(1)
        return answers


class SentenceTransformerSystem:
    """A bi-encoder of the ``sentence-transformers`` library, by cosine over all documents in memory."""

    space = None

    def __init__(self, model: str, documents: Iterable[Document], *, instruction: str | None = None) -> None:
        """Load the model and encode the documents.

        Args:
            model: folder or hub id.
            documents: what is ranked.
            instruction: put before each query as the model's own prompt would be; None takes the model's own.

        Raises:
            MissingExtraError: sentence-transformers is not installed.
            CheckpointError: there is no such model, or it cannot be loaded.
        """
        try:
            from sentence_transformers import SentenceTransformer
        except ModuleNotFoundError as error:
            raise MissingExtraError("eval", f"ranking by {model}") from error
        self.name = f"st:{model.rstrip('/').rsplit('/', 1)[-1]}"
        self._model: Any = _loaded(SentenceTransformer, model)
        self._prompt = instruction
        ids, texts = [], []
        for document in documents:
            ids.append(str(document.id))
            texts.append(document.text)
        self._ids = ids
        self._vectors = self._model.encode_document(texts, normalize_embeddings=True, show_progress_bar=False)

    def answer(self, task: Benchmark, depth: int, on_done: OnDone | None = None) -> dict[str, Answer]:
        """Rank by cosine."""
        import numpy as np

        answers = {}
        for batch in batched(task.queries.items(), BATCH):
            started = time.perf_counter()
            vectors = self._model.encode_query(
                [text for _, text in batch], prompt=self._prompt, normalize_embeddings=True, show_progress_bar=False
            )
            scores = vectors @ self._vectors.T
            best = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
            shared = (time.perf_counter() - started) / len(batch)
            for row, (query, _) in enumerate(batch):
                ranking = _best((self._ids[column], float(scores[row, column])) for column in best[row])
                answers[query] = Answer(ranking, shared)
            if on_done:
                on_done(len(batch))
        return answers


def check_model(model: str) -> None:
    """Refuse a folder that is not there; any other name may be a model of the hub.

    Raises:
        ValueError: there is no such folder.
    """
    if not Path(model).is_dir() and (model.startswith((".", "/", "~")) or model.count("/") > 1):
        raise ValueError(f"there is no folder {model!r} to rank by: st:MODEL takes a folder, or a model of the hub")


def _loaded(load: Callable[..., Any], model: str) -> Any:  # noqa: ANN401 - the library's
    here = Path(model).is_dir()
    try:
        if not here and "/" in model:
            from huggingface_hub import snapshot_download

            # One file, to fail at once: the library itself asks for several, and for each of them again and again.
            snapshot_download(model, allow_patterns="config.json")
        return load(model, local_files_only=here)
    except Exception as error:  # the libraries raise their own, and OSError; each means the same to the user
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"cannot load {model!r} by sentence-transformers, which takes a folder with such a model, or the id of one "
            f"on the hub (without a network, one that was downloaded before): {reason}"
        ) from error


def _best(found: Iterable[tuple[str, float]]) -> dict[str, float]:
    """The best score of each document, as an index may give it several times: once for each chunk."""
    ranking: dict[str, float] = {}
    for document, score in found:
        ranking.setdefault(document, score)
    return ranking
