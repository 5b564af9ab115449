"""WebP: its size before anything is allocated, and its first frame alone."""

import io

import numpy as np
import pytest
from PIL import Image

from serve_app.detection.formats import webp
from serve_app.errors import InvalidImage
from tests.unit.detection import hostile

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 4), dtype=np.uint8))


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"\xff" * 30, "xmp": b"x" * 100}])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_still_keeps_its_pixels(mode: str, options: dict[str, object]) -> None:
    data = hostile.encoded(NOISE.convert(mode), "WEBP", **options)
    photo = webp.read(data)
    assert (photo.width, photo.height, photo.pixel_bytes, photo.kept_bytes) == (64, 48, 4, 14 * 64 * 48)
    assert b"EXIF" not in photo.data
    assert b"XMP " not in photo.data
    with Image.open(io.BytesIO(photo.data)) as image, Image.open(io.BytesIO(data)) as expected:
        assert not image.info.keys() & {"exif", "xmp"}
        np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))


def test_of_an_animation_only_the_first_frame_is_kept() -> None:
    frames = [Image.new("RGBA", (64, 48), colour) for colour in ("red", "blue", "teal")]
    data = hostile.encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], exif=b"\xff" * 30)
    photo = webp.read(data)
    assert (data.count(b"ANMF"), photo.data.count(b"ANMF")) == (3, 1)
    with Image.open(io.BytesIO(photo.data)) as image, Image.open(io.BytesIO(data)) as expected:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))


@pytest.mark.parametrize(
    ("data", "size"),
    [(hostile.lossless_webp(16383, 16383), (16383, 16383)),
     (hostile.riff(hostile.webp_canvas(1 << 24, 3)), (1 << 24, 3)),
     (hostile.riff(hostile.riff_chunk(b"VP8 ", b"\0\0\0\x9d\x01\x2a\xff\x3f\x10\0")), (16383, 16))],
)  # fmt: skip
def test_the_size_is_read_before_anything_is_decoded(data: bytes, size: tuple[int, int]) -> None:
    photo = webp.read(data)
    assert (photo.width, photo.height) == size


@pytest.mark.parametrize(
    "data",
    [hostile.riff(), hostile.riff(hostile.riff_chunk(b"VP8X", b"abc")),
     hostile.riff(hostile.riff_chunk(b"VP8L", b"abc")),
     hostile.riff(hostile.riff_chunk(b"VP8L", b"\0" * 5)), hostile.riff(hostile.riff_chunk(b"VP8 ", b"\0" * 10)),
     hostile.riff(hostile.riff_chunk(b"JUNK", b"")), b"RIFF\0\0\0\0WEBP"],
)  # fmt: skip
def test_a_damaged_header_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        webp.read(data)


def test_chunks_without_end_are_not_walked_to_the_end() -> None:
    junk = hostile.riff_chunk(b"JUNK", b"") * 40_000
    data = hostile.riff(hostile.webp_canvas(64, 48), junk, hostile.riff_chunk(b"EXIF", b""))
    assert len(webp.read(data).data) < 100
