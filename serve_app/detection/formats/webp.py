"""WebP: the size of its canvas, and the chunks that make its first frame.

Pillow allocates the canvas several times while it opens a file, so the header is read here.
"""

from collections.abc import Iterator

from serve_app.detection.formats import orientation
from serve_app.detection.formats.encoded import Encoded
from serve_app.errors import InvalidImage

_PIXEL_BYTES = 4
_KEPT_PIXEL_BYTES = 14  # the decoder's canvases, its frame, and the bytes that it returns
_MOST_CHUNKS = 32_768  # an animation's frames are chunks too
_LONGEST_BODY = 1_000_000  # of what is looked into: headers, and metadata
_ANIMATED, _ALPHA = 0x02, 0x10
_FRAME = {b"ANMF", b"VP8 ", b"VP8L"}


def has_signature(data: bytes) -> bool:
    """Whether these bytes begin as a WebP does."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def read(data: bytes) -> Encoded:
    """Read the size, and keep the first frame. Raises InvalidImage for a damaged header."""
    kept: list[bytes | memoryview] = []
    size: tuple[int, int] | None = None
    metadata: dict[bytes, bytes] = {}
    has_frame = False
    for kind, body, whole in _chunks(data):
        if not kept:
            size = _size(kind, body)
        if kind == b"VP8X" and not kept:
            flags = body[0] & (_ANIMATED | _ALPHA)
            kept.append(_chunk(kind, bytes([flags]) + body[1:]))
        elif kind in _FRAME and not has_frame:
            kept.append(whole)
            has_frame = True
        elif kind in (b"ANIM", b"ALPH") and not has_frame:
            kept.append(whole)
        elif kind in (b"EXIF", b"XMP "):
            metadata.setdefault(kind, body)
    if size is None:
        raise InvalidImage("the header of the WebP is damaged")
    found = (orientation.from_exif(metadata.get(b"EXIF", b"")), orientation.from_xmp(metadata.get(b"XMP ", b"")))
    length = len(b"WEBP") + sum(map(len, kept))
    width, height = size
    return Encoded(
        "WEBP",
        (b"RIFF" + length.to_bytes(4, "little") + b"WEBP", *kept),
        width,
        height,
        pixel_bytes=_PIXEL_BYTES,
        kept_bytes=_KEPT_PIXEL_BYTES * width * height,
        orientation=orientation.first(found),
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, memoryview]]:
    """Kind, body and all bytes of each chunk. The last one may be cut off: the decoder says so."""
    position, end = 12, min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    for _ in range(_MOST_CHUNKS):
        if position + 8 > end:
            return
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        after = position + 8 + length + length % 2
        whole = memoryview(data)[position:after]
        yield data[position : position + 4], bytes(whole[8 : 8 + min(length, _LONGEST_BODY)]), whole
        position = after


def _chunk(kind: bytes, body: bytes) -> bytes:
    return kind + len(body).to_bytes(4, "little") + body + bytes(len(body) % 2)


def _size(kind: bytes, body: bytes) -> tuple[int, int] | None:
    if kind == b"VP8X" and len(body) >= 10:
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and len(body) >= 10 and body[3:6] == b"\x9d\x01\x2a":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    return None
