"""Retries of failing calls to a server, and the conversion of their errors to those of this package."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
import httpx
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_random_exponential

from t1_vectorstore.errors import CollectionNotFound, StoreError, StoreUnavailable, T1Error
from t1_vectorstore.network import proxy_hint
from t1_vectorstore.options import Retry

_Result = TypeVar("_Result")
_TRANSIENT_CODES = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL")
_TRANSIENT = {408, 429, 500, 502, 503, 504, *(grpc.StatusCode[name] for name in _TRANSIENT_CODES)}
_UNAUTHORISED = {401, 403, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
_CONTENT = {400, 413, 422, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE}
_NOT_FOUND = {404, grpc.StatusCode.NOT_FOUND}


def with_retries(call: Callable[[], _Result], retry: Retry, url: str) -> _Result:
    """Make a call, and repeat it after transient errors, with random and growing waits.

    Raises:
        StoreUnavailable: It still fails when the budget is spent; names the server.
        StoreError: The server refused it, which is never retried.
    """
    with _converted_errors(url):
        return Retrying(**_policy(retry), sleep=retry.sleep)(call)


async def with_retries_async(call: Callable[[], Awaitable[_Result]], retry: Retry, url: str) -> _Result:
    """``with_retries`` for a call to be awaited; the waits do not block the event loop."""

    async def attempt() -> _Result:  # the library awaits coroutine functions only
        return await call()

    with _converted_errors(url):
        return await AsyncRetrying(**_policy(retry))(attempt)


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed a moment later."""
    if isinstance(error, ResponseHandlingException):
        source = error.source
        return isinstance(source, httpx.TransportError) and not isinstance(source, httpx.UnsupportedProtocol)
    if isinstance(error, ResourceExhaustedResponse) or _status(error) in _TRANSIENT:
        return True
    return type(error) is QdrantException and "Retry-After" in str(error)  # the client cannot read a date there


def is_about_content(error: BaseException | None) -> bool:
    """Whether a server refused the content of a request, and might accept another one."""
    return _status(error) in _CONTENT


def _policy(retry: Retry) -> dict[str, Any]:
    """Return the arguments of tenacity's classes."""
    growing = wait_random_exponential(multiplier=retry.first_wait, max=retry.longest_wait)

    def wait(state: RetryCallState) -> float:
        return max(_requested_wait(state.outcome.exception() if state.outcome else None), growing(state))

    return {
        "retry": retry_if_exception(is_transient),
        "stop": stop_before_delay(retry.budget) | stop_after_attempt(retry.attempts),  # a wait beyond it is not begun
        "wait": wait,
        "reraise": True,
    }


def _requested_wait(error: BaseException | None) -> float:
    """Return the seconds that the server asked to wait; 0 if it did not."""
    if isinstance(error, ResourceExhaustedResponse):
        return float(error.retry_after_s)
    given = error.headers.get("retry-after", "") if isinstance(error, UnexpectedResponse) else ""
    return float(given) if given.isdecimal() else 0.0


def _status(error: BaseException | None) -> object:
    """Return the HTTP status or gRPC code of an error, if it has one."""
    if isinstance(error, UnexpectedResponse):
        return error.status_code
    return error.code() if isinstance(error, grpc.RpcError) and hasattr(error, "code") else None


@contextmanager
def _converted_errors(url: str) -> Iterator[None]:
    try:
        yield
    except T1Error:
        raise
    except Exception as error:
        raise _converted(error, url) from error


_SERVICE_HINT = ". If it is a T1 service (t1 serve), write t1+http://..."


def _converted(error: Exception, url: str) -> StoreError:
    reason, status = _reason(error), _status(error)
    if is_transient(error):
        if seconds := _requested_wait(error):
            return StoreUnavailable(f"{url} asks to wait {seconds:g} s: {reason}; try again then")
        return StoreUnavailable(
            f"{url} does not answer: {reason}{proxy_hint(url)}; is it running, and is the address right?"
        )
    if status in _UNAUTHORISED:
        return StoreError(
            f"{url} does not accept the API key: {reason}; give another one (api_key=, or QDRANT_API_KEY)"
        )
    if status in _NOT_FOUND:
        return CollectionNotFound(f"{url} has no such collection: {reason}{_SERVICE_HINT}")
    if status is not None:
        return StoreError(f"{url} refused: {reason}{proxy_hint(url)}")
    return StoreError(f"{url} did not answer as a Qdrant server does: {reason}{proxy_hint(url)}{_SERVICE_HINT}")


def _reason(error: Exception) -> str:
    if isinstance(error, UnexpectedResponse):
        return f"{error.status_code} {error.content.decode('utf-8', 'replace')[:500] or error.reason_phrase}"
    if isinstance(error, grpc.RpcError):
        status = _status(error)
        details = error.details() if hasattr(error, "details") else error
        return f"{status.name if isinstance(status, grpc.StatusCode) else 'no status'} {details}"
    return str(error)[:500] or type(error).__name__
