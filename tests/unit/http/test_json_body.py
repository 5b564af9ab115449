"""JSON bodies: what is taken, what is refused and by which name, and that a parser never sees a large one."""

import base64
import json
import tracemalloc
from typing import Any

import pytest

from serve_app.errors import MalformedRequest
from serve_app.http.json_body import parse_json
from serve_app.http.options import parse_options

IMAGE = bytes(range(256)) * 30
BASE64 = base64.b64encode(IMAGE).decode()
LARGE = 1_000_000


@pytest.mark.parametrize("image", [IMAGE, IMAGE[:30], b""])
@pytest.mark.parametrize("escape_slashes", [False, True])
@pytest.mark.parametrize("style", [{}, {"indent": 4}, {"separators": (",", ":")}, {"separators": (" ,\n", "\t:\r\n ")}])
def test_image_and_options_come_back(image: bytes, escape_slashes: bool, style: dict[str, Any]) -> None:
    encoded = base64.b64encode(image).decode()
    for content in (
        {"image_base64": encoded, "threshold": 0.25, "max_detections": 7},
        {"threshold": 0.25, "max_detections": 7, "image_base64": encoded},
    ):
        body = json.dumps(content, **style)
        if escape_slashes:
            body = body.replace("/", "\\/")
        assert parse_json(body.encode()) == (image, {"threshold": 0.25, "max_detections": 7})


def test_a_byte_order_mark_and_escaped_names_are_json_too() -> None:
    body = json.dumps({"image_base64": BASE64, "thre\u0073hold": "0.5"})
    assert parse_json(b"\xef\xbb\xbf" + body.encode()) == (IMAGE, {"threshold": "0.5"})
    assert parse_json(b'{"image\\u005fbase64": "AAAA"}') == (b"\0\0\0", {})
    assert parse_json(json.dumps({"image\u005fbase64": BASE64}).encode()) == (IMAGE, {})


REFUSED: list[tuple[bytes, str]] = [
    (b"", "not valid JSON: Expecting value"),
    (b'{"image_base64": "AAAA"', "not valid JSON"),
    (b'{"image_base64": "AAAA', "not valid JSON: Unterminated string"),
    (f'{{"image_base64": "{BASE64}'.encode(), "not valid JSON|bytes beside"),
    (f'{{"image_base64": "{BASE64}" "threshold": 1}}'.encode(), "not valid JSON"),
    (b'{"image_base64": "AAAA", }', "not valid JSON"),
    (b"[" * 9_000, "nested too deeply"),
    (b'{"a":' * 1_500, "nested too deeply|not valid JSON"),
    (b'["image_base64"]', "must be an object"),
    (b'"image_base64"', "must be an object"),
    (b"{}", "needs image_base64, a string"),
    (b'{"image_base64": null}', "needs image_base64, a string"),
    (b'{"image_base64": ["AAAA"]}', "needs image_base64, a string"),
    (b'{"image_base64": "AAAA", "threshold": NaN}', "NaN is no number"),
    (b'{"image_base64": "AAAA", "threshold": -Infinity}', "-Infinity is no number"),
    (b'{"image_base64": "AAAA", "threshold": ' + b"9" * 101 + b"}", "a number of 101 digits, the limit is 100"),
    (b'{"image_base64": "AAAA", "threshold": 1, "threshold": 2}', "JSON field 'threshold' is given twice"),
    (b'{"image_base64": "AAAA", "x": {"y": 1, "y": 2}}', "JSON field 'y' is given twice"),
    (f'{{"image_base64": "{BASE64}", "image_base64": "AAAA"}}'.encode(), "'image_base64' is given twice"),
    (f'{{"image_base64": "{BASE64}", "image_base64": "(long text 0)"}}'.encode(), "'image_base64' is given twice"),
    (f'{{"image": "{BASE64}"}}'.encode(), r"unknown JSON field 'image' \(use image_base64\)"),
    (f'{{"image": "{BASE64}", "image_base64": "(long text 0)"}}'.encode(), "unknown JSON field 'image'"),
    (f'{{"images": ["{BASE64}", "{BASE64}"]}}'.encode(), r"unknown JSON field 'images' \(use image_base64\)"),
    (f'{{"x": "{BASE64}", "image_base64": "{BASE64}"}}'.encode(), "unknown JSON field 'x'"),
    (f'{{"image_base64": "(long text 1)", "x": "{BASE64}", "y": "{BASE64}"}}'.encode(), "unknown JSON field 'x'"),
    (f'{{"a\\"image_base64": "{BASE64}"}}'.encode(), "unknown JSON field 'a\"image_base64'"),
    (f'{{"x": {{"image_base64": "{BASE64}"}}}}'.encode(), "unknown JSON field 'x'"),
    (f'{{"{BASE64}": 1}}'.encode(), "unknown JSON field"),
    (f'{{"image_base64": "{BASE64}\\", "threshold": 1}}'.encode(), "not valid base64"),
    (f'{{"image_base64": "{BASE64}\\"{BASE64}"}}'.encode(), "not valid JSON|bytes beside"),
    ('{"image_base64": "é"}'.encode(), "not valid base64"),
    (b'{"image_base64": "\\ud800"}', "not valid base64"),
    (b'{"image_base64": "(long text 0)"}', "not valid base64"),
    ('{"größe": 1}'.encode(), "unknown JSON field 'größe'"),
    (b'{"\\ud800": 1}', "unknown JSON field"),
    (b'{"image_base64": "AAAA", "x": "\xff"}', "not valid UTF-8"),
    (json.dumps({"image_base64": "AAAA"}).encode("utf-16"), "is utf-16: send UTF-8"),
    (json.dumps({"image_base64": "AAAA"}).encode("utf-32-be"), "is utf-32-be: send UTF-8"),
]


