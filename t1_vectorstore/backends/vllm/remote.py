"""Two vLLM servers as they come: one generates thoughts, one pools vectors. Token ids on the wire, never text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from typing_extensions import Self

from t1_vectorstore.backends.vllm.event_loop import EventLoop
from t1_vectorstore.backends.vllm.generation import ServedBackend
from t1_vectorstore.backends.vllm.http_client import Endpoint
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.checkpoints.spec import Decoding, one_line
from t1_vectorstore.errors import BackendError
from t1_vectorstore.types import Vectors


class Servers(BaseModel):
    """Where the servers are; ``docs/vllm.md`` tells how to start them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    generate_url: str = Field(pattern=r"^https?://")
    """Base URL of the server started with ``--runner generate``."""
    embed_url: str = Field(pattern=r"^https?://")
    """Base URL of the one with ``--runner pooling --convert embed --pooler-config '{"pooling_type": "LAST"}'``."""
    generate_model: str | None = None
    """The name under which the model is served; may be left out where the server has only one."""
    embed_model: str | None = None
    api_key: SecretStr | None = None
    """Sent to both as a bearer token."""
    timeout: float = Field(default=300.0, gt=0)
    """Seconds to wait for a server's next byte; a thought is one answer."""
    attempts: int = Field(default=5, ge=1)
    """How often a request is sent while a server is busy or cannot be reached; the pauses in between grow to 10 s."""
    in_flight: int = Field(default=64, ge=1)
    """Requests under way at a time."""
    batch: int = Field(default=32, ge=1)
    """Documents of one request."""
    fingerprint: str | None = Field(default=None, pattern="^[0-9a-f]{16}$")
    """``embedder.identity.fingerprint`` as it is where the weights are; with it, they are not needed here."""

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Self:
        """The ``engine_options`` of an embedder.

        Raises:
            ValueError: they are no such fields.
        """
        try:
            return cls.model_validate(dict(options))
        except ValidationError as error:
            raise ValueError(f"engine_options of backend='remote': {one_line(error)}") from error


