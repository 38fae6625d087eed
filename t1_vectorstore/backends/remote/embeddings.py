"""The request for vectors, which vLLM and llama.cpp answer alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Base64Bytes, BaseModel

from t1_vectorstore.backends.remote.http_client import OpenAIClient
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.errors import BackendError
from t1_vectorstore.types import Vectors


class _Embedding(BaseModel):
    index: int
    embedding: Base64Bytes


class _Embeddings(BaseModel):
    data: list[_Embedding]


async def embed(
    client: OpenAIClient, checkpoint: Checkpoint, content: str | list[list[int]], fields: Mapping[str, Any]
) -> Vectors:
    """Return a server's hidden states, float32 ``(n, hidden)``, in the order of the prompts.

    Args:
        client: Client of the server.
        checkpoint: The checkpoint whose model it should have.
        content: One text, or the token ids of several prompts.
        fields: Further fields of the request, such as one that turns normalising off.

    Raises:
        BackendError: The server fails, or its answer has another number of vectors, or vectors of another length.
    """
    answer = await client.post("/v1/embeddings", {"input": content, "encoding_format": "base64", **fields}, _Embeddings)
    rows = {row.index: row.embedding for row in answer.data}
    expected = 1 if isinstance(content, str) else len(content)
    if len(answer.data) != expected or set(rows) != set(range(expected)):
        raise BackendError(f"{client.url} returned {len(answer.data)} vectors for {expected} prompts")
    hidden = checkpoint.hidden_size
    for row in rows.values():
        if len(row) != 4 * hidden:
            raise BackendError(
                f"{client.url} returns vectors of length {len(row) / 4:g}, but {checkpoint.name!r} has "
                f"hidden states of length {hidden}: the server has another model"
            )
    return np.frombuffer(b"".join(rows[index] for index in range(expected)), "<f4").reshape(expected, hidden)
