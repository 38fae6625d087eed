"""What a failing call to a Qdrant server means: worth another try, or an error of this package."""

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
from t1_vectorstore.options import Retry

_Result = TypeVar("_Result")
_TRANSIENT_HTTP = {408, 429, 500, 502, 503, 504}
_TRANSIENT_GRPC = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.INTERNAL,
}
_UNAUTHORISED = {401, 403, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
_CONTENT = {400, 413, 422, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE}
_NOT_FOUND = {404, grpc.StatusCode.NOT_FOUND}


def patiently(call: Callable[[], _Result], retry: Retry, where: str) -> _Result:
    """Make a call, again if it fails for the moment, with jittered and growing waits until the patience is spent.

    Raises:
        StoreUnavailable: it still fails; names the server.
        StoreError: the server answered that it will not do it; that is never tried twice.
    """
    with _translating(where):
        return Retrying(**_patience(retry), sleep=retry.sleep)(call)


async def apatiently(call: Callable[[], Awaitable[_Result]], retry: Retry, where: str) -> _Result:
    """``patiently`` for a call to be awaited; the waits leave the event loop free."""

    async def attempt() -> _Result:  # the library awaits coroutine functions only
        return await call()

    with _translating(where):
        return await AsyncRetrying(**_patience(retry))(attempt)


def _patience(retry: Retry) -> dict[str, Any]:
    growing = wait_random_exponential(multiplier=retry.first_wait, max=retry.longest_wait)

    def wait(state: RetryCallState) -> float:  # longer than the budget lasts is not waited for at all
        return max(_wait_asked(state.outcome.exception() if state.outcome else None), growing(state))

    return {
        "retry": retry_if_exception(is_transient),
        "stop": stop_before_delay(retry.budget) | stop_after_attempt(retry.attempts),
        "wait": wait,
        "reraise": True,
    }


@contextmanager
def _translating(where: str) -> Iterator[None]:
    try:
        yield
    except T1Error:
        raise
    except Exception as error:
        raise _translated(error, where) from error


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed a moment later."""
    if isinstance(error, ResponseHandlingException):
        return isinstance(error.source, httpx.TransportError) and not isinstance(
            error.source, httpx.UnsupportedProtocol
        )
    if isinstance(error, UnexpectedResponse):
        return error.status_code in _TRANSIENT_HTTP
    if isinstance(error, grpc.RpcError):
        return _status(error) in _TRANSIENT_GRPC
    if isinstance(error, ResourceExhaustedResponse):
        return True
    return type(error) is QdrantException and "Retry-After" in str(error)  # the client cannot read a date there


def status_of(error: BaseException | None) -> object:
    """The HTTP status or gRPC code behind an error, if it has one."""
    if isinstance(error, UnexpectedResponse):
        return error.status_code
    return _status(error) if isinstance(error, grpc.RpcError) else None


def is_about_content(error: BaseException | None) -> bool:
    """Whether a server refused what it was given, and might take something else."""
    return status_of(error) in _CONTENT


def _wait_asked(error: BaseException | None) -> float:
    """The seconds that the server asked to be left alone for; 0 where it did not say."""
    if isinstance(error, ResourceExhaustedResponse):
        return float(error.retry_after_s)
    given = error.headers.get("retry-after", "") if isinstance(error, UnexpectedResponse) else ""
    return float(given) if given.isdecimal() else 0.0


def _status(error: grpc.RpcError) -> grpc.StatusCode | None:
    code = getattr(error, "code", None)
    return code() if code is not None else None


def _translated(error: Exception, where: str) -> StoreError:
    reason = _reason(error)
    status = status_of(error)
    if is_transient(error):
        if asked := _wait_asked(error):
            return StoreUnavailable(f"{where} asks to be left alone for {asked:g} s: {reason}; try again then")
        return StoreUnavailable(f"{where} does not answer: {reason}; is it running, and is the address right?")
    if status in _UNAUTHORISED:
        return StoreError(f"{where} does not accept the API key: {reason}; give another (api_key=, QDRANT_API_KEY)")
    if status in _NOT_FOUND:
        return CollectionNotFound(f"{where} has no such collection: {reason}")
    if status is not None:
        return StoreError(f"{where} refused: {reason}")
    return StoreError(f"{where} did not answer as a Qdrant server does: {reason}")


def _reason(error: Exception) -> str:
    if isinstance(error, UnexpectedResponse):
        return f"{error.status_code} {error.content.decode('utf-8', 'replace')[:500] or error.reason_phrase}"
    if isinstance(error, grpc.RpcError):
        details = getattr(error, "details", None)
        status = _status(error)
        return f"{status.name if status else 'no status'} {details() if details is not None else error}"
    return f"{type(error).__name__} {error}".strip() if not str(error) else str(error)[:500]
