"""The walk through a JPEG: every scan that libjpeg would decode is counted, whatever lies between."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from serve_app.detection.formats import jpeg
from serve_app.errors import InvalidImage
from tests.unit.detection import hostile

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
PROGRESSIVE = hostile.encoded(NOISE, "JPEG", progressive=True)
HEAD = b"\xff\xd8" + hostile.frame(0xC2, 64, 48)


def test_the_scans_of_a_progressive_photo_are_counted() -> None:
    photo = jpeg.read(PROGRESSIVE)
    assert (photo.width, photo.height, photo.scans) == (64, 48, PROGRESSIVE.count(b"\xff\xda")) == (64, 48, 10)
    assert photo.scales == (1, 2, 4, 8)
    # Two scans of all three components, four more of the light, two of each colour with a quarter of its values
    light = 64 * 48
    assert photo.samples == 2 * light * 3 // 2 + 4 * light + 4 * light // 4


def test_a_baseline_photo_has_one_scan_and_keeps_no_coefficients() -> None:
    photo = jpeg.read(hostile.encoded(NOISE, "JPEG"))
    assert (photo.scans, photo.kept_bytes, photo.pixel_bytes) == (1, 0, 4)
    assert jpeg.read(hostile.encoded(NOISE.convert("L"), "JPEG")).pixel_bytes == 1


@pytest.mark.parametrize(
    ("data", "values"),
    [(PROGRESSIVE, 64 * 48 * 3 // 2),
     (hostile.encoded(NOISE, "JPEG", progressive=True, subsampling=0), 64 * 48 * 3),
     (hostile.encoded(NOISE.convert("CMYK"), "JPEG", progressive=True), 64 * 48 * 4),
     (HEAD.replace(b"\xff\xc2", b"\xff\xc0") + hostile.scan(), 0),
     (b"\xff\xd8" + hostile.frame(0xC0, 64, 48, (0x11, 0x11)) + hostile.scan([2]), 64 * 48 * 2)],
)  # fmt: skip
def test_what_comes_in_passes_keeps_two_bytes_for_each_value(data: bytes, values: int) -> None:
    assert jpeg.read(data).kept_bytes == 2 * values


def test_sides_are_counted_in_whole_blocks() -> None:
    data = b"\xff\xd8" + hostile.frame(0xC2, 65, 1, (0x22, 0x11)) + hostile.scan([1, 2])
    # 65 pixels are five blocks of 16, and one line is one: ten by two blocks of light, five by one of colour
    assert jpeg.read(data).samples == 64 * (20 + 5)


@pytest.mark.parametrize(
    "between",
    [b"\xff" * 5000, b"\0" * 5000, b"\xff\0" * 2000, b"\xff\xd3", b"\xff\x01", b"garbage",
     hostile.segment(0xE1, b"\xff\xda\xff\xd9" * 100), hostile.segment(0xFE, PROGRESSIVE[:5000]),
     hostile.segment(0xE2, b"MPF\0" + bytes(200)), b"\xff\xd8"],
)  # fmt: skip
def test_no_scan_hides_behind_what_lies_between_segments(between: bytes) -> None:
    parts = PROGRESSIVE.split(b"\xff\xda")
    data = (between + b"\xff\xda").join(parts)
    photo = jpeg.read(data)
    assert photo.scans == 10
    assert photo.data.count(b"\xff\xda") == 10
    with Image.open(io.BytesIO(photo.data)) as image, Image.open(io.BytesIO(PROGRESSIVE)) as expected:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))


def test_what_follows_the_end_is_left_out() -> None:
    assert jpeg.read(PROGRESSIVE + PROGRESSIVE).data == jpeg.read(PROGRESSIVE).data
    assert jpeg.read(PROGRESSIVE + bytes(1000)).data.endswith(b"\xff\xd9")


def test_a_scan_that_a_table_hides_is_counted_nevertheless() -> None:
    table = hostile.segment(0xDB, b"\xff\xda" * 30)  # damaged: whoever looked for markers here would find scans
    assert jpeg.read(HEAD + table + hostile.scan()).scans == 31


@settings(max_examples=300)
@given(position=st.integers(2, len(PROGRESSIVE)), value=st.binary(min_size=1, max_size=6), cut=st.integers(0, 6))
def test_no_change_of_bytes_makes_the_decoder_see_more_scans(position: int, value: bytes, cut: int) -> None:
    try:
        photo = jpeg.read(PROGRESSIVE[:position] + value + PROGRESSIVE[position + cut :])
    except InvalidImage:
        return
    assert photo.data.count(b"\xff\xda") <= photo.scans


@pytest.mark.parametrize("marker", [0xC9, 0xCA])
def test_arithmetic_coding_counts_as_more_work(marker: int) -> None:
    coded = jpeg.read(b"\xff\xd8" + hostile.frame(marker, 64, 48) + hostile.scan())
    assert coded.samples == 16 * 64 * 48


def test_only_what_libjpeg_can_reduce_is_decoded_reduced() -> None:
    lossless = jpeg.read(b"\xff\xd8" + hostile.frame(0xC3, 64, 48) + hostile.scan())
    assert lossless.scales == (1,)
    assert lossless.kept_bytes == 2 * 64 * 48


@pytest.mark.parametrize(
    "data",
    [b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\0", HEAD, HEAD + HEAD[2:] + hostile.scan(), hostile.scan() + HEAD[2:],
     b"\xff\xd8" + hostile.scan(), HEAD + hostile.scan([2]), HEAD + hostile.segment(0xDA, b""),
     HEAD + hostile.segment(0xDA, b"\2\1\0\0\0\0"), HEAD + b"\xff\xda\0\1",
     b"\xff\xd8" + hostile.frame(0xC0, 64, 0) + hostile.scan(),
     b"\xff\xd8" + hostile.frame(0xC0, 0, 48) + hostile.scan(),
     b"\xff\xd8" + hostile.frame(0xC0, 64, 48, (0x51,)) + hostile.scan(),
     b"\xff\xd8" + hostile.frame(0xC0, 64, 48, (0x10,)) + hostile.scan(),
     b"\xff\xd8" + hostile.segment(0xC0, b"\x08\0\1\0\1\2\1\x11\0\1\x11\0") + hostile.scan(),
     b"\xff\xd8" + hostile.segment(0xC0, b"\x08\0\1\0\1\0") + hostile.scan(),
     b"\xff\xd8" + hostile.segment(0xC0, b"\x08\0") + hostile.scan(),
     HEAD + hostile.segment(0xE0, b"") * 5000 + hostile.scan()],
)  # fmt: skip
def test_a_damaged_frame_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        jpeg.read(data)


@pytest.mark.parametrize("position", [64, 65, 1088, 1_000_000, 1 << 20, (1 << 20) + 1087, 3_000_001])
def test_a_marker_is_found_wherever_it_is(position: int) -> None:
    coded = bytes(position) + b"\xff"
    data = HEAD + hostile.scan() + coded[:-1] + hostile.scan() + b"\xff\xd9"
    assert jpeg.read(data).scans == 2


def test_restart_markers_belong_to_their_scan() -> None:
    coded = b"\0\xff\xd0" * 100_000
    photo = jpeg.read(HEAD + hostile.scan() + coded + hostile.scan() + bytes(100) + b"\xff\xd9")
    assert photo.scans == 2
    assert coded in photo.data


def test_the_colour_space_is_that_of_the_file() -> None:
    for mode in ("RGB", "CMYK", "L"):
        data = hostile.encoded(NOISE.convert(mode), "JPEG")
        with Image.open(io.BytesIO(jpeg.read(data).data)) as image, Image.open(io.BytesIO(data)) as expected:
            assert image.mode == expected.mode
            np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))


def test_cut_off_markers_of_the_colour_space_are_left_out() -> None:
    data = HEAD + hostile.segment(0xE0, b"JFIF\0") + hostile.segment(0xEE, b"Adobe") + hostile.scan()
    assert b"JFIF" not in jpeg.read(data).data
    assert b"Adobe" not in jpeg.read(data).data
