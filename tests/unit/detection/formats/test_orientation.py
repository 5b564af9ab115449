"""The orientation tag: found where Pillow finds it, and never a reason to fail."""

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from serve_app.detection.formats import jpeg, orientation, png, webp
from tests.unit.detection import hostile

PHOTO = Image.new("RGB", (8, 8), "teal")
SIX = (0x0112, 3, 1, b"\6\0\0\0")


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "code"), [(1, "Bxxx"), (3, "Hxx"), (4, "L"), (6, "bxxx"), (8, "hxx"), (9, "l")])
def test_every_type_of_whole_number_is_read(value: int, order: str, kind: int, code: str) -> None:
    entry = (0x0112, kind, 1, struct.pack(order + code, value))
    block = hostile.tiff((0x010F, 2, 3, b"abc\0"), entry, order=order)
    assert orientation.from_exif(block) == orientation.from_exif(b"Exif\0\0" + block) == value
    exif = Image.Exif()
    exif.load(block)
    assert exif[0x0112] == (bytes([value]) if kind == 1 else value)


@pytest.mark.parametrize(
    "block",
    [b"", b"II", b"\xff" * 20, b"II*\0", b"II*\0\xff\xff\xff\xff", b"XX" + hostile.tiff(SIX)[2:], hostile.tiff(),
     hostile.tiff((0x0112, 5, 1, b"\6\0\0\0")), hostile.tiff((0x0112, 3, 0, b"\6\0\0\0")), hostile.tiff(SIX)[:18],
     b"II+\0" + hostile.tiff(SIX)[4:], hostile.tiff((0x0112, 2, 1, b"\6\0\0\0"))],
)  # fmt: skip
def test_a_block_without_a_readable_tag_has_none(block: bytes) -> None:
    assert orientation.from_exif(block) is None


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    for block in (data, b"II*\0\x08\0\0\0" + data, b"MM\0*\0\0\0\x08" + data):
        orientation.from_exif(block)
    orientation.from_text_profile(data)
    orientation.from_xmp(data)
    orientation.inflated(data)


def test_a_directory_that_promises_more_entries_than_it_has_is_read_to_its_end() -> None:
    block = hostile.tiff(SIX)
    assert orientation.from_exif(block[:8] + b"\xff\xff" + block[10:22]) == 6


@pytest.mark.parametrize(("found", "value"), [([], 1), ([None, 3], 3), ([0, 6], 1), ([9], 1), ([6, 3], 6), ([None], 1)])
def test_the_first_that_is_there_counts(found: list[int | None], value: int) -> None:
    assert orientation.first(found) == value


def test_a_compressed_text_is_read_as_far_as_it_is_searched() -> None:
    assert len(orientation.inflated(zlib.compress(bytes(5_000_000)))) == 1_000_000


XMP = b'<x:xmpmeta tiff:Orientation="6"/>'
PROFILE = f"\nexif\n{len(hostile.tiff(SIX)):8}\n{hostile.tiff(SIX).hex()}\n".encode()


def in_jpeg(*payloads: bytes) -> int:
    data = hostile.encoded(PHOTO, "JPEG")
    return jpeg.read(data[:2] + b"".join(hostile.segment(0xE1, each) for each in payloads) + data[2:]).orientation


def in_png(*chunks: bytes, late: bool = False) -> int:
    data = hostile.encoded(PHOTO, "PNG")
    place = len(data) - 12 if late else 33
    return png.read(data[:place] + b"".join(chunks) + data[place:]).orientation


def test_a_jpeg_says_it_in_exif_or_in_xmp() -> None:
    exif, xmp = b"Exif\0\0" + hostile.tiff((0x0112, 3, 1, b"\3\0\0\0")), b"http://ns.adobe.com/xap/1.0/\0" + XMP
    assert (in_jpeg(exif, xmp), in_jpeg(xmp, exif), in_jpeg(xmp), in_jpeg(b"other")) == (3, 3, 6, 1)
    assert in_jpeg(b"Exif\0\0" + b"\xff" * 20, xmp) == 6


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("kind", "body"),
    [(b"eXIf", hostile.tiff(SIX)),
     (b"tEXt", b"Raw profile type exif\0" + PROFILE),
     (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(PROFILE)),
     (b"iTXt", b"Raw profile type exif\0\0\0\0\0" + PROFILE),
     (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
     (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP))],
)  # fmt: skip
def test_a_png_says_it_in_a_chunk(kind: bytes, body: bytes, late: bool) -> None:
    data = hostile.chunk(kind, body)
    assert in_png(data, late=late) == 6
    # Pillow's own way
    photo = hostile.encoded(PHOTO, "PNG")
    with Image.open(io.BytesIO(photo[:33] + data + photo[33:])) as image:
        assert image.getexif()[0x0112] == 6


@pytest.mark.parametrize("body", [b"", b"Raw profile type exif", b"Raw profile type exif\0\0no zlib", b"\0\0\0\0"])
@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"eXIf"])
def test_a_damaged_chunk_is_passed_over(kind: bytes, body: bytes) -> None:
    assert in_png(hostile.chunk(kind, body)) == 1


def test_a_webp_says_it_in_a_chunk() -> None:
    for options in ({"exif": hostile.tiff(SIX)}, {"exif": b"Exif\0\0" + hostile.tiff(SIX)}, {"xmp": XMP}):
        assert webp.read(hostile.encoded(PHOTO, "WEBP", **options)).orientation == 6
    assert webp.read(hostile.encoded(PHOTO, "WEBP", exif=b"\xff" * 30)).orientation == 1
