"""The images of the comparison: of several sizes and shapes, from the demo or from a folder that is named."""

from pathlib import Path

import pytest
from PIL import Image

from export import samples
from serve_app.errors import ConfigurationError


def photos(folder: Path, count: int) -> Path:
    for index in range(count):
        Image.new("RGB", (90 + index, 70), "teal").save(folder / f"{index}.jpg")
    return folder


@pytest.mark.parametrize("count", [1, 3, 20])
def test_any_number_of_photos_gives_samples_of_many_shapes(count: int, tmp_path: Path) -> None:
    found = samples.load(photos(tmp_path, count))
    assert len(found) == samples.COUNT
    ratios = {round(sample.image.width / sample.image.height, 1) for sample in found}
    assert len(ratios) >= 4
    assert min(ratios) <= 0.8
    assert max(ratios) > 1.5
    assert any(sample.image.width in range(90, 110) for sample in found), "one keeps its own size"


def test_the_demos_photos_are_the_default_whatever_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = samples.load(None)
    assert {sample.name.split()[0] for sample in found} == {f"scene-{number}.jpg" for number in range(1, 9)}


def test_without_the_demos_photos_the_folder_and_the_remedy_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "PHOTOS", tmp_path / "demo" / "photos")
    with pytest.raises(ConfigurationError) as caught:
        samples.load(None)
    assert f"there is no folder {tmp_path}/demo/photos" in caught.value.detail
    assert "--images DIR" in caught.value.detail


@pytest.mark.parametrize("create", [False, True], ids=["missing", "empty"])
def test_a_relative_folder_is_named_with_the_place_looked_at(
    create: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if create:
        (tmp_path / "pictures").mkdir()
    with pytest.raises(ConfigurationError) as caught:
        samples.load(Path("pictures"))
    assert f"{tmp_path}/pictures" in caught.value.detail
    assert "--images DIR" in caught.value.detail


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 not a photo")
    with pytest.raises(ConfigurationError, match=r"broken\.jpg: the image .*; remove or replace it"):
        samples.load(tmp_path)


def test_a_folder_named_like_an_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").mkdir()
    with pytest.raises(ConfigurationError, match=r"a\.jpg: Is a directory; remove or replace it"):
        samples.load(tmp_path)


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"x cannot be read: File name too long; name a folder of images"):
        samples.load(tmp_path / ("x" * 300))
