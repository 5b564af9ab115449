"""A picture is turned, converted and resized strip by strip, and every pixel is as if that was done at once."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from serve_app.detection import picture
from serve_app.detection.picture import Picture

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (301, 403, 4), dtype=np.uint8))


def upright(image: Image.Image, orientation: int) -> Image.Image:
    turned = image.copy()
    turned.getexif()[0x0112] = orientation
    return ImageOps.exif_transpose(turned)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "CMYK", "P", "1"])
@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
def test_strips_give_the_pixels_of_the_whole(
    orientation: int, mode: str, resample: Image.Resampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = NOISE.convert(mode)
    expected = upright(image, orientation).convert("RGB")
    subject = Picture(image, orientation, expected.size)
    np.testing.assert_array_equal(np.asarray(subject.upright()), np.asarray(expected))
    monkeypatch.setattr(picture, "_STRIP_BYTES", 50_000)
    for scale in (0.2, 0.47, 1, 1.6):
        size = round(expected.width * scale), round(expected.height * scale)
        resized = np.asarray(subject.resize(size, resample))
        np.testing.assert_array_equal(resized, np.asarray(expected.resize(size, resample)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_strips_of_sixteen_bit_grey_keep_its_picture(orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    grey = np.random.default_rng(0).integers(0, 65_536, (301, 403), dtype=np.uint16)
    expected = upright(Image.fromarray((grey >> 8).astype(np.uint8)), orientation).convert("RGB")
    monkeypatch.setattr(picture, "_STRIP_BYTES", 50_000)
    subject = Picture(Image.fromarray(grey), orientation, expected.size)
    resized = np.asarray(subject.resize((200, 150), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(resized, np.asarray(expected.resize((200, 150), Image.Resampling.BILINEAR)), atol=1)


def test_strips_of_another_shape_are_within_one_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "_STRIP_BYTES", 50_000)
    image = NOISE.convert("RGB")
    resized = np.asarray(Picture(image, 1, image.size).resize((400, 50), Image.Resampling.BILINEAR)).astype(int)
    assert abs(resized - np.asarray(image.resize((400, 50), Image.Resampling.BILINEAR))).max() <= 1


def test_a_line_of_pixels_is_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "_STRIP_BYTES", 1)
    assert Picture(Image.new("L", (500, 1)), 6, (1, 500)).resize((16, 400), Image.Resampling.BILINEAR).size == (16, 400)