@pytest.mark.parametrize(("body", "told"), REFUSED)
def test_what_is_wrong_is_named(body: bytes, told: str) -> None:
    with pytest.raises(MalformedRequest, match=told) as caught:
        parse_json(body)
    assert len(caught.value.detail) < 300


def test_an_option_that_stands_for_the_cut_text_is_no_image() -> None:
    image, values = parse_json(f'{{"image_base64": "AAAA", "threshold": "{BASE64}"}}'.encode())
    assert (image, values) == (b"\0\0\0", {"threshold": "(long text 0)"})
    _, values = parse_json(f'{{"image_base64": "(long text 0)", "threshold": "{BASE64}"}}'.encode())
    with pytest.raises(MalformedRequest, match="threshold must be a number"):
        parse_options(values)


HOSTILE: dict[str, bytes] = {
    "objects": b"[" + b'{"":0},' * (LARGE // 7) + b"1]",
    "lists": b"[" + b"[]," * (LARGE // 3) + b"1]",
    "lists in a field": b'{"a":[' + b"[]," * (LARGE // 3) + b'1], "b": 1}',
    "depth": b"[" * LARGE,
    "strings": b'["' + b'","' * (LARGE // 3) + b'"]',
    "quotes": b'"' * LARGE,
    "keys": b"{" + b",".join(b'"%d":0' % number for number in range(LARGE // 10)) + b"}",
    "digits": b'{"threshold":' + b"9" * LARGE + b"}",
    "colons": b'{"a"' + b":" * LARGE + b',"b":"c"}',
    "blanks": b'{"a"' + b" " * LARGE + b':"b"}',
    "long strings": b'["' + b'","'.join([b"A" * 1_001] * 5_000) + b'"]',
    "an image behind much": b"{" + b'"x":0,' * 2_000 + f'"image_base64":"{BASE64}"}}'.encode(),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_large_body_is_counted_and_never_parsed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[Any] = []
    monkeypatch.setattr(json, "loads", lambda text, **hooks: parsed.append(text))
    with pytest.raises(MalformedRequest, match=r"the JSON has \d+ bytes beside the image, the limit is 10000"):
        parse_json(HOSTILE[kind])
    assert parsed == []


@pytest.mark.parametrize("inside", [b" " * LARGE, b"=" * LARGE, b"\\" * LARGE, b"%" * LARGE, b"\\u0041" * (LARGE // 6),
                                    b"\xff" * LARGE])  # fmt: skip
def test_a_large_string_that_is_no_image_takes_little_memory(inside: bytes) -> None:
    body = b'{"image_base64":"' + inside + b'"}'
    tracemalloc.start()
    try:
        with pytest.raises(MalformedRequest):
            parse_json(body)
        assert tracemalloc.get_traced_memory()[1] < len(body)
    finally:
        tracemalloc.stop()


def test_a_good_body_takes_less_than_three_times_its_size() -> None:
    whole = IMAGE * 800
    body = b'{"image_base64":"' + base64.b64encode(whole) + b'"}'
    tracemalloc.start()
    try:
        assert parse_json(body) == (whole, {})
        assert tracemalloc.get_traced_memory()[1] < 2 * len(body)  # beside the body itself
    finally:
        tracemalloc.stop()
