"""Errors as the service answers them, in the form of OpenAI's: ``{"error": {message, type, param, code}}``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from t1_vectorstore.errors import (
    BackendError,
    CollectionLocked,
    StoreError,
    StoreUnavailable,
    T1Error,
    TextTooLong,
    WriteRefused,
)

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {404: "not_found", 405: "method_not_allowed"}
_RETRY_SECONDS = 5
"""What ``Retry-After`` says if a store is not available."""


class Refused(HTTPException):
    """A request that is answered with an error.

    Attributes:
        code: Short name of the reason, for programs.
        param: The field that is wrong, if it is one.
    """

    def __init__(
        self, status: int, message: str, *, code: str, param: str | None = None, retry_after: float | None = None
    ) -> None:
        headers = None if retry_after is None else {"Retry-After": str(max(1, math.ceil(retry_after)))}
        super().__init__(status, message, headers)
        self.code = code
        self.param = param


def internal_error(request_id: str) -> Refused:
    """Return the error for an exception that nobody expected, which is in the log with the request's id."""
    message = f"an internal error; the log of the service has the details of request {request_id}"
    return Refused(500, message, code="internal_error")


class ClientGone(Exception):
    """The client closed the connection, so nobody reads the answer."""


def error_body(status: int, message: str, *, code: str | None, param: str | None = None) -> dict[str, Any]:
    """Return the JSON object of an error."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    readable = message.encode("utf-8", "backslashreplace").decode()  # a lone surrogate of the request cannot be sent
    return {"error": {"message": readable, "type": kind, "param": param, "code": code}}


def error_response(
    status: int,
    message: str,
    *,
    code: str | None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return the response of an error."""
    return JSONResponse(error_body(status, message, code=code, param=param), status, headers)


def to_refused(error: Exception) -> Refused:
    """Translate an exception of this package into the error that the client gets.

    Raises:
        Exception: The given one, if it is none of the caller's mistakes and of no class of ``t1_vectorstore.errors``.
    """
    match error:
        case Refused():
            return error
        case RecursionError():
            return Refused(400, "the request is nested too deeply", code="invalid_value")
        case TextTooLong():
            return Refused(400, str(error), code="text_too_long")
        case StoreUnavailable() | CollectionLocked():
            return Refused(503, str(error), code="store_unavailable", retry_after=_RETRY_SECONDS)
        case WriteRefused():
            return Refused(400, str(error), code="write_refused")
        case ValueError() | TypeError():
            return Refused(400, str(error), code="invalid_value")
        case StoreError():
            return Refused(500, str(error), code="store_error")
        case BackendError():
            return Refused(500, str(error), code="model_error")
        case T1Error():
            return Refused(500, str(error), code="failed")
    raise error


def add_error_handlers(app: FastAPI) -> None:
    """Let the app answer exceptions in this form."""

    async def refused(_: Request, error: Exception) -> JSONResponse:
        refusal = to_refused(error)
        return error_response(
            refusal.status_code, refusal.detail, code=refusal.code, param=refusal.param, headers=refusal.headers
        )

    async def by_framework(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        status = error.status_code
        return error_response(status, str(error.detail), code=_CODES.get(status, "refused"), headers=error.headers)

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return _describe_invalid(error)

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it

    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(HTTPException, by_framework)
    app.add_exception_handler(RequestValidationError, invalid)
    for kind in (ValueError, TypeError, RecursionError, T1Error):
        app.add_exception_handler(kind, refused)
    app.add_exception_handler(ClientGone, gone)


def _describe_invalid(error: RequestValidationError) -> JSONResponse:
    """Say the first problem in one sentence."""
    problem = error.errors()[0]
    place = [str(part) for part in problem["loc"] if part not in ("body", "query", "path", "header")]
    param = ".".join(place) or None
    match problem["type"]:
        case "value_error":  # of this package, whose message is complete
            message = str(problem["ctx"]["error"])
        case "json_invalid":
            position = problem["loc"][-1]
            message, param = f"the body is not JSON: {problem['ctx']['error']} at position {position}", None
        case "missing" if param is None:
            message = "the request has no body; send a JSON object with Content-Type: application/json"
        case "missing":
            message = f"{param} is required"
        case "extra_forbidden":
            message = f"unknown field {param!r}"
        case _ if param is None:
            message = f"the body must be a JSON object, sent with Content-Type: application/json ({problem['msg']})"
        case _:
            message = f"{param}: {problem['msg']}, got {problem['input']!r:.200}"
    return error_response(400, message, code="invalid_value", param=param)
