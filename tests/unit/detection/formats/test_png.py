"""PNG: header and pixels pass, everything else stays outside; damaged headers and endless chunks are refused."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from serve_app.detection.formats import png
from serve_app.errors import InvalidImage
from tests.unit.detection import hostile

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 4), dtype=np.uint8))
PHOTO = hostile.encoded(NOISE, "PNG")
MORE = (
    hostile.chunk(b"gAMA", b"a"),
    hostile.chunk(b"pHYs", b"ab"),
    hostile.chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(1_500_000))),
    hostile.chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2_000_000))),
    hostile.chunk(b"tRNS", b"a"),
    hostile.chunk(b"acTL", struct.pack(">II", 1_000_000, 0)),
    hostile.chunk(b"eXIf", b"\xff" * 20)[:-4] + b"crc!",
)


def inserted(data: bytes, *chunks: bytes) -> bytes:
    return data[:33] + b"".join(chunks) + data[33:]


def test_only_what_makes_pixels_reaches_the_decoder() -> None:
    assert png.read(inserted(PHOTO, *MORE)).data == png.read(PHOTO).data
    with Image.open(io.BytesIO(png.read(PHOTO).data)) as image:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(NOISE))


def test_pixels_in_many_chunks_become_one_chunk() -> None:
    body = PHOTO[41 : 41 + struct.unpack(">I", PHOTO[33:37])[0]]
    parts = [hostile.chunk(b"IDAT", body[at : at + 100]) for at in range(0, len(body), 100)]
    split = PHOTO[:33] + MORE[0].join(parts) + hostile.chunk(b"IEND", b"")
    assert png.read(split).data == png.read(PHOTO).data
    assert png.read(PHOTO).data.count(b"IDAT") == 1


@pytest.mark.parametrize(
    ("depth", "colour", "taken"),
    [(1, 0, 1), (8, 0, 1), (16, 0, 2), (8, 2, 4), (16, 2, 4), (8, 3, 1), (8, 4, 4), (16, 4, 4), (8, 6, 4), (16, 6, 4)],
)
def test_each_mode_takes_what_pillow_takes_for_it(depth: int, colour: int, taken: int) -> None:
    assert png.read(hostile.png(64, 48, depth, colour)).pixel_bytes == taken


@pytest.mark.parametrize(
    "data",
    [PHOTO[:8], PHOTO[:20], PHOTO[:8] + MORE[0] + PHOTO[8:], hostile.png(0, 48), hostile.png(64, 0),
     PHOTO[:19] + b"\1" + PHOTO[20:], inserted(hostile.png(64, 48), hostile.chunk(b"PLTE", b"abc")[:-1] + b"?"),
     PHOTO[:33] + hostile.chunk(b"IDAT", b"") * 40_000, inserted(PHOTO, hostile.chunk(b"tEXt", b"a\0b") * 40_000)],
)  # fmt: skip
def test_a_damaged_header_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        png.read(data)


def test_a_second_header_changes_nothing() -> None:
    second = hostile.chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    twice = png.read(inserted(PHOTO, second))
    assert (twice.width, twice.height) == (64, 48)
    assert twice.data.count(b"IHDR") == 1


def test_the_palette_stands_before_the_pixels() -> None:
    palette = hostile.encoded(NOISE.convert("RGB").convert("P"), "PNG")
    with Image.open(io.BytesIO(png.read(palette).data)) as image, Image.open(io.BytesIO(palette)) as expected:
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), np.asarray(expected.convert("RGB")))
    late = PHOTO[:-12] + hostile.chunk(b"PLTE", b"abc") + PHOTO[-12:]
    assert b"PLTE" not in png.read(late).data
