"""An asynchronous client for OpenAI-compatible servers, with retries, and errors that name the server and a remedy."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, TypeVar
from urllib.parse import urlencode

import httpx
from pydantic import BaseModel, ValidationError
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from t1_vectorstore.checkpoints.spec import one_line
from t1_vectorstore.errors import BackendError
from t1_vectorstore.network import explain_creation, is_loopback, proxy_hint

Answer = TypeVar("Answer", bound=BaseModel)

Software = Literal["llama.cpp", "ollama", "other"]
"""The program that a server runs, as far as it matters here."""

_BUSY = (429, 502, 503, 504)
"""Status codes after which the same request may succeed."""

_REMEDIES = {401: "pass the server's api_key", 403: "pass an api_key that may use the model"}


class ModelFacts(BaseModel):
    """What llama.cpp's server states about a model, in recent versions.

    Attributes:
        size: Size of its tensors in bytes.
        ftype: Number type of most of its weights, such as ``F16`` or ``Q4_K - Medium``.
        vocab_type: Kind of its tokenizer; 0 for none.
    """

    size: int | None = None
    ftype: str | None = None
    vocab_type: int | None = None


class _ModelCard(BaseModel):
    id: str
    owned_by: str | None = None
    max_model_len: int | None = None
    meta: ModelFacts | None = None


class _ModelCards(BaseModel):
    data: list[_ModelCard] | None  # Ollama sends null if it has no model


class OpenAIClient:
    """Sends requests to one model on one server.

    All methods raise ``BackendError`` if the server cannot be reached, refuses a request,
    or sends an unexpected answer.
    """

    def __init__(
        self,
        url: str,
        model: str | None,
        *,
        timeout: float,
        api_key: str | None = None,
        attempts: int = 1,
        connections: int = 1,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Prepare the client. Nothing is sent yet.

        Args:
            url: Base URL, to which the paths of requests are added.
            model: Name under which the model is served; ``None`` if the server has only one, see ``check``.
            timeout: Seconds to wait for the next byte.
            api_key: API key of the server.
            attempts: Maximum number of attempts while the server is busy or cannot be reached.
            connections: Maximum number of connections.
            transport: Replaces the network in tests.
        """
        self.url = url.rstrip("/")
        self._model = model
        self._attempts = attempts
        self.remedies = dict(_REMEDIES)
        """Advice for error messages, by status code."""
        self.max_model_len: int | None = None
        """Length of the longest sequence in tokens, if ``check`` found it stated."""
        self.facts = ModelFacts()
        """What else ``check`` found stated about the model."""
        try:
            self._client = httpx.AsyncClient(
                headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
                timeout=httpx.Timeout(timeout, connect=10, pool=None),
                limits=httpx.Limits(max_connections=connections),
                transport=transport,
                trust_env=not is_loopback(url),
            )
        except (ImportError, OSError, ValueError) as error:
            raise BackendError(f"{self.url} cannot be reached: {explain_creation(error)}") from error

    async def check(self, path: str) -> Software:
        """Check that the server has the model, and find out what program it is.

        Args:
            path: Path of its list of models.

        Returns:
            The program. Any that is not known is ``other``, as is vLLM, which OpenAI-compatible servers resemble.

        Raises:
            BackendError: The server does not have the model.
        """
        response = await self._send("GET", path)
        cards = _parse(response, _ModelCards).data or []
        if response.headers.get("server") == "llama.cpp":
            software: Software = "llama.cpp"
        elif not any(card.owned_by == "vllm" for card in cards) and await self._is_ollama():
            return "ollama"
        else:
            software = "other"
        served = {card.id: card for card in cards}
        if self._model is None and len(served) == 1:
            [self._model] = served
        if self._model not in served:
            raise BackendError(f"{self.url} serves {sorted(served)}, not {self._model!r}; name one of them")
        self.max_model_len = served[self._model].max_model_len
        self.facts = served[self._model].meta or self.facts
        return software

    async def get(self, path: str, kind: type[Answer]) -> Answer:
        """Ask about the model at a path such as ``/props``, and return the answer."""
        return _parse(await self._send("GET", f"{path}?{urlencode({'model': self._model or ''})}"), kind)

    async def post(self, path: str, fields: Mapping[str, Any], kind: type[Answer]) -> Answer:
        """Send a request with these fields to a path such as ``/completions``, and return the answer."""
        return _parse(await self._send("POST", path, {"model": self._model, **fields}), kind)

    async def stream(self, path: str, fields: Mapping[str, Any], kind: type[Answer]) -> AsyncIterator[Answer]:
        """Send a request, and yield the parts of an answer that arrives as server-sent events."""
        response = await self._send("POST", path, {"model": self._model, **fields, "stream": True}, stream=True)
        try:
            async for line in response.aiter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    part = json.loads(line.removeprefix("data: "))
                    if "error" in part:
                        raise BackendError(f"{response.url} stopped in the middle: {_message(part)}")
                    yield _validate(response, part, kind)
        except (httpx.HTTPError, json.JSONDecodeError) as error:
            raise BackendError(f"{response.url} stopped in the middle: {type(error).__name__} {error}") from error
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _is_ollama(self) -> bool:
        """Whether the server is Ollama, which says so at its root."""
        try:
            return (await self._client.get(self.url)).text.startswith("Ollama is running")
        except httpx.HTTPError:
            return False

    async def _send(
        self, method: str, path: str, content: Mapping[str, Any] | None = None, *, stream: bool = False
    ) -> httpx.Response:
        """Return a successful response, after as many attempts as are allowed."""
        request = self._client.build_request(method, self.url + path, json=content)
        retrying = AsyncRetrying(
            retry=retry_if_exception(_may_succeed_later),
            stop=stop_after_attempt(self._attempts),
            wait=wait_random_exponential(multiplier=0.2, max=10),
            reraise=True,
        )
        try:
            return await retrying(self._send_once, request, stream)
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            remedy = self.remedies.get(status, "its log says more")
            raise BackendError(
                f"{request.url} answered {status}: {_reason(error.response)}{proxy_hint(self.url)}; {remedy}"
            ) from error
        except httpx.HTTPError as error:
            raise BackendError(
                f"{request.url} cannot be reached: {type(error).__name__} {error}{proxy_hint(self.url)}; is the server "
                "running, and is the timeout long enough?"
            ) from error

    async def _send_once(self, request: httpx.Request, stream: bool) -> httpx.Response:
        response = await self._client.send(request, stream=stream)
        if not response.is_success:
            await response.aread()
        return response.raise_for_status()


def _parse(response: httpx.Response, kind: type[Answer]) -> Answer:
    try:
        content = response.json()
    except ValueError as error:
        raise BackendError(f"{response.url} did not answer in JSON: {response.text!r:.100}") from error
    return _validate(response, content, kind)


def _validate(response: httpx.Response, content: object, kind: type[Answer]) -> Answer:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise BackendError(
            f"{response.url} sent an unexpected answer: {one_line(error):.300}; is it the right kind of server, in a "
            "recent version?"
        ) from error


def _may_succeed_later(error: BaseException) -> bool:
    """Whether to repeat the request. After a read timeout the server may still be working on it."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in _BUSY
    return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.ReadTimeout)


def _reason(response: httpx.Response) -> str:
    """Return the server's error message, in one line."""
    try:
        return _message(response.json())
    except ValueError:
        return repr(response.text[:200])


def _message(answer: Any) -> str:  # noqa: ANN401
    error = answer.get("error", answer) if isinstance(answer, Mapping) else answer
    return str(error.get("message", error) if isinstance(error, Mapping) else error)[:300]
