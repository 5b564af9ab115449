"""The HTTP side: routes, parameters and the one place where an error becomes an answer. Built by the router.

It knows nothing of arms, only the `Service` it is given.
"""

import logging
import math
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serve_app.calls import Answer, Call
from serve_app.errors import MalformedRequest, MethodNotAllowed, OverrideRefused, ServingError, UnknownPath
from serve_app.http.openapi import openapi_document
from serve_app.http.request_body import read_upload
from serve_app.observability.scrape import Page as Page
from serve_app.schemas import BACKENDS, Backend, DetectResponse, Problem
from serve_app.settings import LimitSettings, TrafficPolicy

logger = logging.getLogger("ray.serve")

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


class Service(Protocol):
    """What the routes need; the router is one."""

    @property
    def policy(self) -> TrafficPolicy:
        """The policy in force."""
        ...

    def receive(self) -> AbstractContextManager[None]:
        """Hold a place for one body that is being received, or raise Overloaded."""
        ...

    def admit(self) -> AbstractContextManager[None]:
        """Hold a place for one request that is being answered, or raise Overloaded."""
        ...

    async def detect(self, call: Call) -> Answer:
        """Answer one request."""
        ...

    def answered(self, call: Call, answer: Answer) -> None:
        """Told once the answer has gone out."""
        ...

    def readiness(self) -> dict[str, Any]:
        """The body of `/readyz`; `ready` decides its status."""
        ...

    def disagreements(self) -> dict[str, Any]:
        """The newest shadow disagreements."""
        ...

    async def metrics_page(self, accept: str) -> Page:
        """The series of the whole application."""
        ...


def build_api(service: Service, limits: LimitSettings) -> Starlette:
    """The ASGI application around a service."""
    api = _Api(service, limits)
    routes = [
        Route("/detect", api.detect, methods=["POST"]),
        Route("/healthz", api.healthz, methods=["GET"]),
        Route("/readyz", api.readyz, methods=["GET"]),
        Route("/metrics", api.metrics, methods=["GET"]),
        Route("/shadow/disagreements", api.disagreements, methods=["GET"]),
        Route("/openapi.json", api.openapi, methods=["GET"]),
    ]
    handlers: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
        ServingError: _answer_error,
        HTTPException: _answer_http_exception,
        Exception: _answer_unexpected,
    }
    return Starlette(routes=routes, exception_handlers=handlers)


class _Api:
    def __init__(self, service: Service, limits: LimitSettings) -> None:
        self._service = service
        self._limits = limits

    async def detect(self, request: Request) -> Response:
        arrived = time.perf_counter()
        request_id = _request_id(request)
        policy = self._service.policy
        forced = _forced_backend(request, policy)
        deadline = arrived + min(policy.deadline_s, _client_timeout(request) or policy.deadline_s)
        with self._service.receive():
            upload = await read_upload(request, self._limits, deadline)
        key = request.headers.get(policy.sticky_header) or None
        call = Call(request_id, upload.data, upload.options, arrived, deadline, key, forced)
        with self._service.admit():
            answer = await self._service.detect(call)
        return _answer(call, answer, BackgroundTask(self._answered, call, answer))

    async def _answered(self, call: Call, answer: Answer) -> None:
        self._service.answered(call, answer)

    async def healthz(self, request: Request) -> Response:
        return JSONResponse({"alive": True})

    async def readyz(self, request: Request) -> Response:
        state = self._service.readiness()
        return JSONResponse(state, HTTPStatus.OK if state["ready"] else HTTPStatus.SERVICE_UNAVAILABLE)

    async def disagreements(self, request: Request) -> Response:
        return JSONResponse(self._service.disagreements())

    async def metrics(self, request: Request) -> Response:
        page = await self._service.metrics_page(request.headers.get("accept", ""))
        # Set as a header: Starlette would append a second charset to `media_type`.
        return Response(page.content, headers={"content-type": page.media_type})

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(openapi_document(self._limits))


def _answer(call: Call, answer: Answer, background: BackgroundTask) -> Response:
    body = DetectResponse(
        request_id=call.request_id,
        backend=answer.backend,
        assigned=answer.assigned,
        image=answer.result.image,
        detections=answer.result.detections,
    )
    stages: dict[str, float] = {str(stage): seconds for stage, seconds in answer.result.stages.items()}
    stages["total"] = time.perf_counter() - call.arrived
    timing = ", ".join(f"{stage};dur={seconds * 1e3:.2f}" for stage, seconds in stages.items())
    headers = {"X-Backend": answer.backend, "Server-Timing": timing}
    return Response(body.model_dump_json(), headers=headers, media_type="application/json", background=background)


def _request_id(request: Request) -> str:
    # Serve puts one into the headers of every request and into the answer's; it does not look at what a client sent.
    given = request.headers.get("x-request-id")
    if given is None:
        return str(uuid.uuid4())
    if not _REQUEST_ID.fullmatch(given):
        raise MalformedRequest("X-Request-ID must be 1 to 128 visible ASCII characters")
    return given


def _forced_backend(request: Request, policy: TrafficPolicy) -> Backend | None:
    given = request.headers.get("x-backend")
    if given is None:
        return None
    for backend in BACKENDS:
        if given == backend:
            if not policy.allow_override:
                raise OverrideRefused("X-Backend is not allowed here: set allow_override in the Router's user_config")
            return backend
    raise MalformedRequest(f"X-Backend must be torch or onnx, got {given[:80]!r}")


def _client_timeout(request: Request) -> float | None:
    given = request.headers.get("x-request-timeout-ms")
    if given is None:
        return None
    try:
        milliseconds = float(given)
    except ValueError:
        milliseconds = math.nan
    if not 0 < milliseconds < math.inf:
        raise MalformedRequest(f"X-Request-Timeout-Ms must be a positive number, got {given[:80]!r}")
    return milliseconds / 1e3


async def _answer_error(request: Request, error: ServingError) -> Response:
    request_id = request.headers.get("x-request-id", "")
    problem = Problem(
        title=HTTPStatus(error.status).phrase,
        status=error.status,
        detail=error.detail,
        code=error.code,
        request_id=request_id if _REQUEST_ID.fullmatch(request_id) else str(uuid.uuid4()),
    )
    headers: dict[str, str] = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return Response(problem.model_dump_json(), error.status, headers, media_type="application/problem+json")


async def _answer_http_exception(request: Request, error: HTTPException) -> Response:
    named: ServingError
    if error.status_code == HTTPStatus.NOT_FOUND:
        named = UnknownPath(f"nothing is served at {request.url.path[:200]}")
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        named = MethodNotAllowed(f"{request.method} is not allowed at {request.url.path[:200]}")
    else:
        named = MalformedRequest(error.detail)
    response = await _answer_error(request, named)
    response.headers.update(error.headers or {})
    return response


async def _answer_unexpected(request: Request, error: Exception) -> Response:
    logger.error("unexpected failure", exc_info=error)
    return await _answer_error(request, ServingError("the service failed; the log has the reason"))
