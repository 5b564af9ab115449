"""Decoding: every mode and orientation comes out as Pillow and transformers see it; what is damaged is refused."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from serve_app.detection.imaging import decode
from serve_app.errors import InvalidImage, TooLarge
from serve_app.settings import LimitSettings

LIMITS = LimitSettings()
NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 4), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "PNG"), ("RGBA", "PNG"), ("LA", "PNG"), ("L", "PNG"),
     ("P", "PNG"), ("1", "PNG"), ("RGB", "WEBP"), ("RGBA", "WEBP")],
)  # fmt: skip
def test_a_mode_decodes_as_pillow_converts_it(mode: str, kind: str) -> None:
    data = encoded(Image.fromarray(NOISE).convert(mode), kind)
    expected = Image.open(io.BytesIO(data)).convert("RGBA" if mode == "P" else mode).convert("RGB")
    np.testing.assert_array_equal(np.asarray(decode(data, LIMITS)), np.asarray(expected))


def test_sixteen_bit_grey_keeps_its_picture() -> None:
    ramp = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    decoded = np.asarray(decode(encoded(Image.fromarray(ramp), "PNG"), LIMITS))
    np.testing.assert_array_equal(decoded[..., 0], ramp >> 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_image_is_put_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(NOISE[..., :3]), "JPEG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    decoded = decode(data, LIMITS)
    assert decoded.size == ((48, 64) if orientation >= 5 else (64, 48))
    np.testing.assert_array_equal(np.asarray(decoded), np.asarray(expected))


@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    assert decode(data, LIMITS).getpixel((5, 5)) == (255, 0, 0)


def test_a_line_of_pixels_is_an_image() -> None:
    assert decode(encoded(Image.new("RGB", (1, 500)), "PNG"), LIMITS).size == (1, 500)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_file_is_refused(kind: str, share: float) -> None:
    data = encoded(Image.fromarray(NOISE[..., :3]), kind)
    with pytest.raises(InvalidImage):
        decode(data[: int(len(data) * share)], LIMITS)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_refused_by_name(kind: str) -> None:
    with pytest.raises(InvalidImage, match="none of JPEG, PNG, WEBP"):
        decode(encoded(Image.new("RGB", (8, 8)), kind), LIMITS)


@pytest.mark.parametrize("data", [b"", b"not an image", b"\xff\xd8\xff\xe0" + b"\0" * 40])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        decode(data, LIMITS)


def test_pixels_over_the_limit_are_refused_before_decoding() -> None:
    data = encoded(Image.new("RGB", (101, 100)), "PNG")
    with pytest.raises(TooLarge, match=r"101x100 = 10100 pixels, the limit is 10000"):
        decode(data, LimitSettings(max_pixels=10_000))
    assert decode(data, LimitSettings(max_pixels=10_100)).size == (101, 100)


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_a_decompression_bomb_is_refused(side: int) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(TooLarge):
        decode(bomb, LIMITS)


@settings(max_examples=200)
@given(
    position=st.integers(0, 2000),
    value=st.binary(min_size=1, max_size=8),
    kind=st.sampled_from(["JPEG", "PNG", "WEBP"]),
)
def test_mutated_bytes_are_an_image_or_a_refusal(position: int, value: bytes, kind: str) -> None:
    data = encoded(Image.fromarray(NOISE[..., :3]), kind)
    start = position % len(data)
    mutated = data[:start] + value + data[start + len(value) :]
    with contextlib.suppress(InvalidImage, TooLarge):
        assert decode(mutated, LIMITS).mode == "RGB"


def test_the_memory_of_one_image_serves_the_next() -> None:
    data = encoded(Image.fromarray(NOISE[..., :3]), "JPEG")
    decode(data, LimitSettings())
    before = Image.core.get_stats()  # type: ignore[attr-defined]
    decode(data, LimitSettings())
    after = Image.core.get_stats()  # type: ignore[attr-defined]
    assert after["allocated_blocks"] == before["allocated_blocks"]
    assert after["reused_blocks"] > before["reused_blocks"]
    assert after["new_count"] == before["new_count"] + 1, "an RGB image is copied nowhere"
