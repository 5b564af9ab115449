"""Small files that promise much: what a client may send to keep a decoder busy, or to make it allocate."""

import io
import struct
import zlib
from collections.abc import Sequence

from PIL import Image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """An image as Pillow writes it."""
    with io.BytesIO() as buffer:
        image.save(buffer, kind, **options)
        return buffer.getvalue()


def segment(marker: int, payload: bytes) -> bytes:
    """One segment of a JPEG."""
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(payload) + 2) + payload


def frame(marker: int, width: int, height: int, sampling: Sequence[int] = (0x11,)) -> bytes:
    """The frame header of a JPEG; one component for each of the sampling factors."""
    parts = b"".join(bytes([name, factors, 0]) for name, factors in enumerate(sampling, 1))
    return segment(marker, struct.pack(">BHHB", 8, height, width, len(sampling)) + parts)


def scan(names: Sequence[int] = (1,), spectrum: bytes = b"\0\x3f\0") -> bytes:
    """The header of a scan of these components."""
    return segment(0xDA, bytes([len(names)]) + b"".join(bytes([name, 0]) for name in names) + spectrum)


_TABLES = (
    segment(0xDB, b"\0" + b"\1" * 64)
    + segment(0xC4, b"\x00" + bytes([1] + [0] * 15) + b"\0")  # one code of one bit: no difference to the last block
    + segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\0")  # and: no more values in this block
)


def flat_jpeg(width: int, height: int) -> bytes:
    """A baseline JPEG, all of one grey, of two bits for each block."""
    blocks = -(-width // 8) * -(-height // 8)
    return b"\xff\xd8" + frame(0xC0, width, height) + _TABLES + scan() + bytes(-(-blocks // 4)) + b"\xff\xd9"


def scan_bomb(width: int, height: int, scans: int) -> bytes:
    """A progressive JPEG of many scans, each of which takes a pass over the whole image."""
    head = b"\xff\xd8" + frame(0xC2, width, height) + _TABLES
    return head + scan(spectrum=b"\0\0\0") + b"\0" + (scan(spectrum=b"\1\x3f\0") + b"\0") * (scans - 1) + b"\xff\xd9"


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int = 8, colour: int = 2, *more: bytes, data: bytes = b"") -> bytes:
    """A PNG with this header and these further chunks; its pixels end at once."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", data or zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(more) + pixels + chunk(b"IEND", b"")


def riff(*chunks: bytes) -> bytes:
    """A WebP of these chunks."""
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def riff_chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a WebP."""
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def webp_canvas(width: int, height: int, flags: int = 2) -> bytes:
    """The header of an extended WebP; 2 is an animation."""
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return riff_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + sides)


def lossless_webp(width: int, height: int) -> bytes:
    """34 bytes of WebP."""
    return riff(riff_chunk(b"VP8L", b"\x2f" + struct.pack("<I", width - 1 | height - 1 << 14) + bytes(9)))


def tiff(*entries: tuple[int, int, int, bytes], order: str = "<") -> bytes:
    """An EXIF block of entries (tag, type, count, four bytes of value)."""
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "L", 8)
    listed = b"".join(struct.pack(order + "HHL", *entry[:3]) + entry[3] for entry in entries)
    return start + struct.pack(order + "H", len(entries)) + listed + bytes(4)
