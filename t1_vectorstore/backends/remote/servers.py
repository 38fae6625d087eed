"""Two stock servers of vLLM or llama.cpp: one generates thoughts, the other computes vectors, from token ids.

Which program a server is, it says itself. Others are refused: they take prompts as text, or return no token ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from typing_extensions import Self

from t1_vectorstore.backends.remote import llama_server
from t1_vectorstore.backends.remote.http_client import OpenAIClient
from t1_vectorstore.backends.remote.vllm_server import VLLMServer
from t1_vectorstore.backends.vllm.event_loop import EventLoopThread
from t1_vectorstore.backends.vllm.generation import EngineBackend, ThoughtRequest
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.checkpoints.spec import one_line
from t1_vectorstore.errors import BackendError
from t1_vectorstore.types import Vectors

_VLLM_REMEDIES = {
    400: "does the server have the checkpoint that was named here, and does its longest prompt fit?",
    404: "is this the base URL of a vLLM server (without /v1), started with the runner for this purpose?",
}


class Servers(BaseModel):
    """The ``engine_options`` of ``backend="remote"``. ``docs/vllm.md`` and ``docs/laptop.md`` say how to start them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    generate_url: str = Field(pattern=r"^https?://")
    """Base URL of the server that generates thoughts: vLLM's with ``--runner generate``, or llama.cpp's."""
    embed_url: str = Field(pattern=r"^https?://")
    """Base URL of the one that computes vectors: vLLM's with ``--runner pooling --convert embed --pooler-config
    '{"pooling_type": "LAST"}'``, or llama.cpp's with ``--embeddings --pooling last``, which may be the same server."""
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
    """Maximum number of concurrent requests; never more than a llama.cpp server has slots."""
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
        checkpoint: The folder or GGUF file, and its specification.
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


class ModelServer(Protocol):
    """A server of one kind, which may be asked for thoughts or for vectors.

    All methods raise ``BackendError`` if the server cannot be reached, or answers with an error or in another form.
    """

    slots: int | None
    """Number of thoughts that are best generated at a time. ``None``: as many as there are."""

    async def check_generator(self) -> int | None:
        """Check that it can generate thoughts, and has the checkpoint's tokenizer.

        Returns:
            The length of the longest prompt with its thought and emb token, if the server states it.
        """
        ...

    async def check_pooler(self) -> int | None:
        """Check that it can compute vectors, and has the checkpoint's tokenizer; return the longest prompt's length."""
        ...

    async def embed(self, prompts: Sequence[Sequence[int]]) -> Vectors:
        """Return the hidden state at each prompt's last token, float32 ``(n, hidden)``, in order."""
        ...

    def generate(self, request: ThoughtRequest) -> AsyncIterator[tuple[int, Sequence[int]]]:
        """Generate thoughts; yield the number of a sample, and its new tokens."""
        ...


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
        }
        self._clients = (
            OpenAIClient(servers.generate_url, servers.generate_model, **shared),
            OpenAIClient(servers.embed_url, servers.embed_model, **shared),
        )
        self._generator: ModelServer
        self._pooler: ModelServer

    async def check(self) -> int | None:
        """Check what the servers are and that they have the model; return the longest prompt that both accept."""
        self._generator, self._pooler = await asyncio.gather(*map(self._connect, self._clients))
        generated, pooled = await asyncio.gather(self._generator.check_generator(), self._pooler.check_pooler())
        self.in_flight = min(self.in_flight, self._generator.slots or self.in_flight)
        return min(filter(None, [generated, pooled, self._checkpoint.max_positions]), default=None)

    async def embed(self, prompts: Sequence[Sequence[int]], *, thought: int | None = None) -> Vectors:
        """Return the hidden state at each prompt's last token, float32 ``(n, hidden)``, in order."""
        return await self._pooler.embed(prompts)

    def generate(self, request: ThoughtRequest) -> AsyncIterator[tuple[int, Sequence[int]]]:
        """Generate thoughts; yield the number of a sample, and its new tokens."""
        return self._generator.generate(request)

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.aclose()

    async def _connect(self, client: OpenAIClient) -> ModelServer:
        software = await client.check("/v1/models")
        if software == "ollama":
            raise BackendError(
                f"{client.url} is Ollama, which takes prompts only as text and returns no token ids, so that special "
                "tokens in a text could not stay text, and thoughts could not be embedded as they were generated; run "
                "the model's GGUF file with backend='llama-cpp', or with llama.cpp's own server"
            )
        if software == "llama.cpp":
            client.remedies.update(llama_server.REMEDIES)
            return llama_server.LlamaServer(client, self._checkpoint, self._stop_ids)
        client.remedies.update(_VLLM_REMEDIES)
        return VLLMServer(client, self._checkpoint, self._stop_ids)
