"""Multipart forms as browsers, curl and libraries write them, and those that only cost time or memory."""

import base64
import tracemalloc

import pytest

from serve_app.errors import MalformedRequest, ServingError, UnsupportedMediaType
from serve_app.http.form_body import parse_form

IMAGE = bytes(range(256)) * 3
KIND = "multipart/form-data; boundary=b"
BASE64 = base64.encodebytes(IMAGE)  # with line breaks, as mail libraries write it


def form(*parts: tuple[str, bytes], end: bytes = b"--b--\r\n") -> bytes:
    """A body of parts, each with its headers and its content."""
    return b"".join(f"--b\r\n{headers}\r\n\r\n".encode() + content + b"\r\n" for headers, content in parts) + end


def part(name: str, more: str = "", **headers: str) -> str:
    lines = [f'Content-Disposition: form-data; name="{name}"{more}']
    return "\r\n".join(lines + [f"{header.replace('_', '-')}: {value}" for header, value in headers.items()])


@pytest.mark.parametrize(
    "headers",
    [
        part("image", '; filename="photo.jpg"', Content_Type="image/jpeg"),
        part("image", '; filename="photo.jpg"'),
        part("image", "; filename=photo.jpg", Content_Type="application/octet-stream"),
        part("image", '; filename=""'),
        part("image"),
        part("image", Content_Type="image/jpeg"),
        part("image", "; filename*=UTF-8''gr%C3%BCn.jpg"),
        part("image", "; filename=\"gruen.jpg\"; filename*=UTF-8''gr%C3%BCn.jpg", Content_Type="image/jpeg"),
        part("image", '; filename="grün \\"1\\"; name=x.jpg"'),
        part("image", '; filename="C:\\photos\\a.jpg"'),
        "content-disposition: form-data; NAME=image; FileName=x",
        part("image", '; filename="a"', Content_Transfer_Encoding="Binary"),
        part("image", '; filename="a"', Content_Transfer_Encoding="8bit", Content_Encoding="identity"),
    ],
)
def test_the_part_named_image_is_the_image(headers: str) -> None:
    for options in ((), (("threshold", b"0.25"), ("max_detections", b"7"))):
        parts = [(part(name), value) for name, value in options]
        expected = (IMAGE, {name: value.decode() for name, value in options})
        assert parse_form(KIND, form((headers, IMAGE), *parts)) == expected
        assert parse_form(KIND, form(*parts, (headers, IMAGE))) == expected


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        (part("image", '; filename="a"', Content_Transfer_Encoding="base64"), BASE64),
        (part("image", Content_Transfer_Encoding="BASE64"), BASE64.rstrip(b"=\n")),
        (part("image"), b"data:image/png;base64," + BASE64),  # what a canvas in a browser gives
    ],
)
def test_base64_in_a_form_is_decoded(headers: str, content: bytes) -> None:
    assert parse_form(KIND, form((headers, content))) == (IMAGE, {})


def test_an_option_in_base64_is_decoded_too() -> None:
    threshold = part("threshold", Content_Transfer_Encoding="base64", Content_Type='text/plain; charset="utf-8"')
    assert parse_form(KIND, form((part("image"), IMAGE), (threshold, b"MC4yNQ=="))) == (IMAGE, {"threshold": "0.25"})


@pytest.mark.parametrize("kind", ['Multipart/Form-Data; charset=utf-8; boundary="b"', "multipart/form-data;BOUNDARY=b"])
def test_the_boundary_may_be_quoted_and_its_name_in_capitals(kind: str) -> None:
    assert parse_form(kind, b"\r\n" + form((part("image"), IMAGE), end=b"--b--epilogue")) == (IMAGE, {})


