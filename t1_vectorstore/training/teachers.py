"""The embeddings of a teacher, a sentence-transformers model, which are computed once and kept in files of the run."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from t1_vectorstore.errors import CorpusError, MissingExtraError
from t1_vectorstore.evaluation.baselines import check_model_name, load_encoder
from t1_vectorstore.readers.records import numbered_jsonl
from t1_vectorstore.training.batches import TeacherScores, TeacherVectors
from t1_vectorstore.training.configs import Distillation
from t1_vectorstore.training.distributed import is_main_process, wait_for_file
from t1_vectorstore.training.examples import TrainingData
from t1_vectorstore.types import Vectors

log = logging.getLogger(__name__)
TEACHER_FILE = "teacher.npz"
LOG_EVERY = 5120
"""Number of texts between two reports on a teacher's progress."""


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yield the path of a temporary file that takes the place of ``file`` when the block is left without an error."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name("partial-" + file.name)  # keeps the suffix, to which NumPy would add its own
    yield partial
    partial.replace(file)


def embed_with_teacher(name: str, data: TrainingData, parts: Sequence[str], file: Path) -> TeacherScores:
    """Embed queries and their documents with a teacher, or read the embeddings from ``file`` if it exists.

    Args:
        name: Name or folder of a sentence-transformers model.
        data: Queries, with all their hard negatives, and documents.
        parts: Parts of the data whose queries are embedded; all if empty.
        file: File in which the embeddings are kept.

    Raises:
        MissingExtraError: The ``eval`` extra, which has sentence-transformers, is not installed.
        CheckpointError: The teacher cannot be loaded.
    """
    queries = list(dict.fromkeys(e.query for e in data.examples if not parts or e.part in parts))
    used = {name for example in data.examples for name in (*example.positives, *example.negatives)}
    numbers = [number for number, name in enumerate(data.documents) if name in used]
    if is_main_process() and not file.is_file():
        model = load_encoder(name, f"the teacher {name!r}")
        texts = list(data.documents.values())
        log.info("embedding %d documents and %d queries with the teacher", len(numbers), len(queries))
        documents = model.encode([texts[n] for n in numbers], normalize_embeddings=True, show_progress_bar=False)
        query_vectors = model.encode(queries, normalize_embeddings=True, show_progress_bar=False)
        with replacing(file) as partial:
            np.savez(partial, documents=documents, queries=query_vectors)
    wait_for_file(file)
    with np.load(file) as arrays:
        return TeacherScores(arrays["documents"], numbers, arrays["queries"], queries)


def check_distillation(distill: Distillation, data: TrainingData) -> None:
    """Check that there is a teacher, and that vectors which were computed before are those of the data.

    Raises:
        CorpusError: ``vectors`` or its file of texts is missing or malformed, or lacks a text of the data.
        ValueError: The folder of the teacher does not exist.
        MissingExtraError: The ``eval`` extra, which has sentence-transformers, is not installed.
    """
    if distill.vectors is None:
        assert distill.teacher is not None
        check_model_name(distill.teacher, "to distil: teacher is a folder, or a model of the hub")
        if find_spec("sentence_transformers") is None:
            raise MissingExtraError("eval", f"the teacher {distill.teacher!r}")
        return
    known = read_vectors(distill.vectors)
    for text in (*data.documents.values(), *(example.query for example in data.examples)):
        if text not in known:
            raise CorpusError(f"{distill.vectors} has no vector of the text {text!r:.80}: compute the vectors again")


def distilled_vectors(distill: Distillation, texts: Sequence[str], folder: Path) -> TeacherVectors:
    """Return a teacher's vectors of texts: from a file of the user, from one in ``folder``, or from the model.

    The file in ``folder`` is named after a digest of the model and the texts, so that stages share it.

    Args:
        distill: Where the vectors come from.
        texts: Distinct texts.
        folder: Folder of the run.

    Raises:
        CorpusError: As in ``read_vectors``.
        CheckpointError: The teacher cannot be loaded.
        MissingExtraError: The ``eval`` extra, which has sentence-transformers, is not installed.
    """
    if distill.vectors is not None:
        return read_vectors(distill.vectors)
    assert distill.teacher is not None
    file = folder / f"teacher-{_digest(distill.teacher, texts)}.npy"
    if is_main_process() and not file.is_file():
        model = load_encoder(distill.teacher, f"the teacher {distill.teacher!r}")
        parts: list[Vectors] = []
        for start in range(0, len(texts), LOG_EVERY):
            log.info("embedding texts with the teacher: %d of %d", start, len(texts))
            batch = list(texts[start : start + LOG_EVERY])
            parts.append(model.encode(batch, normalize_embeddings=True, show_progress_bar=False))
        with replacing(file) as partial:
            np.save(partial, np.concatenate(parts))
    wait_for_file(file)
    return TeacherVectors(np.load(file), texts)


def read_vectors(path: Path) -> TeacherVectors:
    """Read vectors that were computed before, and scale them to length 1.

    Raises:
        CorpusError: A file is missing or malformed, the numbers of texts and vectors differ, or a vector has no
            direction.
    """
    file = path.with_suffix(".jsonl")
    if missing := [each for each in (path, file) if not each.is_file()]:
        raise CorpusError(f"{missing[0]} is missing: vectors needs NAME.npy, and NAME.jsonl with the text of each row")
    texts = [document.text for _, document in numbered_jsonl(file)]
    try:
        vectors = np.load(path)
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} is not a NumPy file: {error}") from error
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise CorpusError(f"{path} has the shape {vectors.shape}, but {file} has {len(texts)} texts: one row for each")
    vectors = vectors.astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if wrong := np.flatnonzero(~((lengths[:, 0] > 0) & np.isfinite(lengths[:, 0]))).tolist():
        raise CorpusError(f"{path}: row {wrong[0]} is zero or not finite: compute the vectors again")
    return TeacherVectors(vectors / lengths, texts)


def _digest(model: str, texts: Sequence[str]) -> str:
    """Return a digest of a model, with its files if it is a folder, and of texts."""
    digest = hashlib.sha256(json.dumps([model, *texts]).encode())
    for file in sorted(path for path in Path(model).rglob("*") if path.is_file()):
        digest.update(str(file.relative_to(model)).encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
