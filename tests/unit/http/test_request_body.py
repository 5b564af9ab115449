"""The body of a request, as it arrives: in pieces, late, too long, in three shapes, and with options in two places."""

import asyncio
import base64
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.requests import Request
from starlette.types import Message

from serve_app.errors import (
    BodyTimeout,
    DeadlineExceeded,
    MalformedRequest,
    ServingError,
    TooLarge,
    UnsupportedMediaType,
)
from serve_app.http.request_body import Upload, read_upload
from serve_app.schemas import Options
from serve_app.settings import LimitSettings
from tests.unit.virtual_time import VirtualClock

LIMITS = LimitSettings(max_body_bytes=1000, body_timeout_s=0.2)
IMAGE = b"encoded image"


def read(
    chunks: Sequence[bytes] = (IMAGE,),
    kind: str = "image/jpeg",
    query: dict[str, Any] | None = None,
    time_left: float = 30,
    stalls: bool = False,
    **headers: str,
) -> Upload:
    """Read a body that arrives in these chunks, and then possibly stays away."""
    pieces: list[Message] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]

    async def receive() -> Message:
        if pieces:
            return pieces.pop(0)
        if stalls:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": b"", "more_body": False}

    named = {"content-type": kind} | {name.replace("_", "-"): value for name, value in headers.items()}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/detect",
        "query_string": urlencode(query or {}).encode(),
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
    }
    clock = VirtualClock()
    return clock.run(read_upload(Request(scope, receive), LIMITS, clock() + time_left, clock))


def as_json(**content: Any) -> dict[str, Any]:
    return {"chunks": [json.dumps(content).encode()], "kind": "application/json"}


def as_form(*fields: tuple[str, bytes, bool]) -> dict[str, Any]:
    body = b""
    for name, content, is_file in fields:
        file = '; filename="x.jpg"' if is_file else ""
        body += f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n"
    return {"chunks": [body + b"--b--\r\n"], "kind": "multipart/form-data; boundary=b"}


BASE64 = base64.b64encode(IMAGE).decode()


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"chunks": [IMAGE[:3], b"", IMAGE[3:]]},
        {"kind": "IMAGE/PNG; charset=x"},
        {"kind": "application/octet-stream"},
        as_json(image_base64=BASE64),
        as_form(("image", IMAGE, True)),
    ],
)
def test_every_shape_of_body_gives_the_same_upload(request_: dict[str, Any]) -> None:
    assert read(**request_) == Upload(IMAGE, Options())


@pytest.mark.parametrize(
    "request_",
    [
        {"query": {"threshold": "0.25", "max_detections": "7"}},
        as_json(image_base64=BASE64, threshold=0.25, max_detections=7),
        as_form(("image", IMAGE, True), ("threshold", b"0.25", False), ("max_detections", b"7", False)),
        as_json(image_base64=BASE64, threshold=0.25) | {"query": {"max_detections": "7"}},
    ],
)
def test_options_come_in_the_query_or_the_body(request_: dict[str, Any]) -> None:
    assert read(**request_) == Upload(IMAGE, Options(threshold=0.25, max_detections=7))


@pytest.mark.parametrize(
    ("request_", "error", "detail"),
    [
        ({"kind": "image/gif"}, UnsupportedMediaType, "image/gif"),
        ({"kind": ""}, UnsupportedMediaType, "none"),
        ({"chunks": [b""]}, MalformedRequest, "no image bytes"),
        ({"content_length": "1001"}, TooLarge, "1001 bytes"),
        ({"chunks": [b"x" * 600, b"x" * 600]}, TooLarge, "over the limit"),
        ({"query": {"treshold": "1"}}, MalformedRequest, "unknown query parameter 'treshold'"),
        (as_json(image_base64=BASE64, threshold=1) | {"query": {"threshold": "1"}}, MalformedRequest, "send it once"),
        ({"chunks": [b"{"], "kind": "application/json"}, MalformedRequest, "not valid JSON"),
        ({"chunks": [b"[" * 999], "kind": "application/json"}, MalformedRequest, "not valid JSON"),
        ({"chunks": [b"[]"], "kind": "application/json"}, MalformedRequest, "an object"),
        (as_json(image_base64=5), MalformedRequest, "needs image_base64"),
        (as_json(image_base64="data:image/png;base64,AAAA"), MalformedRequest, "not valid base64"),
        (as_json(image_base64=BASE64, image="x"), MalformedRequest, "unknown JSON field 'image'"),
        (as_form(("image", b"text", False)), MalformedRequest, "a file field named image"),
        (as_form(("other", IMAGE, True)), MalformedRequest, "unknown form field 'other'"),
        (as_form(("image", IMAGE, True), ("image", IMAGE, True)), MalformedRequest, "cannot be read"),
        (as_form(("threshold", b"1", True)), MalformedRequest, "file"),
        ({"chunks": [b"--b\r\n"], "kind": "multipart/form-data"}, MalformedRequest, "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(request_: dict[str, Any], error: type[ServingError], detail: str) -> None:
    with pytest.raises(error, match=detail):
        read(**request_)


def test_a_body_that_stays_away_is_given_up() -> None:
    with pytest.raises(BodyTimeout, match=r"within 0\.2 s"):
        read(stalls=True)


def test_the_deadline_ends_the_wait_for_a_body_too() -> None:
    with pytest.raises(DeadlineExceeded):
        read(stalls=True, time_left=0.05)
