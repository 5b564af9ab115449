"""Base64 as clients write it, in all spellings, and what is refused although Python's decoder would take it."""

import base64
import binascii
import random
import tracemalloc
from urllib.parse import quote

import pytest

from serve_app.errors import MalformedRequest
from serve_app.http import base64_image
from serve_app.http.base64_image import decode

IMAGE = bytes(range(256)) + b"\xfb\xff\xbf\xfe"  # 260 bytes: both special characters, and a padding of "="
PLAIN = base64.b64encode(IMAGE)
URL_SAFE = base64.urlsafe_b64encode(IMAGE)
HEAD = b"data:image/jpeg;base64,"
assert b"+" in PLAIN
assert b"/" in PLAIN
assert PLAIN.endswith(b"=")


def wrapped(text: bytes, by: bytes, width: int = 76) -> bytes:
    return by.join(text[at : at + width] for at in range(0, len(text), width)) + by


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.rstrip(b"="),
        URL_SAFE,
        URL_SAFE.rstrip(b"="),
        PLAIN[:120] + URL_SAFE[120:].rstrip(b"="),
        wrapped(PLAIN, b"\r\n"),
        wrapped(PLAIN, b"\n", 3),
        b"\n " + wrapped(URL_SAFE, b" \t") + b"\n",
        HEAD + PLAIN,
        b"  DATA:;Base64," + URL_SAFE.rstrip(b"="),
        b"data:image/png;charset=binary;name=a.png;base64," + wrapped(PLAIN, b"\n"),
        HEAD + quote(PLAIN, safe="").encode(),
        HEAD + PLAIN.replace(b"+", b"%2b").replace(b"/", b"%2f").replace(b"=", b"%3d"),
        quote(HEAD + wrapped(PLAIN, b"\r\n"), safe="").encode(),
    ],
)
def test_every_spelling_gives_the_same_bytes(text: bytes) -> None:
    assert decode(text, "image_base64") == IMAGE
    assert decode(bytearray(text), "image_base64") == IMAGE


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace(b"/", b"\\/"),
        PLAIN.replace(b"+", b"\\u002B").replace(b"/", b"\\u002f").replace(b"=", b"\\u003d"),
        wrapped(PLAIN, b"\\r\\n"),
        wrapped(PLAIN, b"\r\n"),  # what `base64 photo.jpg` prints, pasted into a string
        b"data:image\\/jpeg;base64," + PLAIN.replace(b"/", b"\\/"),
    ],
)
def test_the_inside_of_a_json_string_is_unescaped(text: bytes) -> None:
    assert decode(text, "image_base64", json_escaped=True) == IMAGE


@pytest.mark.parametrize("size", [0, 1, 2, 3, 65_535, 65_536, 65_537, 98_304, 200_000])
@pytest.mark.parametrize("escape", [b"\\u002f", b"/"])
def test_pieces_are_joined_at_every_boundary(size: int, escape: bytes) -> None:
    image = random.Random(size).randbytes(size)
    text = base64.b64encode(image).replace(b"/", escape).replace(b"+", b"%2B")
    assert decode(text, "image_base64", json_escaped=True) == image
    assert decode(wrapped(base64.b64encode(image), b"\r\n"), "image_base64") == image


@pytest.mark.parametrize(
    "text",
    [b"a", b"abcde", b"ab=", b"ab===", b"abcd=", b"abc==", b"=", b"ab==cdef", b"ab==cd==", b"a=bc", b"ab=c", b"abc$",
     b"ab\x00c", "abcé".encode(), b"abc%", b"abc%4", b"abc%zz", b"ab\\u00e9", b"abcd\\", b"ab\\/cdef",
     b"A" * 65_534 + b"==" + b"AAAA", b"A" * 65_536 + b"=" + b"A", HEAD + HEAD + PLAIN],
)  # fmt: skip
def test_what_is_no_base64_is_refused_by_the_fields_name(text: bytes) -> None:
    with pytest.raises(MalformedRequest, match=r"^image_base64 is not valid base64$"):
        decode(text, "image_base64")


@pytest.mark.parametrize("text", [b"AA\\", b"AA\\q", b"AAAA\\u00", b"AA\\u00e9"])
def test_a_broken_escape_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedRequest, match="not valid base64"):
        decode(text, "image_base64", json_escaped=True)


@pytest.mark.parametrize(("mark", "escape"), [(b"%", b"%41"), (b"\\", b"\\u0041")])
def test_text_that_is_mostly_escapes_is_refused_before_they_are_replaced(
    monkeypatch: pytest.MonkeyPatch, mark: bytes, escape: bytes
) -> None:
    assert decode(escape * 100, "image_base64", json_escaped=True) == b"\0" * 75
    replaced: list[bytes] = []
    monkeypatch.setattr(base64_image, "_json_text", replaced.append)
    monkeypatch.setattr(base64_image, "unquote_to_bytes", replaced.append)
    with pytest.raises(MalformedRequest, match="not valid base64"):
        decode(escape * 1000, "image_base64", json_escaped=True)
    assert replaced == []


@pytest.mark.parametrize(
    ("text", "scheme"),
    [(b"https://example.org/a.jpg", "https"), (b" HTTP://x", "HTTP"), (b"file:///etc/passwd", "file"),
     (b"s3://b", "s3"), (b"http:\\/\\/x", "http"), (b"blob:x", "blob"), (b"https%3A%2F%2Fx", "https")],
)  # fmt: skip
def test_a_url_is_refused_by_its_scheme(text: bytes, scheme: str) -> None:
    with pytest.raises(MalformedRequest, match=f"of the scheme {scheme}: the service fetches nothing"):
        decode(text, "image_base64")


@pytest.mark.parametrize(
    "text", [b"data:image/jpeg,abc", b"data:", b"data:;base64", b"data:" + b"x" * 1000 + b";base64,"]
)
def test_a_data_url_needs_base64(text: bytes) -> None:
    with pytest.raises(MalformedRequest, match="without ';base64,'"):
        decode(text, "image_base64")


def test_megabytes_are_taken_in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call of the C decoder holds the interpreter: none may see more than a piece."""
    sizes: list[int] = []
    plain = binascii.a2b_base64

    def a2b_base64(text: bytes, strict_mode: bool) -> bytes:
        sizes.append(len(text))
        return plain(text, strict_mode=strict_mode)

    monkeypatch.setattr(binascii, "a2b_base64", a2b_base64)
    image = random.Random(1).randbytes(3_000_000)
    assert decode(base64.b64encode(image), "image_base64") == image
    assert max(sizes) < 66_000


def test_memory_is_a_small_multiple_of_the_text() -> None:
    text = base64.b64encode(random.Random(1).randbytes(6_000_000))
    tracemalloc.start()
    try:
        decode(text, "image_base64")
        assert tracemalloc.get_traced_memory()[1] < 2 * len(text)
    finally:
        tracemalloc.stop()