def load(checkpoint: Checkpoint, *, stop_ids: Sequence[int], options: Mapping[str, Any]) -> ServedBackend:
    """Connect to the servers, and see that they have the checkpoint's model as far as that can be seen.

    Args:
        checkpoint: the folder and its specification.
        stop_ids: the tokens that end a thought, the emb token first.
        options: the fields of :class:`Servers`.

    Raises:
        ValueError: options that are no :class:`Servers`, or a pooling layer other than the last.
        BackendError: a server that cannot be reached, or has another model.
        CheckpointError: the servers have no room for the checkpoint's longest text.
    """
    servers = Servers.read(options)
    if checkpoint.spec.pooling_layer != -1:
        raise ValueError(
            f"pooling_layer={checkpoint.spec.pooling_layer}, but vLLM gives only the last layer's states; "
            "use backend='transformers'"
        )
    loop = EventLoop()
    engine = RemoteEngine(servers, checkpoint, stop_ids)
    try:
        room = loop.run(engine.check())
        checkpoint.check_lengths(room)
    except BaseException:
        loop.run(engine.close())
        loop.close()
        raise
    return ServedBackend(engine, loop, stop_ids=stop_ids, max_positions=room)


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
    """Requests to both servers over one pool of connections."""

    def __init__(self, servers: Servers, checkpoint: Checkpoint, stop_ids: Sequence[int]) -> None:
        """Prepare; nothing is sent yet."""
        self._checkpoint = checkpoint
        self.group = servers.batch
        self.in_flight = servers.in_flight
        self._servers = servers
        self._stop_ids = list(stop_ids)
        self._generator = self._endpoint(servers.generate_url, servers.generate_model)
        self._pooler = self._endpoint(servers.embed_url, servers.embed_model)

    async def check(self) -> int | None:
        """The longest prompt that both take, after a look at their vocabulary and the length of their states."""
        rooms = await asyncio.gather(self._generator.check(), self._pooler.check())
        name, token, emb_id = self._checkpoint.name, self._checkpoint.spec.emb_token, self._stop_ids[0]
        asked = {"prompt": [emb_id], "max_tokens": 1, "echo": True, "skip_special_tokens": False}
        answer = await self._generator.post("/v1/completions", asked, _Completion)
        text = "".join(choice.text for choice in answer.choices)
        if not text.startswith(token):
            raise BackendError(
                f"{self._generator.url} reads token {emb_id} as {text!r:.40}, but in {name!r} it is "
                f"{token!r}: the server has another tokenizer"
            )
        [state] = await self.embed([[emb_id]])
        [same] = await self._embed(token)
        if not np.allclose(state, same, atol=0.05 * np.abs(state).max()):
            raise BackendError(
                f"{self._pooler.url} does not read {token!r} as token {emb_id}, as {name!r} does: "
                "the server has another tokenizer"
            )
        generated, pooled = rooms
        limits = [limit for limit in (generated and generated - 1, pooled, self._checkpoint.max_positions) if limit]
        return min(limits, default=None)

    async def embed(self, prompts: Sequence[Sequence[int]], *, thought: int | None = None) -> Vectors:
        """The hidden state at each prompt's last token, float32 ``(n, hidden)``, in order."""
        return await self._embed([list(prompt) for prompt in prompts])

    async def generate(
        self,
        prompt: Sequence[int],
        decoding: Decoding,
        *,
        seed: int | None,
        streamed: bool,
        thought: int,
        samples: int,
    ) -> AsyncIterator[tuple[int, Sequence[int]]]:
        """New tokens as they come, after which of the thoughts they belong to; a cancelled task aborts its request."""
        asked = {
            "prompt": list(prompt),
            "n": samples,
            "max_tokens": decoding.max_tokens,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "top_k": decoding.top_k,
            "seed": seed,
            "min_p": 0.0,  # this and the next: else a model's generation_config.json would decide
            "repetition_penalty": 1.0,
            "stop_token_ids": self._stop_ids,
            "ignore_eos": True,
            "return_token_ids": True,
            "skip_special_tokens": False,
            "include_stop_str_in_output": True,
        }
        if streamed:
            async for part in self._generator.stream("/v1/completions", asked, _Completion):
                for choice in part.choices:
                    yield choice.index, choice.token_ids or []
            return
        for choice in (await self._generator.post("/v1/completions", asked, _Completion)).choices:
            yield choice.index, choice.token_ids or []

    async def close(self) -> None:
        """Close the connections."""
        await self._generator.close()
        await self._pooler.close()

    def _endpoint(self, url: str, model: str | None) -> Endpoint:
        told = self._servers
        key = None if told.api_key is None else told.api_key.get_secret_value()
        return Endpoint(
            url, model, api_key=key, timeout=told.timeout, attempts=told.attempts, connections=told.in_flight
        )

    async def _embed(self, content: Any) -> Vectors:  # noqa: ANN401
        asked = {"input": content, "encoding_format": "base64", "use_activation": False, "add_special_tokens": False}
        answer = await self._pooler.post("/v1/embeddings", asked, _Embeddings)
        rows = {row.index: row.embedding for row in answer.data}
        expected = 1 if isinstance(content, str) else len(content)
        if len(answer.data) != expected or set(rows) != set(range(expected)):
            raise BackendError(f"{self._pooler.url} gave {len(answer.data)} vectors for {expected} prompts")
        length = self._checkpoint.hidden_size
        for row in rows.values():
            if len(row) != 4 * length:
                raise BackendError(
                    f"{self._pooler.url} gives vectors of length {len(row) / 4:g}, but {self._checkpoint.name!r} has "
                    f"hidden states of length {length}: the server has another model"
                )
        return np.frombuffer(b"".join(rows[index] for index in range(expected)), "<f4").reshape(expected, length)
