"""The one place where an error becomes an answer: an RFC 9457 problem document. Registered by `http.api`."""

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from serve_app.errors import MalformedRequest, MethodNotAllowed, ServingError, UnknownPath
from serve_app.http.request_headers import request_id_or_new
from serve_app.schemas import Problem

logger = logging.getLogger("ray.serve")


async def answer_error(request: Request, error: ServingError) -> Response:
    """Answer an error of the service's own family: its text is fit for the client."""
    problem = Problem(
        title=HTTPStatus(error.status).phrase,
        status=error.status,
        detail=error.detail,
        code=error.code,
        request_id=request_id_or_new(request),
    )
    headers: dict[str, str] = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return Response(problem.model_dump_json(), error.status, headers, media_type="application/problem+json")


async def answer_http_exception(request: Request, error: HTTPException) -> Response:
    """Answer what Starlette itself refuses: unknown paths, wrong methods."""
    named: ServingError
    if error.status_code == HTTPStatus.NOT_FOUND:
        named = UnknownPath(f"nothing is served at {request.url.path[:200]}")
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        named = MethodNotAllowed(f"{request.method} is not allowed at {request.url.path[:200]}")
    else:
        named = MalformedRequest(error.detail)
    response = await answer_error(request, named)
    response.headers.update(error.headers or {})
    return response


async def answer_unexpected(request: Request, error: Exception) -> Response:
    """Answer a bug: the log has the traceback, the client learns nothing of it."""
    logger.error("unexpected failure", exc_info=error)
    return await answer_error(request, ServingError("the service failed; the log has the reason"))


HANDLERS: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
    ServingError: answer_error,
    HTTPException: answer_http_exception,
    Exception: answer_unexpected,
}
