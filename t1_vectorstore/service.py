"""The HTTP client of a T1 service (``t1 serve``), which runs models and stores collections for other processes.

Two parts of this package use it: the backend that runs a service's model (``backends/service.py``), and the engine that
reads and writes a service's collection (``engines/service.py``).
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Generator, Mapping
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import numpy.typing as npt
from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_after_delay
from tenacity.wait import wait_base

from t1_vectorstore import errors
from t1_vectorstore.errors import T1Error
from t1_vectorstore.forks import renew_after_fork
from t1_vectorstore.network import explain_creation, is_loopback, proxy_hint

API_KEY_VARIABLE = "T1_API_KEY"
"""Environment variable with the API key for services, if none is given."""

_BUSY = (429, 502, 503, 504)
"""Status codes after which the same request may succeed: it was not carried out."""
_LONGEST_WAIT = 10.0


class ServiceClient:
    """Sends requests to one service. Thread-safe; a forked process opens its own connections.

    A request that the service refuses raises the exception behind the service's error code; every other failure raises
    ``failure``.
    """

    def __init__(
        self,
        url: str,
        *,
        failure: type[T1Error],
        key_option: str = "api_key",
        api_key: str | None = None,
        timeout: float = 300.0,
        patience: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Prepare the client. Nothing is sent yet.

        Args:
            url: Base URL, without ``/v1``.
            failure: Exception for a service that cannot be reached or does not work.
            key_option: Name of the option with the API key, for messages.
            api_key: API key of the service. Default: the environment variable ``T1_API_KEY``.
            timeout: Seconds to wait for the next byte. A whole thought may be one answer.
            patience: Seconds for which a request is repeated while the service is busy or cannot be reached.
            transport: Replaces the network in tests.

        Raises:
            T1Error: A proxy or a certificate in the environment cannot be used.
        """
        self.url = url
        self._failure, self._key_option = failure, key_option
        self._key = api_key or os.environ.get(API_KEY_VARIABLE)
        self._timeout, self._patience, self._transport = timeout, patience, transport
        self._client = self._connect()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Open new connections: those of the parent process are not the child's to use."""
        self._client = self._connect()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str, **query: Any) -> dict[str, Any]:  # noqa: ANN401 - what httpx writes into a URL
        """Return the answer to a GET request, a JSON object."""
        return self._object(self._send("GET", path, params=query))

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send a JSON object and return the answer, also one."""
        return self._object(self._send("POST", path, json=body))

    def lines(self, path: str, body: Mapping[str, Any]) -> Generator[dict[str, Any], None, None]:
        """Send a JSON object, and yield each line of the answer, JSON objects.

        Closing the iterator closes the connection, by which the service notices that nobody waits any more.
        """
        response = self._send("POST", path, json=body, stream=True)
        try:
            for line in response.iter_lines():
                part = json.loads(line)
                if "error" in part:
                    raise self._refusal(response, part)
                yield part
        except (httpx.HTTPError, json.JSONDecodeError) as error:
            raise self._failure(f"{response.url} stopped in the middle: {type(error).__name__} {error}") from error
        finally:
            response.close()

    def _connect(self) -> httpx.Client:
        try:
            return httpx.Client(
                base_url=f"{self.url}/v1/",
                headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
                timeout=httpx.Timeout(self._timeout, connect=10, pool=None),
                transport=self._transport,
                trust_env=not is_loopback(self.url),
            )
        except (ImportError, OSError, ValueError) as error:
            raise self._failure(f"{self.url} cannot be reached: {explain_creation(error)}") from error

    def _send(self, method: str, path: str, *, stream: bool = False, **content: Any) -> httpx.Response:  # noqa: ANN401
        """Return a successful response, after as many attempts as patience allows."""
        request = self._client.build_request(method, path, **content)
        retrying = Retrying(
            retry=retry_if_exception(_may_succeed_later),
            stop=stop_after_delay(self._patience) | stop_after_attempt(20),
            wait=_WaitAsTold(),
            sleep=time.sleep,
            reraise=True,
        )
        try:
            return retrying(self._send_once, request, stream)
        except httpx.HTTPStatusError as error:
            raise self._refusal(error.response, _json(error.response)) from error
        except httpx.HTTPError as error:
            raise self._unreachable(f"{request.url} cannot be reached: {type(error).__name__} {error}") from error

    def _send_once(self, request: httpx.Request, stream: bool) -> httpx.Response:
        response = self._client.send(request, stream=stream)
        if not response.is_success:
            response.read()
        return response.raise_for_status()

    def _object(self, response: httpx.Response) -> dict[str, Any]:
        answer = _json(response)
        if not isinstance(answer, dict):
            raise self._failure(f"{response.url} did not answer with a JSON object; is it a T1 service (t1 serve)?")
        return answer

    def _refusal(self, response: httpx.Response, answer: object) -> Exception:
        """Return the exception for an answer that is an error."""
        error = answer.get("error") if isinstance(answer, dict) else None
        if not isinstance(error, dict):
            shown = f"{response.status_code}: {response.text[:200]!r}"
            return self._failure(f"{response.url} answered {shown}; is it a T1 service (t1 serve)?")
        message = str(error.get("message", error))
        kind = _EXCEPTIONS.get(str(error.get("code")), ValueError if response.status_code == 400 else None)
        if kind is not None:
            return kind(message)
        if response.status_code in (401, 403):
            kind = errors.StoreError if issubclass(self._failure, errors.StoreError) else self._failure
            return kind(f"{self.url}: {message}; give a key that may, {self._key_option}= or {API_KEY_VARIABLE}")
        return self._failure(f"{self.url} answered {response.status_code}: {message}")

    def _unreachable(self, message: str) -> Exception:
        return self._failure(f"{message}{proxy_hint(self.url)}; is the service running (t1 serve)?")


_EXCEPTIONS: Mapping[str, type[Exception]] = {
    "index_not_found": errors.CollectionNotFound,
    "model_error": errors.BackendError,
    "store_error": errors.StoreError,
    "store_unavailable": errors.StoreUnavailable,
    "text_too_long": errors.TextTooLong,
    "write_refused": errors.WriteRefused,
}
"""The exceptions behind the service's error codes. Every other code with status 400 is a ``ValueError``."""


