"""Request bodies that are not photos: a slow image, and hostile ones from a seed (damaged, bombs, broken forms)."""

import base64
import io
import json
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")
MODES = {"JPEG": ("RGB", "L", "CMYK"), "PNG": ("RGB", "RGBA", "P", "1", "I;16", "LA"), "WEBP": ("RGB", "RGBA"),
         "GIF": ("P", "L"), "TIFF": ("RGB", "L", "I;16", "CMYK"), "BMP": ("RGB", "L", "1")}  # fmt: skip
TYPES = (
         "image/jpeg", "image/png", "image/webp", "application/octet-stream", "multipart/form-data; boundary=b",
         "application/json", "image/gif", "text/plain", "", "image/jpeg; q=\x7f", "a/b/c", "multipart/form-data",
)  # fmt: skip
VALUES = ("0.5", "0", "1", "-1", "1e999", "nan", "", "٣", "0x10", "true", "[]", "9" * 400, "1e-400", "50", "0.5\x00")


class Hostile(NamedTuple):
    """One request: what is sent, and as what."""

    body: bytes
    headers: list[tuple[str, str]]
    query: list[tuple[str, str]]


def slow_to_decode() -> bytes:
    """A PNG of few bytes and 12 million pixels: quick to send, and hundreds of milliseconds of work for a backend."""
    with io.BytesIO() as buffer:
        Image.new("RGB", (4000, 3000), "white").save(buffer, "PNG")
        return buffer.getvalue()


def hostile_requests(seed: int, count: int) -> Iterator[Hostile]:
    """Different requests, always the same for a seed."""
    rng = random.Random(seed)
    makers: list[Callable[[random.Random], Hostile]] = [*[_image] * 12, _bomb, _form, _form, _json, _json, _noise]
    return (rng.choice(makers)(rng) for _ in range(count))


def _image(rng: random.Random) -> Hostile:
    return _raw(rng, damaged(rng, encoded(rng)))


def _bomb(rng: random.Random) -> Hostile:
    return _raw(rng, rng.choice((png_bomb, jpeg_bomb, text_bomb))(rng))


def _noise(rng: random.Random) -> Hostile:
    return _raw(rng, rng.randbytes(rng.choice((0, 1, 7, 300, 5000))))


def _raw(rng: random.Random, body: bytes) -> Hostile:
    kind = rng.choice(TYPES) if rng.random() < 0.2 else rng.choice(TYPES[:4])
    return Hostile(body, [("Content-Type", kind), *_odd_headers(rng)], _query(rng))


def encoded(rng: random.Random) -> bytes:
    """A whole image, in any format and mode."""
    format_ = rng.choice(FORMATS)
    image = Image.new("RGB", (rng.randint(1, 90), rng.randint(1, 90)), tuple(rng.randbytes(3)))
    image.putpixel((0, 0), (255, 255, 255))
    mode = rng.choice(MODES[format_])
    with io.BytesIO() as buffer:
        (image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode)).save(buffer, format_)
        return buffer.getvalue()


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Bytes changed, cut off, repeated or shifted."""
    edited = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 8, 40))):
        edited[rng.randrange(len(edited))] = rng.randrange(256)
    if rng.random() < 0.3:
        del edited[rng.randrange(len(edited)) :]
    if edited and rng.random() < 0.2:
        start = rng.randrange(len(edited))
        edited[start:start] = edited[start : start + rng.randrange(200)]
    return bytes(edited)


def png_bomb(rng: random.Random) -> bytes:
    """A PNG that claims to be enormous."""
    side = rng.choice((20_000, 65_000, 2**31 - 1))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + _chunk(b"IEND")
    )


def text_bomb(rng: random.Random) -> bytes:
    """A PNG with a compressed text of many megabytes."""
    text = _chunk(b"zTXt", b"comment\0\0" + zlib.compress(b"a" * rng.choice((1_000_000, 30_000_000))))
    with io.BytesIO() as buffer:
        Image.new("RGB", (8, 8)).save(buffer, "PNG")
        whole = buffer.getvalue()
    return whole[:33] + text + whole[33:]


def _chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def jpeg_bomb(rng: random.Random) -> bytes:
    """A JPEG that claims to be 65,500 pixels wide and high."""
    with io.BytesIO() as buffer:
        Image.new("RGB", (16, 16)).save(buffer, "JPEG")
        data = bytearray(buffer.getvalue())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 65_500, 65_500)
    return bytes(data)


def _form(rng: random.Random) -> Hostile:
    fields = [_field(rng) for _ in range(rng.choice((0, 1, 1, 2, 3, 30)))]
    body = b"".join(b"--b\r\n" + field for field in fields) + rng.choice((b"--b--\r\n", b"--b", b""))
    if rng.random() < 0.3:
        body = damaged(rng, body or b"-")
    kind = rng.choice(
        (TYPES[4],) * 6 + ("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=c")
    )
    return Hostile(body, [("Content-Type", kind)], _query(rng))


def _field(rng: random.Random) -> bytes:
    name = rng.choice((b"image", b"image", b"threshold", b"max_detections", b"other", b"", b"\xff"))
    file = b'; filename="x.jpg"' if rng.random() < 0.5 else b""
    content = damaged(rng, encoded(rng)) if name == b"image" else rng.choice(VALUES).encode()
    return b'Content-Disposition: form-data; name="' + name + b'"' + file + b"\r\n\r\n" + content + b"\r\n"


def _json(rng: random.Random) -> Hostile:
    image: object = rng.choice(
        (base64.b64encode(damaged(rng, encoded(rng))).decode(), "data:image/png;base64,AAAA", 5, None, [], "é")
    )
    values: list[object] = [*VALUES, 0.5, -3, 10**400, None, True, {}, [1]]
    content = {"image_base64": image} | {
        name: rng.choice(values) for name in ("threshold", "max_detections", "x") if rng.random() < 0.25
    }
    body = rng.choice(
        (json.dumps(content).encode(), json.dumps([content]).encode(), b"[" * 50_000, b"\xff\xfe", b"1e999")
    )
    if rng.random() < 0.2:
        body = damaged(rng, body)
    return Hostile(body, [("Content-Type", "application/json")], _query(rng))


def _query(rng: random.Random) -> list[tuple[str, str]]:
    if rng.random() < 0.7:
        return []
    names = ("threshold", "max_detections", "other", "threshold")
    return [(rng.choice(names), rng.choice(VALUES)) for _ in range(rng.randint(1, 3))]


def _odd_headers(rng: random.Random) -> list[tuple[str, str]]:
    if rng.random() < 0.8:
        return []
    name = rng.choice(("X-Request-ID", "X-Client-Id", "X-Backend", "X-Request-Timeout-Ms", "X-Anything"))
    return [(name, rng.choice(("", "a b", "x" * 5000, "torch", "1e5", "-5", "nan", "é", "id-1", "\t")))]
