"""Any T1 embedder as a model of the ``mteb`` library, so that BRIGHT, C-MTEB and the rest run by the standard tool.

    import mteb
    from t1_vectorstore.evaluation.mteb_model import T1Encoder

    mteb.evaluate(T1Encoder("t1-mini"), mteb.get_tasks(tasks=["BrightBiologyRetrieval"]))

Queries are thought about, documents are not. The texts of tasks that know neither (similarity, clustering,
classification) take the document path: both sides are then embedded alike, and nothing is generated.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import MissingExtraError

if TYPE_CHECKING:
    from t1_vectorstore.types import Vectors

EMPTY = "."
"""Stands for an empty text, which some data sets have and T1 does not embed."""

_QUERY = "query"
_BATCH = 64


class T1Encoder:
    """Fulfils mteb's ``EncoderProtocol`` (mteb 2)."""

    def __init__(
        self,
        model: str = "t1-mini",
        revision: str | None = None,
        *,
        device: str | None = None,
        embedder: T1Embedder | None = None,
        **query_options: Any,  # noqa: ANN401 - of embed_queries
    ) -> None:
        """Load a model, or take one that is loaded.

        Args:
            model: as for :meth:`T1Embedder.load`.
            revision: of a hub id.
            device: of the model; None lets the embedder choose.
            embedder: takes the place of a model to be loaded.
            query_options: of :meth:`T1Embedder.embed_queries`, such as ``think=False``.

        Raises:
            MissingExtraError: mteb is not installed.
        """
        try:
            from mteb.models import ModelMeta
        except ModuleNotFoundError as error:
            raise MissingExtraError("mteb", "evaluating by mteb") from error
        self.embedder = embedder or T1Embedder.load(
            model, revision=revision, device=device or "auto", truncation="allow"
        )
        self._options = query_options
        identity = self.embedder.identity
        name = identity.model if identity.model.count("/") == 1 else f"t1/{identity.model.rsplit('/', 1)[-1]}"
        self._meta: Any = ModelMeta.create_empty(
            overwrites={
                "name": name,
                "revision": revision or identity.fingerprint[:16],
                "embed_dim": identity.dimension,
                "max_tokens": self.embedder.spec.max_document_tokens,
                "similarity_fn_name": "cosine",
                "framework": ["PyTorch"],
                "experiment_kwargs": query_options or None,
            }
        )

    @property
    def mteb_model_meta(self) -> Any:  # noqa: ANN401 - mteb's
        """What mteb writes beside the figures; the fingerprint is the revision where there is no other."""
        return self._meta

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        prompt_type: Any = None,  # noqa: ANN401 - mteb's enumeration
        **_: Any,  # noqa: ANN401 - the task's names and a batch size, which change no vector
    ) -> Vectors:
        """Embed texts.

        Args:
            inputs: batches with a list ``text``.
            prompt_type: whether they are queries or documents; None where the task does not distinguish them.

        Returns:
            float32 ``(n, dimension)``, in order.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        if empty := [row for row, text in enumerate(texts) if not text.strip()]:
            warnings.warn(f"{len(empty)} of {len(texts)} texts are empty and embedded as {EMPTY!r}", stacklevel=2)
        texts = [text if text.strip() else EMPTY for text in texts]
        if not texts:
            return np.empty((0, self.embedder.dimension), np.float32)
        if prompt_type is None or getattr(prompt_type, "value", prompt_type) != _QUERY:
            return self.embedder.embed_documents(texts).vectors
        rows = [
            embedding.vector
            for start in range(0, len(texts), _BATCH)
            for embedding in self.embedder.embed_queries(texts[start : start + _BATCH], **self._options)
        ]
        return np.stack(rows)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:  # noqa: ANN401 - arrays or tensors
        """Cosines of all pairs, ``(n, m)``."""
        return _unit(embeddings1) @ _unit(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:  # noqa: ANN401 - arrays or tensors
        """Cosines of the pairs in order, ``(n,)``."""
        return (_unit(embeddings1) * _unit(embeddings2)).sum(-1)


def _unit(vectors: Any) -> Any:  # noqa: ANN401 - an array or a tensor, as a tensor
    import torch

    return torch.nn.functional.normalize(torch.as_tensor(vectors, dtype=torch.float32), dim=-1)
