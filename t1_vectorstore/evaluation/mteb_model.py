"""A T1 embedder as a model of the ``mteb`` library, which runs BRIGHT, C-MTEB and other benchmarks.

    import mteb
    from t1_vectorstore.evaluation.mteb_model import T1Encoder

    mteb.evaluate(T1Encoder("t1-mini"), mteb.get_tasks(tasks=["BrightBiologyRetrieval"]))

Queries are thought about, documents are not. Tasks without the two roles (similarity, clustering, classification) embed
all texts as documents: they are treated alike, and nothing is generated.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import MissingExtraError
from t1_vectorstore.options import EmbedQueriesOptions

if TYPE_CHECKING:
    from t1_vectorstore.types import Vectors

EMPTY = "."
"""Replacement for an empty text, which some data sets have and T1 does not embed."""

_BATCH_SIZE = 64


class T1Encoder:
    """Implements mteb's ``EncoderProtocol`` (mteb 2)."""

    def __init__(
        self,
        model: str = "t1-mini",
        revision: str | None = None,
        *,
        device: str | None = None,
        embedder: T1Embedder | None = None,
        **query_options: Any,  # noqa: ANN401 - those of embed_queries
    ) -> None:
        """Load a model, or use a loaded one.

        Args:
            model: Model name, as for ``T1Embedder.load``.
            revision: Revision of a hub id.
            device: Device of the model. Default: the embedder's choice.
            embedder: Loaded embedder to use instead.
            query_options: Options of ``T1Embedder.embed_queries``, such as ``think=False``.

        Raises:
            MissingExtraError: mteb is not installed.
        """
        try:
            from mteb.models import ModelMeta
            from mteb.models.model_meta import ScoringFunction
        except ModuleNotFoundError as error:
            raise MissingExtraError("mteb", "evaluating by mteb") from error
        self.embedder = embedder or T1Embedder.load(
            model, revision=revision, device=device or "auto", truncation="allow"
        )
        self._query_options = query_options
        identity = self.embedder.identity
        name = identity.model if identity.model.count("/") == 1 else f"t1/{identity.model.rsplit('/', 1)[-1]}"
        # mteb keeps scores by name and revision, and serves them again instead of evaluating. So the revision must
        # differ whenever a vector could: by the weights, the specification with its overrides, and the query options.
        options = EmbedQueriesOptions(**query_options)
        vectors = [self.embedder.spec.identity_fields("query"), options.model_dump(mode="json", exclude_unset=True)]
        configuration = hashlib.sha256(json.dumps([identity.fingerprint, vectors], sort_keys=True).encode())
        self.mteb_model_meta: Any = ModelMeta.create_empty(
            overwrites={
                "name": name,
                "revision": f"{revision or identity.fingerprint[:16]}-{configuration.hexdigest()[:16]}",
                "embed_dim": identity.dimension,
                "max_tokens": self.embedder.spec.max_document_tokens,
                "similarity_fn_name": ScoringFunction.COSINE,
                "framework": ["PyTorch"],
                "experiment_kwargs": query_options or None,
            }
        )

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        prompt_type: Any = None,  # noqa: ANN401 - mteb's enumeration
        **_: Any,  # noqa: ANN401 - the task's names and a batch size, which change no vector
    ) -> Vectors:
        """Embed texts.

        Args:
            inputs: Batches with a list ``text``.
            prompt_type: Whether the texts are queries or documents; ``None`` if the task does not distinguish them.

        Returns:
            float32 ``(n, dimension)``, in order.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        if empty := sum(not text.strip() for text in texts):
            warnings.warn(f"{empty} of {len(texts)} texts are empty and embedded as {EMPTY!r}", stacklevel=2)
        texts = [text if text.strip() else EMPTY for text in texts]
        if not texts:
            return np.empty((0, self.embedder.dimension), np.float32)
        if prompt_type is None or getattr(prompt_type, "value", prompt_type) != "query":
            return self.embedder.embed_documents(texts).vectors
        rows = [
            embedding.vector
            for start in range(0, len(texts), _BATCH_SIZE)
            for embedding in self.embedder.embed_queries(texts[start : start + _BATCH_SIZE], **self._query_options)
        ]
        return np.stack(rows)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:  # noqa: ANN401 - arrays or tensors
        """Return the cosines of all pairs, ``(n, m)``."""
        return _normalised(embeddings1) @ _normalised(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:  # noqa: ANN401 - arrays or tensors
        """Return the cosines of the pairs in order, ``(n,)``."""
        return (_normalised(embeddings1) * _normalised(embeddings2)).sum(-1)


def _normalised(vectors: Any) -> Any:  # noqa: ANN401 - an array or a tensor, as a tensor
    import torch

    return torch.nn.functional.normalize(torch.as_tensor(vectors, dtype=torch.float32), dim=-1)
