"""The body of a request, as it arrives: in pieces, late, too long, in three shapes, and with options in two places."""

import asyncio
import base64
import json
import threading
import tracemalloc
from collections.abc import Coroutine, Sequence
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
    kind: str | None = "image/jpeg",
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

    named = ({} if kind is None else {"content-type": kind}) | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
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
LOOSE_TYPES = (
    "", "image/jpg", "image/pjpeg", "image/x-png", "IMAGE/JPG", "image/jpeg; charset=binary", "image/jpeg;", "image/*",
    " image/png ", "binary/octet-stream", "Application/Octet-Stream; charset=utf-8", "image/avif", "image/heic",
    "image/heif", "image/heic-sequence",
)  # fmt: skip


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"chunks": [IMAGE[:3], b"", IMAGE[3:]]},
        {"kind": "IMAGE/PNG; charset=x"},
        {"kind": "application/octet-stream"},
        *({"kind": kind} for kind in LOOSE_TYPES),
        {"kind": None},
        {"content_encoding": "identity"},
        {"content_encoding": ""},
        as_json(image_base64=BASE64),
        as_json(image_base64=f"data:image/jpeg;base64,{BASE64}"),
        as_json(image_base64=BASE64) | {"kind": "Application/JSON; charset=UTF-8"},
        as_form(("image", IMAGE, True)),
        as_form(("image", IMAGE, False)),
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
        ({"kind": "image/svg+xml"}, UnsupportedMediaType, "'image/svg.xml': send image/jpeg, image/png, image/webp"),
        ({"kind": "multipart/mixed; boundary=b"}, UnsupportedMediaType, "multipart/mixed"),
        ({"content_encoding": "gzip"}, UnsupportedMediaType, "'gzip': send the body as it is .identity."),
        ({"content_encoding": "identity, BR"}, UnsupportedMediaType, "BR"),
        (as_json(image_base64=BASE64) | {"content_encoding": "zstd"}, UnsupportedMediaType, "zstd"),
        ({"query": {"a" * 5000: "b" * 5000}}, MalformedRequest, "the query is 10001 bytes, the limit is 8192"),
        ({"query": {"threshold": "0." + "5" * 200}}, MalformedRequest, "threshold must be a number"),
        (
            as_json(image_base64="https://example.org/a.jpg"),
            MalformedRequest,
            "scheme https: the service fetches nothing",
        ),
        (as_json(image_base64=BASE64, threshold="0." + "9" * 200), MalformedRequest, "threshold must be a number"),
        ({"chunks": [b""]}, MalformedRequest, "no image bytes"),
        ({"content_length": "1001"}, TooLarge, "1001 bytes"),
        ({"chunks": [b"x" * 600, b"x" * 600]}, TooLarge, "over the limit"),
        ({"query": {"treshold": "1"}}, MalformedRequest, "unknown query parameter 'treshold'"),
        (as_json(image_base64=BASE64, threshold=1) | {"query": {"threshold": "1"}}, MalformedRequest, "send it once"),
        ({"chunks": [b"{"], "kind": "application/json"}, MalformedRequest, "not valid JSON"),
        ({"chunks": [b"[" * 999], "kind": "application/json"}, MalformedRequest, "not valid JSON"),
        ({"chunks": [b"[]"], "kind": "application/json"}, MalformedRequest, "an object"),
        (as_json(image_base64=5), MalformedRequest, "needs image_base64"),
        (as_json(image_base64="data:image/png;base64,A"), MalformedRequest, "not valid base64"),
        (as_json(image_base64=BASE64, image="x"), MalformedRequest, "unknown JSON field 'image'"),
        (as_form(("threshold", b"1", False)), MalformedRequest, "a file field named image"),
        (as_form(("other", IMAGE, True)), MalformedRequest, "unknown form field 'other'"),
        (as_form(("image", IMAGE, True), ("image", IMAGE, True)), MalformedRequest, "image is given twice"),
        (
            as_form(("image", IMAGE, True), ("threshold", b"1", True)),
            MalformedRequest,
            "only the form field image may be",
        ),
        ({"chunks": [b"--b\r\n"], "kind": "multipart/form-data"}, MalformedRequest, "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(request_: dict[str, Any], error: type[ServingError], detail: str) -> None:
    with pytest.raises(error, match=detail):
        read(**request_)


def test_what_is_compressed_is_refused_before_the_body_is_read() -> None:
    with pytest.raises(UnsupportedMediaType, match="gzip"):
        read(stalls=True, content_encoding="gzip")


def test_a_body_in_tiny_chunks_takes_no_more_memory_than_one_in_a_piece() -> None:
    limits = LimitSettings(max_body_bytes=100_000)
    sent = peak = 0

    async def receive() -> Message:
        nonlocal sent, peak
        sent += 2
        if sent == 2:
            tracemalloc.start()  # not earlier: the event loop's own memory is not meant
        if sent == 100_000:
            peak = tracemalloc.get_traced_memory()[1]
        return {"type": "http.request", "body": bytes([sent % 256, 1]), "more_body": sent < 100_000}

    scope = {"type": "http", "method": "POST", "path": "/detect", "query_string": b"", "headers": []}
    clock = VirtualClock()
    try:
        upload = clock.run(read_upload(Request(scope, receive), limits, clock() + 30, clock))
    finally:
        tracemalloc.stop()
    assert len(upload.data) == 100_000
    assert 100_000 < peak < 400_000


def test_a_body_that_stays_away_is_given_up() -> None:
    with pytest.raises(BodyTimeout, match=r"within 0\.2 s"):
        read(stalls=True)


def test_the_deadline_ends_the_wait_for_a_body_too() -> None:
    with pytest.raises(DeadlineExceeded):
        read(stalls=True, time_left=0.05)


def test_a_client_that_goes_away_is_told_as_such() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "path": "/detect", "query_string": b"", "headers": []}
    clock = VirtualClock()
    with pytest.raises(MalformedRequest, match="the client went away before its body was complete"):
        clock.run(read_upload(Request(scope, receive), LIMITS, clock() + 30, clock))


@pytest.mark.parametrize(("kind", "parse"), [("application/json", "parse_json"), (as_form()["kind"], "parse_form")])
def test_large_bodies_are_read_by_two_threads_and_small_ones_beside_them(
    monkeypatch: pytest.MonkeyPatch, kind: str, parse: str
) -> None:
    readers: dict[int, set[str]] = {}

    def parsed(*arguments: Any) -> tuple[bytes, dict[str, Any]]:
        readers.setdefault(len(arguments[-1]), set()).add(threading.current_thread().name)
        return b"image", {}

    monkeypatch.setattr(f"serve_app.http.request_body.{parse}", parsed)
    limits = LimitSettings()

    def upload(size: int, clock: VirtualClock) -> Coroutine[Any, Any, Upload]:
        async def receive() -> Message:
            return {"type": "http.request", "body": bytes(size), "more_body": False}

        headers = [(b"content-type", kind.encode())]
        scope = {"type": "http", "method": "POST", "path": "/detect", "query_string": b"", "headers": headers}
        return read_upload(Request(scope, receive), limits, clock() + 30, clock)

    async def go(clock: VirtualClock) -> None:
        await asyncio.gather(*(upload(size, clock) for size in (1_000_001, 1_000_000) * 6))

    clock = VirtualClock()
    clock.run(go(clock))
    assert {name.partition("_")[0] for name in readers[1_000_001]} == {"large-body"}
    assert len(readers[1_000_001]) <= 2
    assert not any(name.startswith("large-body") for name in readers[1_000_000])
