"""PNG: the chunks that make its pixels. Text, colour profiles and further frames never reach the decoder."""

import struct
import zlib
from collections.abc import Iterator

from serve_app.detection.formats import orientation
from serve_app.detection.formats.encoded import Encoded
from serve_app.errors import InvalidImage

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks with pixels have some thousand bytes. A file of millions of empty ones is refused.
_MOST_CHUNKS = 32_768
_GREY, _PALETTE = 0, 3
# As Pillow does; the pixels have a checksum of their own.
_VERIFIED = {b"IHDR", b"PLTE"}
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_PROFILE, _XMP = b"Raw profile type exif", b"XML:com.adobe.xmp"  # keywords of texts


def read(data: bytes) -> Encoded:
    """Read the header and collect the chunks with pixels into one. Raises InvalidImage for a damaged header."""
    chunks = _chunks(data)
    kind, header = next(chunks, (b"", memoryview(b"")))
    if kind != b"IHDR" or len(header) != 13:
        raise InvalidImage("the PNG does not begin with its header (IHDR), or is cut off in it")
    width, height, depth, colour = struct.unpack(">IIBB", header[:10])
    if not (width and height):
        raise InvalidImage(f"the PNG has {width}x{height} pixels")
    palette: memoryview | None = None
    pixels: list[memoryview] = []
    metadata: dict[bytes, bytes] = {}
    kept: list[bytes | memoryview] = [SIGNATURE, *_chunk(b"IHDR", header)]
    for kind, body in chunks:
        if kind == b"IDAT":
            pixels.append(body)
        elif kind == b"PLTE" and not pixels:
            palette = body
        elif kind == b"eXIf":
            metadata.setdefault(kind, bytes(body))
        elif kind in _TEXTS and (keyword := _keyword(body)) in (_PROFILE, _XMP):
            metadata.setdefault(keyword, kind + body)
    if palette is not None:
        kept += _chunk(b"PLTE", palette)
    if pixels:
        kept += _chunk(b"IDAT", *pixels)
    return Encoded(
        "PNG",
        (*kept, *_chunk(b"IEND")),
        width,
        height,
        pixel_bytes=_pixel_bytes(depth, colour),
        orientation=orientation.first(_orientations(metadata)),
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and body of each chunk up to the end of the image; what was cut off is left out."""
    position = len(SIGNATURE)
    for _ in range(_MOST_CHUNKS):
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        body, end = memoryview(data)[position + 8 : position + 8 + length], position + 12 + length
        if kind == b"IEND" or len(kind) < 4:
            return
        if kind in _VERIFIED and zlib.crc32(body, zlib.crc32(kind)).to_bytes(4, "big") != data[end - 4 : end]:
            raise InvalidImage(f"the chunk {kind.decode()} of the PNG is damaged")
        yield kind, body
        position = end
    raise InvalidImage(f"the PNG has more than {_MOST_CHUNKS} chunks")


def _chunk(kind: bytes, *bodies: bytes | memoryview) -> list[bytes | memoryview]:
    checksum = zlib.crc32(kind)
    for body in bodies:
        checksum = zlib.crc32(body, checksum)
    return [sum(map(len, bodies)).to_bytes(4, "big") + kind, *bodies, checksum.to_bytes(4, "big")]


def _keyword(body: memoryview) -> bytes:
    return bytes(body[: len(_PROFILE) + 1]).partition(b"\0")[0]


def _pixel_bytes(depth: int, colour: int) -> int:
    """What Pillow takes for a pixel. It has no modes of 3 bytes, and of 16 bits only grey ones."""
    if colour == _GREY:
        return 2 if depth == 16 else 1
    return 1 if colour == _PALETTE else 4


def _orientations(metadata: dict[bytes, bytes]) -> Iterator[int | None]:
    yield orientation.from_exif(metadata.get(b"eXIf", b""))
    yield orientation.from_text_profile(_text(metadata.get(_PROFILE, b"")))
    yield orientation.from_xmp(_text(metadata.get(_XMP, b"")))


def _text(chunk: bytes) -> bytes:
    """The text of a tEXt, zTXt or iTXt chunk, kind and body; the start of it if it is long."""
    kind, (_, _, rest) = chunk[:4], chunk[4:].partition(b"\0")
    if kind == b"zTXt":
        return orientation.inflated(rest[1:])
    if kind == b"iTXt":
        text = rest[2:].split(b"\0", 2)[-1]
        return orientation.inflated(text) if rest[:1] == b"\1" else text
    return rest