@pytest.mark.parametrize("size", [0, 1, 65_450, 65_536, 65_537, 200_000])
def test_an_image_of_any_size_comes_back_whole(size: int) -> None:
    image = (b"\r\n--\r\n-\r" * (size // 9 + 1))[:size]
    assert parse_form(KIND, form((part("image"), image))) == (image, {})


NOT_A_FIELD = part("image").replace("name=", "nom=")
TEXT = part("threshold")
REFUSED: list[tuple[str, bytes, type[ServingError], str]] = [
    ("multipart/form-data", form((part("image"), IMAGE)), MalformedRequest, "let the HTTP client set it"),
    (f"{KIND}{'b' * 300}", form((part("image"), IMAGE)), MalformedRequest, "Boundary length"),
    ("multipart/form-data; boundary=c", form((part("image"), IMAGE)), MalformedRequest, "cannot be read"),
    (KIND, b"", MalformedRequest, "without its closing boundary"),
    (KIND, form((part("image"), IMAGE), end=b""), MalformedRequest, "without its closing boundary"),
    (KIND, form((part("image"), IMAGE), end=b"--b\r\n"), MalformedRequest, "without its closing boundary"),
    (KIND, form((TEXT, b"1")), MalformedRequest, "needs a file field named image"),
    (KIND, form((NOT_A_FIELD, IMAGE)), MalformedRequest, "a part has no name"),
    (KIND, form(("Content-Type: image/jpeg", IMAGE)), MalformedRequest, "a part has no name"),
    (KIND, form((part("file", '; filename="a"'), IMAGE)), MalformedRequest, r"form field 'file' \(use image\)"),
    (KIND, form((part("x"), b"")), MalformedRequest, "'x' .known: image, threshold, max_detections"),
    (KIND, form((part("image"), IMAGE), (part("image"), b"")), MalformedRequest, "image is given twice: send it once"),
    (KIND, form((TEXT, b"1"), (TEXT, b"1")), MalformedRequest, "threshold is given twice"),
    (KIND, form((part("image"), IMAGE), (f"{TEXT}; filename=x", b"1")), MalformedRequest, "threshold is one"),
    (KIND, form((part("image", Content_Encoding="gzip"), IMAGE)), UnsupportedMediaType, "'gzip': send form field"),
    (KIND, form((part("image", Content_Transfer_Encoding="quoted-printable"), IMAGE)), UnsupportedMediaType,
     "'quoted-printable': send form field image as it is"),
    (KIND, form((part("image", Content_Transfer_Encoding="base64"), b"a")), MalformedRequest, "image is not valid"),
    (KIND, form((part("image"), b"data:image/png,x")), MalformedRequest, "without ';base64,'"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body", "error", "told"), REFUSED)
def test_what_is_wrong_is_named(kind: str, body: bytes, error: type[ServingError], told: str) -> None:
    with pytest.raises(error, match=told):
        parse_form(kind, body)


MANY = 20_000
HOSTILE: dict[str, tuple[bytes, str]] = {
    "parts": (form(*[(part("x"), b"")] * MANY), "more than 32 boundaries"),
    "what looks like a boundary": (form((part("image"), b"\r\n--bX" * MANY)), "more than 32 boundaries"),
    "headers": (form((part("image") + "\r\nX-A: b" * 100, IMAGE)), "header count exceeded"),
    "a header": (form((part("image", X_A="x" * MANY), IMAGE)), "header size exceeded"),
    "a name": (form((part("x" * MANY), IMAGE)), "header size exceeded"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_form_of_much_else_is_refused(kind: str) -> None:
    body, told = HOSTILE[kind]
    with pytest.raises(MalformedRequest, match=told):
        parse_form(KIND, body)


def test_a_large_option_is_cut_short() -> None:
    _, values = parse_form(KIND, form((part("image"), IMAGE), (part("threshold"), b"9" * 1_000_000)))
    assert values == {"threshold": "9" * 200}


@pytest.mark.parametrize("headers", [part("image"), part("image", Content_Transfer_Encoding="base64")])
def test_a_form_takes_less_than_four_times_its_size(headers: str) -> None:
    body = form((headers, b"AAAA" * 1_000_000))
    tracemalloc.start()
    try:
        parse_form(KIND, body)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(body)  # beside the body itself
    finally:
        tracemalloc.stop()
