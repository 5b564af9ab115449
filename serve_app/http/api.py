"""The routes. Built by the router from its parts; every error goes to `http.problems`."""

import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serve_app.http import problems, request_headers
from serve_app.http.admission import Admission
from serve_app.http.openapi import openapi_document
from serve_app.http.request_body import read_upload
from serve_app.observability.scrape import Page
from serve_app.schemas import Answer, Call, DetectResponse
from serve_app.settings import LimitSettings
from serve_app.traffic.dispatch import Dispatcher
from serve_app.traffic.policy import PolicyInForce
from serve_app.traffic.shadow import Shadow


def build_api(
    limits: LimitSettings,
    policy: PolicyInForce,
    admission: Admission,
    dispatcher: Dispatcher,
    shadow: Shadow,
    readiness: Callable[[], dict[str, Any]],
    metrics_page: Callable[[str], Awaitable[Page]],
) -> Starlette:
    """The ASGI application.

    `readiness` gives the body of `/readyz`, whose `ready` decides the status. `metrics_page` takes an Accept header and
    gives the series of the whole application.
    """

    document = openapi_document(limits)  # once: it takes the time of a request

    async def detect(request: Request) -> Response:
        arrived = time.perf_counter()
        request_id = request_headers.request_id(request)
        in_force = policy.current
        forced = request_headers.forced_backend(request, in_force)
        deadline = arrived + request_headers.allowed_seconds(request, in_force)
        key = request.headers.get(in_force.sticky_header) or None
        with admission.receive(in_force, dispatcher.has_place(key, forced)):
            upload = await read_upload(request, limits, deadline)
        call = Call(request_id, upload.data, upload.options, arrived, deadline, key, forced)
        answer = await dispatcher.detect(call)
        return _response(call, answer, BackgroundTask(compare, call, answer))

    async def compare(call: Call, answer: Answer) -> None:
        shadow.consider(call, answer, policy.current)

    async def healthz(request: Request) -> Response:
        return JSONResponse({"alive": True})

    async def readyz(request: Request) -> Response:
        state = readiness()
        return JSONResponse(state, HTTPStatus.OK if state["ready"] else HTTPStatus.SERVICE_UNAVAILABLE)

    async def disagreements(request: Request) -> Response:
        return JSONResponse(shadow.report())

    async def metrics(request: Request) -> Response:
        page = await metrics_page(request.headers.get("accept", ""))
        # Set as a header: Starlette would append a second charset to `media_type`.
        return Response(page.content, headers={"content-type": page.media_type})

    async def openapi(request: Request) -> Response:
        return JSONResponse(document)

    routes = [
        Route("/detect", detect, methods=["POST"]),
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
        Route("/shadow/disagreements", disagreements, methods=["GET"]),
        Route("/openapi.json", openapi, methods=["GET"]),
    ]
    return Starlette(routes=routes, exception_handlers=problems.HANDLERS)


def _response(call: Call, answer: Answer, background: BackgroundTask) -> Response:
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
