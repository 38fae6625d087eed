"""Talking to one OpenAI-compatible server: repeated while it is busy, with errors that name it and the remedy."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from t1_vectorstore.checkpoints.spec import one_line
from t1_vectorstore.errors import BackendError

Answer = TypeVar("Answer", bound=BaseModel)

_BUSY = (429, 502, 503, 504)
"""Answers after which the same request may succeed."""

_REMEDIES = {
    400: "does the server have the checkpoint that was named here, with room for its longest prompt?",
    401: "pass the server's api_key",
    403: "pass an api_key that may use the model",
    404: "is this the base URL of a vLLM server (without /v1), started with the runner for this purpose?",
}


class _Card(BaseModel):
    id: str
    max_model_len: int | None = None


class _Cards(BaseModel):
    data: list[_Card]


class Endpoint:
    """One model on one server."""

    def __init__(
        self, url: str, model: str | None, *, api_key: str | None, timeout: float, attempts: int, connections: int
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            url: of the server, without ``/v1``.
            model: the name under which it is served; ``None`` where there is only one.
            api_key: sent as a bearer token.
            timeout: seconds to wait for the next byte.
            attempts: how often a request is sent while the server is busy or cannot be reached.
            connections: most at a time.
        """
        self.url = url.rstrip("/")
        self._model = model
        self._attempts = attempts
        self._client = httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(timeout, connect=10, pool=None),
            limits=httpx.Limits(max_connections=connections),
        )

    async def check(self) -> int | None:
        """Find the model among those that are served.

        Returns:
            Its longest sequence in tokens, where the server tells it.

        Raises:
            BackendError: the server cannot be reached, or does not serve the model.
        """
        response = await self._send("GET", "/v1/models")
        served = {card.id: card.max_model_len for card in self._read(response, _Cards).data}
        if self._model is None and len(served) == 1:
            [self._model] = served
        if self._model not in served:
            raise BackendError(f"{self.url} serves {sorted(served)}, not {self._model!r}; name one of them")
        return served[self._model]

    async def post(self, path: str, asked: Mapping[str, Any], kind: type[Answer]) -> Answer:
        """An answer of this kind."""
        return self._read(await self._send("POST", path, {"model": self._model, **asked}), kind)

    async def stream(self, path: str, asked: Mapping[str, Any], kind: type[Answer]) -> AsyncIterator[Answer]:
        """The parts, each of this kind, of an answer that comes as server-sent events."""
        response = await self._send("POST", path, {"model": self._model, **asked, "stream": True}, stream=True)
        try:
            async for line in response.aiter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    part = json.loads(line.removeprefix("data: "))
                    if "error" in part:
                        raise BackendError(f"{self.url}{path} broke off: {_message(part)}")
                    yield self._checked(part, kind, path)
        except (httpx.HTTPError, json.JSONDecodeError) as error:
            raise BackendError(f"{self.url}{path} broke off: {type(error).__name__} {error}") from error
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _send(
        self, method: str, path: str, asked: Mapping[str, Any] | None = None, *, stream: bool = False
    ) -> httpx.Response:
        """An answer with status 200, after as many attempts as are allowed."""
        request = self._client.build_request(method, path, json=asked)
        retrying = AsyncRetrying(
            retry=retry_if_exception(_passing),
            stop=stop_after_attempt(self._attempts),
            wait=wait_random_exponential(multiplier=0.2, max=10),
            reraise=True,
        )
        try:
            return await retrying(self._once, request, stream)
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            remedy = _REMEDIES.get(status, "its log says more")
            raise BackendError(f"{request.url} answered {status}: {_words(error.response)}; {remedy}") from error
        except httpx.HTTPError as error:
            raise BackendError(
                f"{request.url} cannot be reached: {type(error).__name__} {error}; is the server running, and is the "
                "timeout long enough?"
            ) from error

    async def _once(self, request: httpx.Request, stream: bool) -> httpx.Response:
        response = await self._client.send(request, stream=stream)
        if response.is_success:
            return response
        await response.aread()
        await response.aclose()
        raise httpx.HTTPStatusError("not a success", request=request, response=response)

    def _read(self, response: httpx.Response, kind: type[Answer]) -> Answer:
        try:
            content = response.json()
        except ValueError as error:
            raise BackendError(f"{response.url} did not answer in JSON: {response.text!r:.100}") from error
        return self._checked(content, kind, response.url.path)

    def _checked(self, content: Any, kind: type[Answer], path: str) -> Answer:  # noqa: ANN401
        try:
            return kind.model_validate(content)
        except ValidationError as error:
            raise BackendError(
                f"{self.url}{path} did not answer as vLLM does: {one_line(error):.300}; is it a vLLM server, and not "
                "an old one?"
            ) from error


def _passing(error: BaseException) -> bool:
    """Whether the same request may succeed soon. One that took too long may still be computed: it is not sent again."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in _BUSY
    return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.ReadTimeout)


def _words(response: httpx.Response) -> str:
    """What a server says was wrong, in one line."""
    try:
        return _message(response.json())
    except ValueError:
        return repr(response.text[:200])


def _message(answer: Any) -> str:  # noqa: ANN401
    error = answer.get("error", answer) if isinstance(answer, Mapping) else answer
    return str(error.get("message", error) if isinstance(error, Mapping) else error)[:300]
