"""Two stock vLLM servers: one generates thoughts, the other computes vectors. They are sent token ids, never text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from typing_extensions import Self

from t1_vectorstore.backends.vllm.event_loop import EventLoopThread
from t1_vectorstore.backends.vllm.generation import EngineBackend, ThoughtRequest
from t1_vectorstore.backends.vllm.http_client import OpenAIClient
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.checkpoints.spec import one_line
from t1_vectorstore.errors import BackendError
from t1_vectorstore.types import Vectors

_REMEDIES = {
    400: "does the server have the checkpoint that was named here, with room for its longest prompt?",
    404: "is this the base URL of a vLLM server (without /v1), started with the runner for this purpose?",
}


class Servers(BaseModel):
    """The ``engine_options`` of ``backend="remote"``. ``docs/vllm.md`` says how to start the servers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    generate_url: str = Field(pattern=r"^https?://")
    """Base URL of the server started with ``--runner generate``."""
    embed_url: str = Field(pattern=r"^https?://")
    """Base URL of the one with ``--runner pooling --convert embed --pooler-config '{"pooling_type": "LAST"}'``."""
    generate_model: str | None = None
    """Name under which the model is served. Optional if the server has only one model."""
    embed_model: str | None = None
    """The same for the other server."""
    api_key: SecretStr | None = None
    """API key, sent to both servers."""
    timeout: float = Field(default=300.0, gt=0)
    """Seconds to wait for a server's next byte. A whole thought may be one answer."""
    attempts: int = Field(default=5, ge=1)
    """Maximum number of attempts while a server is busy or cannot be reached. The waits between them grow to 10 s."""
    in_flight: int = Field(default=64, ge=1)
    """Maximum number of concurrent requests."""
    batch: int = Field(default=32, ge=1)
    """Number of documents in a request."""
    fingerprint: str | None = Field(default=None, pattern="^[0-9a-f]{16}$")
    """``embedder.identity.fingerprint`` from a machine that has the weights. With it they are not needed here."""

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Self:
        """Read an embedder's ``engine_options``.

        Raises:
            ValueError: An unknown or missing field, or a value that a field does not accept.
        """
        try:
            return cls.model_validate(dict(options))
        except ValidationError as error:
            raise ValueError(f"engine_options of backend='remote': {one_line(error)}") from error


def load(checkpoint: Checkpoint, *, stop_ids: Sequence[int], options: Mapping[str, Any]) -> EngineBackend:
    """Connect to the servers, and check as far as possible that they have the checkpoint's model.

    Args:
        checkpoint: The folder and its specification.
        stop_ids: Tokens that end a thought, the emb token first.
        options: The fields of ``Servers``.

    Raises:
        ValueError: Options that ``Servers`` does not accept.
        BackendError: A server cannot be reached, or has another model.
    """
    servers = Servers.read(options)
    engine = RemoteEngine(servers, checkpoint, stop_ids)
    loop = EventLoopThread()
    try:
        max_positions = loop.run(engine.check())
    except BaseException:
        loop.run(engine.close())
        loop.close()
        raise
    return EngineBackend(engine, loop, stop_ids=stop_ids, max_positions=max_positions)


class _Choice(BaseModel):
    index: int = 0
    text: str = ""
    token_ids: list[int] | None = None


class _Completion(BaseModel):
    choices: list[_Choice]


class _Embedding(BaseModel):
    index: int
    embedding: Base64Bytes


class _Embeddings(BaseModel):
    data: list[_Embedding]


class RemoteEngine:
    """A ``GenerationEngine`` on two servers."""

    def __init__(self, servers: Servers, checkpoint: Checkpoint, stop_ids: Sequence[int]) -> None:
        self._checkpoint, self._stop_ids = checkpoint, list(stop_ids)
        self.batch_size, self.in_flight = servers.batch, servers.in_flight
        shared: dict[str, Any] = {
            "api_key": servers.api_key and servers.api_key.get_secret_value(),
            "timeout": servers.timeout,
            "attempts": servers.attempts,
            "connections": servers.in_flight,
            "remedies": _REMEDIES,
        }
        self._generator = OpenAIClient(f"{servers.generate_url.rstrip('/')}/v1", servers.generate_model, **shared)
        self._pooler = OpenAIClient(f"{servers.embed_url.rstrip('/')}/v1", servers.embed_model, **shared)

    async def check(self) -> int | None:
        """Check the servers' vocabulary and the length of their states; return the longest prompt that both accept."""
        generated, pooled = await asyncio.gather(self._generator.check(), self._pooler.check())
        name, token, emb_id = self._checkpoint.name, self._checkpoint.spec.emb_token, self._stop_ids[0]
        echo = {"prompt": [emb_id], "max_tokens": 1, "echo": True, "skip_special_tokens": False}
        answer = await self._generator.post("/completions", echo, _Completion)
        text = "".join(choice.text for choice in answer.choices)
        if not text.startswith(token):
            raise BackendError(
                f"{self._generator.url} reads token {emb_id} as {text!r:.40}, but in {name!r} it is "
                f"{token!r}: the server has another tokenizer"
            )
        [state] = await self.embed([[emb_id]])
        [state_of_text] = await self._embed(token)
        if not np.allclose(state, state_of_text, atol=0.05 * np.abs(state).max()):
            raise BackendError(
                f"{self._pooler.url} does not read {token!r} as token {emb_id}, as {name!r} does: "
                "the server has another tokenizer"
            )
        limits = [generated and generated - 1, pooled, self._checkpoint.max_positions]
        return min(filter(None, limits), default=None)

    async def embed(self, prompts: Sequence[Sequence[int]], *, thought: int | None = None) -> Vectors:
        """Return the hidden state at each prompt's last token, float32 ``(n, hidden)``, in order."""
        return await self._embed([list(prompt) for prompt in prompts])

    async def generate(self, request: ThoughtRequest) -> AsyncIterator[tuple[int, Sequence[int]]]:
        """Generate thoughts; yield the number of a sample, and its new tokens."""
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
            async for part in self._generator.stream("/completions", fields, _Completion):
                for choice in part.choices:
                    yield choice.index, choice.token_ids or []
            return
        for choice in (await self._generator.post("/completions", fields, _Completion)).choices:
            yield choice.index, choice.token_ids or []

    async def close(self) -> None:
        """Close the connections."""
        await self._generator.aclose()
        await self._pooler.aclose()

    async def _embed(self, content: str | list[list[int]]) -> Vectors:
        fields = {"input": content, "encoding_format": "base64", "use_activation": False, "add_special_tokens": False}
        answer = await self._pooler.post("/embeddings", fields, _Embeddings)
        rows = {row.index: row.embedding for row in answer.data}
        expected = 1 if isinstance(content, str) else len(content)
        if len(answer.data) != expected or set(rows) != set(range(expected)):
            raise BackendError(f"{self._pooler.url} returned {len(answer.data)} vectors for {expected} prompts")
        hidden = self._checkpoint.hidden_size
        for row in rows.values():
            if len(row) != 4 * hidden:
                raise BackendError(
                    f"{self._pooler.url} returns vectors of length {len(row) / 4:g}, but {self._checkpoint.name!r} has "
                    f"hidden states of length {hidden}: the server has another model"
                )
        return np.frombuffer(b"".join(rows[index] for index in range(expected)), "<f4").reshape(expected, hidden)
