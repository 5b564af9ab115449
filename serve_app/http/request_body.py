"""A request's body and options, read and checked: raw bytes, a form or JSON become one image and its `Options`.

Called by `http.api`. Raises what the client did wrong. No image is decoded here. Whatever is sent, reading it takes at
most four times the body's size in memory, and work that grows with the body is done in a thread that gives the event
loop its turn every few milliseconds.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from starlette.requests import ClientDisconnect, Request

from serve_app.errors import BodyTimeout, DeadlineExceeded, MalformedRequest, TooLarge
from serve_app.http.fields import single_values
from serve_app.http.form_body import parse_form
from serve_app.http.json_body import parse_json
from serve_app.http.media_types import FORM_TYPE, JSON_TYPE, media_type, refuse_compression
from serve_app.http.options import NAMES, parse_options
from serve_app.schemas import Options
from serve_app.settings import LimitSettings

_LONGEST_QUERY = 8_192
# Large forms and JSON are read two at a time, so that few are in memory several times. All others need not wait.
_LARGE = 1_000_000
_LARGE_BODIES = ThreadPoolExecutor(2, thread_name_prefix="large-body")


class Upload(NamedTuple):
    """An encoded image and what to do with it."""

    data: bytes
    options: Options


async def read_upload(
    request: Request, limits: LimitSettings, deadline: float, clock: Callable[[], float] = time.perf_counter
) -> Upload:
    """Read the body of `POST /detect`, never more than the limit nor beyond `deadline`, in seconds on the `clock`.

    Raises UnsupportedMediaType, TooLarge, BodyTimeout, DeadlineExceeded or MalformedRequest.
    """
    kind = media_type(request.headers)
    refuse_compression(request.headers)
    options = _query(request)
    body = await _read_body(request, limits, deadline - clock())
    data, in_body = await _image_and_options(request, kind, body)
    twice = sorted(options.keys() & in_body.keys())
    if twice:
        raise MalformedRequest(f"{twice[0]} is given in the query and in the body: send it once")
    if not data:
        raise MalformedRequest("the request holds no image bytes")
    return Upload(data, parse_options(options | in_body))


def _query(request: Request) -> dict[str, Any]:
    length = len(request.scope["query_string"])
    if length > _LONGEST_QUERY:
        raise MalformedRequest(f"the query is {length} bytes, the limit is {_LONGEST_QUERY}")
    return single_values(request.query_params.multi_items(), NAMES, "query parameter")


async def _image_and_options(request: Request, kind: str, body: bytes) -> tuple[bytes, dict[str, Any]]:
    thread = _LARGE_BODIES if len(body) > _LARGE else None
    loop = asyncio.get_running_loop()
    if kind == FORM_TYPE:
        return await loop.run_in_executor(thread, parse_form, request.headers["content-type"], body)
    if kind == JSON_TYPE:
        return await loop.run_in_executor(thread, parse_json, body)
    return body, {}


async def _read_body(request: Request, limits: LimitSettings, time_left: float) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > limits.max_body_bytes:
        raise TooLarge(f"the body is {declared[:20]} bytes, the limit is {limits.max_body_bytes}")
    body = bytearray()  # a list of chunks would take fifty bytes for each, and a chunk may be one byte
    try:
        async with asyncio.timeout(min(limits.body_timeout_s, time_left)):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limits.max_body_bytes:
                    raise TooLarge(f"the body is over the limit of {limits.max_body_bytes} bytes")
    except TimeoutError:
        if time_left < limits.body_timeout_s:
            raise DeadlineExceeded("the deadline passed while the body was arriving") from None
        raise BodyTimeout(f"the body did not arrive within {limits.body_timeout_s:g} s") from None
    except ClientDisconnect:
        raise MalformedRequest("the client went away before its body was complete") from None
    return bytes(body)
