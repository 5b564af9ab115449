"""A request's body and options, read and checked: raw bytes, a form or JSON become one image and its `Options`.

Called by `http.api`. Raises what the client did wrong. No image is decoded here.
"""

import asyncio
import base64
import binascii
import json
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, NamedTuple

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from serve_app.errors import BodyTimeout, DeadlineExceeded, MalformedRequest, TooLarge, UnsupportedMediaType
from serve_app.http.options import NAMES, parse_options
from serve_app.schemas import Options
from serve_app.settings import LimitSettings

RAW_TYPES = ("image/jpeg", "image/png", "image/webp", "application/octet-stream")
FORM_TYPE, JSON_TYPE = "multipart/form-data", "application/json"


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
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (*RAW_TYPES, FORM_TYPE, JSON_TYPE):
        raise UnsupportedMediaType(
            f"content type {media_type[:80] or '(none)'!r}: send {', '.join((*RAW_TYPES, FORM_TYPE, JSON_TYPE))}"
        )
    options = _single_values(request.query_params.multi_items(), NAMES, "query parameter")
    body = await _read_body(request, limits, deadline - clock())
    if media_type == FORM_TYPE:
        data, in_body = await _parse_form(request, body)
    elif media_type == JSON_TYPE:
        data, in_body = await asyncio.to_thread(_parse_json, body)
    else:
        data, in_body = body, {}
    twice = sorted(options.keys() & in_body.keys())
    if twice:
        raise MalformedRequest(f"{twice[0]} is given in the query and in the body: send it once")
    if not data:
        raise MalformedRequest("the request holds no image bytes")
    return Upload(data, parse_options(options | in_body))


async def _read_body(request: Request, limits: LimitSettings, time_left: float) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > limits.max_body_bytes:
        raise TooLarge(f"the body is {declared[:20]} bytes, the limit is {limits.max_body_bytes}")
    chunks, size = [], 0
    try:
        async with asyncio.timeout(min(limits.body_timeout_s, time_left)):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limits.max_body_bytes:
                    raise TooLarge(f"the body is over the limit of {limits.max_body_bytes} bytes")
                if chunk:  # the stream ends with an empty one
                    chunks.append(chunk)
    except TimeoutError:
        if time_left < limits.body_timeout_s:
            raise DeadlineExceeded("the deadline passed while the body was arriving") from None
        raise BodyTimeout(f"the body did not arrive within {limits.body_timeout_s:g} s") from None
    except ClientDisconnect:
        raise MalformedRequest("the client went away before its body was complete") from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _parse_form(request: Request, body: bytes) -> tuple[bytes, dict[str, Any]]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    # The body is bounded and in memory already, so parts may be as large as it is.
    parser = MultiPartParser(request.headers, stream(), max_files=1, max_fields=len(NAMES), max_part_size=len(body) + 1)
    parser.spool_max_size = len(body) + 1
    try:
        return await _image_and_options(await parser.parse())
    except (MultiPartException, KeyError, ValueError) as error:
        message = getattr(error, "message", "") or "not valid multipart/form-data, or without a boundary"
        raise MalformedRequest(f"the form cannot be read: {message}") from None
    finally:
        for file in parser._files_to_close_on_error:  # also that of a part cut short, which no form holds
            file.close()


async def _image_and_options(form: FormData) -> tuple[bytes, dict[str, Any]]:
    values = _single_values(form.multi_items(), ("image", *NAMES), "form field")
    image = values.pop("image", None)
    if not isinstance(image, UploadFile):
        raise MalformedRequest("the form needs a file field named image")
    if any(isinstance(value, UploadFile) for value in values.values()):
        raise MalformedRequest("only the form field image may be a file")
    return await image.read(), values


def _parse_json(body: bytes) -> tuple[bytes, dict[str, Any]]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedRequest("the body is not valid JSON") from None
    if not isinstance(content, dict):
        raise MalformedRequest("the JSON body must be an object with image_base64")
    values = _single_values(content.items(), ("image_base64", *NAMES), "JSON field")
    encoded = values.pop("image_base64", None)
    if not isinstance(encoded, str):
        raise MalformedRequest("the JSON body needs image_base64, a string")
    try:
        return base64.b64decode(encoded, validate=True), values
    except (binascii.Error, ValueError):
        raise MalformedRequest("image_base64 is not valid base64 (no data: prefix, no line breaks)") from None


def _single_values(items: Any, known: tuple[str, ...], what: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in items:
        if name not in known:
            raise MalformedRequest(f"unknown {what} {name[:80]!r} (known: {', '.join(known)})")
        if name in values:
            raise MalformedRequest(f"{what} {name} is given twice")
        values[name] = value
    return values
