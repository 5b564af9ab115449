"""The request headers that the service understands, read and checked. Called by `http.api`, `http.problems`."""

import math
import re
import uuid

from starlette.requests import Request

from serve_app.errors import MalformedRequest, OverrideRefused
from serve_app.schemas import BACKENDS, Backend
from serve_app.settings import TrafficPolicy

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


def request_id(request: Request) -> str:
    """The client's `X-Request-ID`, or a new one. Raises MalformedRequest for one that cannot be echoed."""
    # Serve adds one to the headers of every request and of its answer, and does not check what a client sent.
    given = request.headers.get("x-request-id")
    if given is None:
        return str(uuid.uuid4())
    if not _REQUEST_ID.fullmatch(given):
        raise MalformedRequest("X-Request-ID must be 1 to 128 visible ASCII characters")
    return given


def request_id_or_new(request: Request) -> str:
    """The request id for an error's answer: the client's, or a new one if it is missing or cannot be echoed."""
    try:
        return request_id(request)
    except MalformedRequest:
        return str(uuid.uuid4())


def forced_backend(request: Request, policy: TrafficPolicy) -> Backend | None:
    """The backend that `X-Backend` insists on. Raises OverrideRefused where the policy does not allow it."""
    given = request.headers.get("x-backend")
    if given is None:
        return None
    for backend in BACKENDS:
        if given == backend:
            if not policy.allow_override:
                raise OverrideRefused("X-Backend is not allowed here: set allow_override in the Router's user_config")
            return backend
    raise MalformedRequest(f"X-Backend must be torch or onnx, got {given[:80]!r}")


def allowed_seconds(request: Request, policy: TrafficPolicy) -> float:
    """The time for a request: the policy's deadline, or `X-Request-Timeout-Ms` if that is shorter."""
    given = request.headers.get("x-request-timeout-ms")
    if given is None:
        return policy.deadline_s
    try:
        milliseconds = float(given)
    except ValueError:
        milliseconds = math.nan
    if not 0 < milliseconds < math.inf:
        raise MalformedRequest(f"X-Request-Timeout-Ms must be a positive number, got {given[:80]!r}")
    return min(policy.deadline_s, milliseconds / 1e3)
