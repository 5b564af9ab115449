"""Decoding: every mode and orientation comes out as Pillow and transformers see it; what is damaged is refused."""

import contextlib
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from serve_app.detection import imaging
from serve_app.detection.formats import png
from serve_app.detection.imaging import decode, inspect, loaded
from serve_app.errors import InvalidImage, ServingError, TooLarge
from serve_app.settings import LimitSettings
from tests.unit.detection import hostile
from tests.unit.detection.hostile import encoded

LIMITS = LimitSettings()
NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 4), dtype=np.uint8)


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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_image_is_put_upright(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(NOISE[..., :3]), kind, exif=exif)
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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_file_is_refused(kind: str, share: float) -> None:
    data = encoded(Image.fromarray(NOISE[..., :3]), kind)
    with pytest.raises(InvalidImage):
        decode(data[: int(len(data) * share)], LIMITS)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_refused_by_name(kind: str) -> None:
    with pytest.raises(InvalidImage, match="none of JPEG, PNG, WEBP, AVIF"):
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
    with contextlib.suppress(ServingError):
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


@pytest.fixture
def no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow may not even open the file."""

    def opened(_: object) -> None:
        raise AssertionError("the decoder was called")

    monkeypatch.setattr(imaging, "_PLUGINS", dict.fromkeys(("JPEG", "PNG", "WEBP"), opened))


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize(
    ("data", "message"),
    [(hostile.scan_bomb(7000, 7000, 1000), "1000 scans, the limit is 100"),
     (hostile.scan_bomb(64, 48, 101), "101 scans, the limit is 100"),
     (hostile.scan_bomb(7000, 7000, 40), "40 scans of the image decode 1960000000 values, the limit is 1600000000"),
     (hostile.flat_jpeg(65_500, 30_000), "values, the limit is"),
     (b"\xff\xd8" + hostile.frame(0xC9, 7000, 7000, [0x11] * 3) + hostile.scan([1, 2, 3]), "values, the limit is"),
     (b"\xff\xd8" + hostile.frame(0xC2, 12_000, 9000, [0x11] * 3) + hostile.scan([1, 2, 3]), "bytes to decode"),
     (hostile.png(1, 50_000_000), "a side of the image has 50000000 pixels, the limit is 65535"),
     (hostile.png(50_000_000, 1), "a side of the image"),
     (hostile.png(12_000, 9000), "12000x9000 = 108000000 pixels, the limit is 50000000"),
     (hostile.png(0xFFFFFFFF, 0xFFFFFFFF), "a side of the image"),
     (hostile.lossless_webp(16_383, 16_383), "16383x16383 = 268402689 pixels"),
     (hostile.lossless_webp(7000, 7000), "882000000 bytes to decode, the limit is 256000000"),
     (hostile.riff(hostile.webp_canvas(1 << 24, 1 << 8)), "a side of the image"),
     (hostile.riff(hostile.webp_canvas(60_000, 60_000)), "60000x60000")],
)  # fmt: skip
def test_what_would_take_too_long_or_too_much_is_refused_before_decoding(data: bytes, message: str) -> None:
    assert len(data) < 130_000_000 // 8
    with pytest.raises(TooLarge, match=message):
        inspect(data, LIMITS)


def test_an_avif_of_too_many_pixels_is_refused_before_decoding() -> None:
    data = encoded(Image.fromarray(NOISE), "AVIF", speed=10)
    large = data.replace(struct.pack(">II", 64, 48), struct.pack(">II", 9000, 9000))
    with pytest.raises(TooLarge, match="9000x9000"):
        inspect(large, LIMITS)


@pytest.mark.parametrize("scans", [10, 20, 32])
def test_a_progressive_photo_of_any_size_within_the_limits_is_welcome(scans: int) -> None:
    assert inspect(hostile.scan_bomb(7000, 7000, scans), LIMITS).scale == 1
    assert inspect(hostile.scan_bomb(640, 480, 100), LIMITS).scale == 1


@pytest.mark.parametrize(("sampling", "scale"), [((0x22, 0x11, 0x11), 2), ((0x11, 0x11, 0x11), 4)])
def test_a_progressive_photo_over_the_memory_is_decoded_reduced(sampling: tuple[int, ...], scale: int) -> None:
    data = b"\xff\xd8" + hostile.frame(0xC2, 8000, 5000, sampling) + hostile.scan([1, 2, 3], b"\0\0\0")
    assert inspect(data, LIMITS).scale == scale
    assert inspect(data, LimitSettings(max_decode_bytes=600_000_000)).scale == 1


@pytest.mark.parametrize(
    ("size", "scale"),
    [((8000, 6000), 1), ((8192, 8192), 2), ((12_000, 9000), 2), ((16_320, 12_240), 2), ((16_384, 16_384), 4)],
)
def test_a_phones_picture_over_the_limit_is_reduced(size: tuple[int, int], scale: int) -> None:
    assert inspect(hostile.flat_jpeg(*size), LIMITS).scale == scale


def test_a_reduced_picture_keeps_its_size_for_the_boxes() -> None:
    limits = LimitSettings(max_pixels=100)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(NOISE[..., :3]).resize((37, 21)), "JPEG", exif=exif)
    with loaded(inspect(data, limits)) as picture:
        assert (picture.width, picture.height) == (21, 37)
        assert picture.upright().size == (6, 10)  # a quarter, rounded up
        assert picture.resize((80, 160), Image.Resampling.BILINEAR).size == (80, 160)


def test_a_reduced_picture_shows_the_same() -> None:
    y, x = np.mgrid[0:600, 0:800]
    image = Image.fromarray(np.stack([x * 255 / 800, y * 255 / 600, 0 * x + 90], -1).astype(np.uint8))
    data = encoded(image, "JPEG", quality=95)
    with loaded(inspect(data, LimitSettings(max_pixels=60_000))) as picture:
        reduced = np.asarray(picture.resize((200, 150), Image.Resampling.BILINEAR)).astype(int)
    with loaded(inspect(data, LIMITS)) as picture:
        whole = np.asarray(picture.resize((200, 150), Image.Resampling.BILINEAR)).astype(int)
    assert abs(reduced - whole).max() <= 8
    assert abs(reduced - whole).mean() < 1


def test_a_header_that_disagrees_with_the_decoder_is_refused() -> None:
    whole = inspect(encoded(Image.fromarray(NOISE), "PNG"), LIMITS)
    with pytest.raises(InvalidImage, match="damaged"), loaded(whole._replace(width=63)):
        pass


PHOTO = Image.fromarray(NOISE[..., :3])
_O6 = (0x0112, 3, 1, b"\6\0\0\0")


def _jpeg(*entries: tuple[int, int, int, bytes], more: bytes = b"") -> bytes:
    data = encoded(PHOTO, "JPEG")
    return data[:2] + hostile.segment(0xE1, b"Exif\0\0" + hostile.tiff(*entries)) + more + data[2:]


def _png(*chunks: bytes, late: bool = False) -> bytes:
    data = encoded(PHOTO, "PNG")
    place = len(data) - 12 if late else 33
    return data[:place] + b"".join(chunks) + data[place:]


_CHUNKS = [
    hostile.chunk(b"eXIf", b"\xff" * 20),
    hostile.chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n      12\nzzzz\n")),
    hostile.chunk(b"zTXt", b"a\0\7no such compression"),
    hostile.chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(1_500_000))),
    hostile.chunk(b"iCCP", b"icc\0"),
    hostile.chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"a" * 2_000_000)),
    hostile.chunk(b"pHYs", b"ab"),
    hostile.chunk(b"gAMA", b"ab"),
    hostile.chunk(b"cHRM", b"ab"),
    hostile.chunk(b"sRGB", b""),
    hostile.chunk(b"tRNS", b"a"),
    hostile.chunk(b"acTL", b"a"),
    hostile.chunk(b"fcTL", b"a"),
    hostile.chunk(b"tEXt", b"a\0b")[:-1] + b"?",
]


@pytest.mark.parametrize(
    ("data", "size"),
    [(_jpeg(_O6), (48, 64)), (_jpeg((0x011A, 2, 3, b"72\0\0")), (64, 48)),
     *((_jpeg(_O6, entry), (48, 64)) for entry in [
         (0x011A, 2, 3, b"72\0\0"), (0x011A, 7, 4, b"72ab"), (0x011A, 8, 1, b"\xfb\xff\0\0"),
         (0x011A, 11, 1, struct.pack("<f", float("nan"))), (0x0111, 2, 4, b"abc\0"), (0x8769, 4, 1, b"\xff" * 4),
         (0x011A, 5, 1, b"\xff" * 4), (0x010F, 2, 0xFFFFFFFF, b"\0" * 4)]),
     (_jpeg(_O6, more=hostile.segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed")), (48, 64)),
     (_jpeg(_O6, more=hostile.segment(0xE2, b"MPF\0" + b"\xff" * 20)), (48, 64)),
     (_jpeg(_O6, more=hostile.segment(0xE0, b"JFIF\0") + hostile.segment(0xEE, b"Adobe")), (48, 64)),
     (_jpeg(_O6, more=hostile.segment(0xE2, b"ICC_PROFILE\0" + bytes(60_000)) * 40), (48, 64)),
     *((_png(chunk), (64, 48)) for chunk in _CHUNKS), *((_png(chunk, late=True), (64, 48)) for chunk in _CHUNKS),
     *((_png(chunk, hostile.chunk(b"eXIf", hostile.tiff(_O6))), (48, 64)) for chunk in _CHUNKS[1:]),
     (encoded(PHOTO, "WEBP", exif=b"\xff" * 30), (64, 48)),
     (encoded(PHOTO, "WEBP", exif=hostile.tiff(_O6, (0x011A, 2, 3, b"72\0\0"))), (48, 64)),
     (encoded(PHOTO, "WEBP", icc_profile=bytes(100), xmp=b"\xff" * 100), (64, 48))],
)  # fmt: skip
def test_a_blemish_in_the_metadata_costs_no_photo(data: bytes, size: tuple[int, int]) -> None:
    assert decode(data, LIMITS).size == size


def test_a_fault_of_our_own_is_not_told_as_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise TypeError("a bug")

    data = encoded(PHOTO, "PNG")
    for name in ("_chunk", "_pixel_bytes", "_orientations"):
        with monkeypatch.context() as patched:
            patched.setattr(png, name, broken)
            with pytest.raises(TypeError, match="a bug"):
                decode(data, LIMITS)
    for error in (TypeError, AttributeError, MemoryError):
        with monkeypatch.context() as patched:
            patched.setattr(Image.Image, "draft", lambda *_, error=error: (_ for _ in ()).throw(error("a bug")))
            with pytest.raises(error):
                decode(data, LIMITS)


_MEASURE = """
import resource, sys
from serve_app.detection import imaging
from serve_app.settings import LimitSettings
from PIL import Image
data = open(sys.argv[1], "rb").read()
image = imaging.inspect(data, LimitSettings())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with imaging.loaded(image) as picture:
    picture.resize((800, 600), Image.Resampling.BILINEAR)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024, image.bytes_to_decode)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is not in kilobytes")
@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [("RGB", "JPEG", {}), ("RGB", "JPEG", {"progressive": True, "subsampling": 0}), ("CMYK", "JPEG", {}),
     ("L", "JPEG", {"progressive": True}), ("RGBA", "PNG", {}), ("P", "PNG", {}), ("RGBA", "WEBP", {"lossless": True}),
     ("RGB", "WEBP", {})],
)  # fmt: skip
def test_an_image_takes_no_more_memory_than_was_said(
    mode: str, kind: str, options: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "image"
    exif = Image.Exif()
    exif[0x0112] = 6  # turning it takes no second copy
    path.write_bytes(encoded(Image.new(mode, (4000, 3000)), kind, exif=exif, **options))
    measured = subprocess.run([sys.executable, "-c", _MEASURE, str(path)], capture_output=True, text=True, check=True)
    taken, said = (int(number) for number in measured.stdout.split())
    assert taken < said + 32_000_000
