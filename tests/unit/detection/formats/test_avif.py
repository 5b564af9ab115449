"""AVIF: read by libavif without its EXIF, decoded in a process that may take no more than the picture promises."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, features

from serve_app.detection.formats import avif, avif_process
from serve_app.errors import InvalidImage
from tests.unit.detection import hostile

pytestmark = pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 4), dtype=np.uint8))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_the_pixels_are_those_of_pillow(mode: str) -> None:
    data = hostile.encoded(NOISE.convert(mode), "AVIF", speed=10)
    photo = avif.read(data)
    assert (photo.width, photo.height, photo.pixel_bytes, photo.kept_bytes) == (64, 48, 4, 16 * 64 * 48)
    with Image.open(io.BytesIO(data)) as expected:
        np.testing.assert_array_equal(np.asarray(avif.load(photo)), np.asarray(expected))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_that_of_the_image(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "a camera"
    data = hostile.encoded(NOISE, "AVIF", speed=10, exif=exif)
    assert b"ExifExif" in data  # type and name of an item
    photo = avif.read(data)
    assert b"ExifExif" not in photo.data
    assert photo.orientation == orientation
    with Image.open(io.BytesIO(data)) as image:
        assert ImageOps.exif_transpose(image).size == photo.upright_size


def test_exif_that_cannot_be_read_does_not_matter() -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    data = hostile.encoded(NOISE, "AVIF", speed=10, exif=exif)
    start = data.index(b"II*\0" if b"II*\0" in data else b"MM\0*", data.index(b"mdat"))
    assert avif.read(data[:start] + b"\xff" * 8 + data[start + 8 :]).orientation == 1


def test_a_frame_larger_than_the_file_promises_is_refused_by_the_system() -> None:
    data = hostile.encoded(Image.new("RGB", (6000, 6000), "teal"), "AVIF", speed=10, subsampling="4:4:4")
    promised = data.replace(struct.pack(">II", 6000, 6000), struct.pack(">II", 64, 64))
    photo = avif.read(promised)
    assert (photo.width, photo.height) == (64, 64)
    with pytest.raises(InvalidImage, match="cannot be decoded"):
        avif.load(photo)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_file_is_refused(share: float) -> None:
    data = hostile.encoded(NOISE, "AVIF", speed=10)
    with pytest.raises(InvalidImage):
        avif.load(avif.read(data[: int(len(data) * share)]))


def test_a_decoder_that_dies_is_a_damaged_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    photo = avif.read(hostile.encoded(NOISE, "AVIF", speed=10))
    script = tmp_path / "dies.py"
    script.write_text("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)")
    monkeypatch.setattr(avif_process, "__file__", str(script))
    with pytest.raises(InvalidImage, match="ended with signal"):
        avif.load(photo)


def test_a_process_that_cannot_start_is_no_fault_of_the_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    photo = avif.read(hostile.encoded(NOISE, "AVIF", speed=10))
    monkeypatch.setattr(avif_process, "__file__", str(tmp_path / "nothing.py"))
    with pytest.raises(RuntimeError, match=r"nothing\.py"):
        avif.load(photo)
