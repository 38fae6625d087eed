"""What a vLLM server is asked for: thoughts as completions, and whether it has the checkpoint's tokenizer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import numpy as np
from pydantic import BaseModel

from t1_vectorstore.backends.remote.embeddings import embed
from t1_vectorstore.backends.remote.http_client import OpenAIClient
from t1_vectorstore.backends.vllm.generation import ThoughtRequest
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.errors import BackendError
from t1_vectorstore.types import Vectors

_EMBEDDING_FIELDS = {"use_activation": False, "add_special_tokens": False}


class _Choice(BaseModel):
    index: int = 0
    text: str = ""
    token_ids: list[int] | None = None


class _Completion(BaseModel):
    choices: list[_Choice]


class VLLMServer:
    """A ``ModelServer`` of vLLM."""

    slots: int | None = None

    def __init__(self, client: OpenAIClient, checkpoint: Checkpoint, stop_ids: Sequence[int]) -> None:
        self._client, self._checkpoint, self._stop_ids = client, checkpoint, list(stop_ids)

    async def check_generator(self) -> int | None:
        """See ``ModelServer.check_generator``. A completion that echoes the emb token shows how it is read."""
        token, emb_id = self._checkpoint.spec.emb_token, self._stop_ids[0]
        echo = {"prompt": [emb_id], "max_tokens": 1, "echo": True, "skip_special_tokens": False}
        answer = await self._client.post("/v1/completions", echo, _Completion)
        text = "".join(choice.text for choice in answer.choices)
        if not text.startswith(token):
            raise BackendError(
                f"{self._client.url} reads token {emb_id} as {text!r:.40}, but in {self._checkpoint.name!r} it is "
                f"{token!r}: the server has another tokenizer"
            )
        return self._client.max_model_len and self._client.max_model_len - 1

    async def check_pooler(self) -> int | None:
        """See ``ModelServer.check_pooler``. The emb token must have the same state as text and as an id."""
        token = self._checkpoint.spec.emb_token
        [state] = await self.embed([[self._stop_ids[0]]])
        [state_of_text] = await self._embed(token)
        if not np.allclose(state, state_of_text, atol=0.05 * np.abs(state).max()):
            raise BackendError(
                f"{self._client.url} does not read {token!r} as token {self._stop_ids[0]}, as "
                f"{self._checkpoint.name!r} does: the server has another tokenizer"
            )
        return self._client.max_model_len

    async def embed(self, prompts: Sequence[Sequence[int]]) -> Vectors:
        """See ``ModelServer.embed``."""
        return await self._embed([list(prompt) for prompt in prompts])

    async def generate(self, request: ThoughtRequest) -> AsyncIterator[tuple[int, Sequence[int]]]:
        """See ``ModelServer.generate``. All samples are one request."""
        fields = {
            "prompt": list(request.prompt),
            "n": request.samples,
            "max_tokens": request.decoding.max_tokens + 1,
            "temperature": request.decoding.temperature,
            "top_p": request.decoding.top_p,
            "top_k": request.decoding.top_k,
            "seed": request.seed,
            "min_p": 0.0,  # this and the next override the model's generation_config.json
            "repetition_penalty": 1.0,
            "stop_token_ids": self._stop_ids,
            "ignore_eos": True,
            "return_token_ids": True,
            "skip_special_tokens": False,
            "include_stop_str_in_output": True,
        }
        if request.streamed:
            async for part in self._client.stream("/v1/completions", fields, _Completion):
                for choice in part.choices:
                    yield choice.index, choice.token_ids or []
            return
        for choice in (await self._client.post("/v1/completions", fields, _Completion)).choices:
            yield choice.index, choice.token_ids or []

    async def _embed(self, content: str | list[list[int]]) -> Vectors:
        return await embed(self._client, self._checkpoint, content, _EMBEDDING_FIELDS)
