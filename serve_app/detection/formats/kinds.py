"""Which format bytes are, by how they begin; what is not accepted is refused by the name of what it is."""

from typing import get_args

from PIL import features

from serve_app.detection.formats import jpeg, png, webp
from serve_app.detection.formats.encoded import Format
from serve_app.errors import InvalidImage, UnsupportedMediaType

ACCEPTED = ", ".join(get_args(Format))
_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
# What people send instead, by the first bytes
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"GIF8", "a GIF"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"II+\0", "a TIFF"),
    (b"MM\0+", "a TIFF"),
    (b"BM", "a BMP"),
    (b"%PDF", "a PDF"),
    (b"8BPS", "a Photoshop file (PSD)"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"\xff\x0a", "a JPEG XL"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (b"PK\3\4", "a ZIP archive"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"RIFF", "a RIFF file, and no WebP"),
)
# And by the first words, for what is text
_TEXTS: tuple[tuple[bytes, str], ...] = (
    (b"<svg", "an SVG"),
    (b"<!doctype svg", "an SVG"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML document, perhaps an SVG"),
    (b"data:image/", "a data: URL; send the bytes that it holds, or JSON with image_base64"),
    (b"{", "JSON; send it as application/json"),
)


def format_of(data: bytes) -> Format:
    """The format of these bytes. Raises UnsupportedMediaType for HEIC, InvalidImage for anything else."""
    if data.startswith(jpeg.SIGNATURE):
        return "JPEG"
    if data.startswith(png.SIGNATURE):
        return "PNG"
    if webp.has_signature(data):
        return "WEBP"
    if data[4:8] == b"ftyp":
        return _format_of_boxes(data)
    raise InvalidImage(f"the image is none of {ACCEPTED}{_looks_like(data)}")


def _format_of_boxes(data: bytes) -> Format:
    length = min(int.from_bytes(data[:4], "big"), 1_000)
    brands = {data[at : at + 4] for at in (8, *range(16, min(length, len(data)), 4))}
    if brands & _AVIF:
        if features.check("avif"):
            return "AVIF"
        raise UnsupportedMediaType("the image is an AVIF, and this server's Pillow was built without it: send JPEG")
    if brands & _HEIC:
        raise UnsupportedMediaType(f"the image is a HEIC (HEIF), which is not accepted: send {ACCEPTED}")
    kind = data[8:12].decode("ascii", "replace").strip()
    raise InvalidImage(f"the image is none of {ACCEPTED}: it looks like a video ({kind!r})")


def _looks_like(data: bytes) -> str:
    text = data[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    names = [name for start, name in _OTHERS if data.startswith(start)]
    names += [name for start, name in _TEXTS if text.startswith(start)]
    return f": it looks like {names[0]}" if names else ", or its header is damaged"