class _WaitAsTold(wait_base):
    """The seconds in ``Retry-After``, else twice as long as before, from a tenth of a second on."""

    def __call__(self, retry_state: Any) -> float:  # noqa: ANN401 - tenacity's
        error = retry_state.outcome.exception()
        if (
            isinstance(error, httpx.HTTPStatusError)
            and (told := error.response.headers.get("Retry-After", "")).isdigit()
        ):
            return min(float(told), _LONGEST_WAIT)
        return float(min(0.1 * 2 ** (retry_state.attempt_number - 1), _LONGEST_WAIT))


def _may_succeed_later(error: BaseException) -> bool:
    """Whether to repeat the request. After a read timeout the service may still be working on it."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in _BUSY
    return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.ReadTimeout)


def _json(response: httpx.Response) -> object:
    try:
        return response.json()
    except ValueError:
        return None


def in_path(name: str) -> str:
    """Return a name as one segment of a URL's path."""
    return quote(name, safe="")


def array_to_json(array: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Return a float32 array of any shape as JSON: its shape, and its little-endian bytes in base64."""
    return {"shape": list(array.shape), "float32": base64.b64encode(array.astype("<f4").tobytes()).decode("ascii")}


def array_from_json(record: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """Read the result of ``array_to_json``.

    Raises:
        ValueError: It is not such a result.
    """
    try:
        flat = np.frombuffer(base64.b64decode(record["float32"], validate=True), "<f4")
        return flat.reshape(record["shape"]).astype(np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a float32 array in base64: {error}") from None
