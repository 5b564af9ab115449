"""What bytes are: the four formats pass, HEIC is named with its own code, everything else people send by its name."""

import pytest
from PIL import Image, features

from serve_app.detection.formats import kinds
from serve_app.errors import InvalidImage, UnsupportedMediaType
from tests.unit.detection import hostile

DOT = Image.new("RGB", (8, 8))


def boxes(major: bytes, *compatible: bytes) -> bytes:
    body = b"ftyp" + major + bytes(4) + b"".join(compatible)
    return (len(body) + 4).to_bytes(4, "big") + body + b"\0\0\0\x08mdat"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_an_accepted_format_is_told_by_its_first_bytes(kind: str) -> None:
    assert kinds.format_of(hostile.encoded(DOT, kind)) == kind


@pytest.mark.parametrize("brands", [(b"avis",), (b"mif1", b"miaf", b"avif"), (b"msf1", b"avis")])
def test_avif_may_be_a_compatible_brand(brands: tuple[bytes, ...]) -> None:
    assert kinds.format_of(boxes(*brands)) == "AVIF"


@pytest.mark.parametrize("brands", [(b"heic",), (b"heix",), (b"hevc",), (b"mif1", b"heic"), (b"mif1",), (b"msf1",)])
def test_heic_is_named_and_no_damaged_image(brands: tuple[bytes, ...]) -> None:
    with pytest.raises(UnsupportedMediaType, match="HEIC"):
        kinds.format_of(boxes(*brands))


def test_avif_is_named_where_pillow_cannot_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda feature: feature != "avif")
    with pytest.raises(UnsupportedMediaType, match="AVIF"):
        kinds.format_of(boxes(b"avif"))


@pytest.mark.parametrize(
    ("data", "name"),
    [(hostile.encoded(DOT, "GIF"), "GIF"), (hostile.encoded(DOT, "TIFF"), "TIFF"), (hostile.encoded(DOT, "BMP"), "BMP"),
     (hostile.encoded(DOT, "PDF"), "PDF"), (hostile.encoded(DOT, "ICO"), "ICO"),
     (hostile.encoded(DOT, "JPEG2000"), "JPEG 2000"), (b"MM\0*" + bytes(20), "TIFF"), (b"8BPS\0\1", "PSD"),
     (b"<svg xmlns=''/>", "SVG"), (b"\xef\xbb\xbf\n <?xml version='1.0'?><svg/>", "SVG"),
     (b"<!DOCTYPE html><html>", "HTML"), (b"  <HTML>", "HTML"), (b"\xff\x0a\0", "JPEG XL"), (b"PK\3\4", "ZIP"),
     (b"\x1f\x8b\x08", "gzip"), (b"RIFF\0\0\0\0WAVE", "RIFF"), (b"data:image/png;base64,", "data: URL"),
     (b'{"image_base64": ""}', "application/json"), (boxes(b"isom", b"mp42"), "video"), (boxes(b"qt  "), "video")],
)  # fmt: skip
def test_what_people_send_instead_is_named(data: bytes, name: str) -> None:
    with pytest.raises(InvalidImage, match=f"none of JPEG, PNG, WEBP, AVIF: .*{name}"):
        kinds.format_of(data)


@pytest.mark.parametrize("data", [b"x", b"not an image", b"\xff\xd8", bytes(100)])
def test_what_has_no_name_is_refused_all_the_same(data: bytes) -> None:
    with pytest.raises(InvalidImage, match="or its header is damaged"):
        kinds.format_of(data)
