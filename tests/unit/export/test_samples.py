"""The images of the gate: of several sizes and shapes, wherever they come from."""

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


def test_without_photos_scenes_are_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "PHOTOS", tmp_path)
    found = samples.load(None)
    assert len(found) == samples.COUNT
    assert all(sample.name.startswith("scene") for sample in found)
    assert all(len(sample.image.getcolors(1 << 24) or []) > 100 for sample in found), "no blank pictures"


def test_the_demos_photos_come_before_scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "PHOTOS", photos(tmp_path, 2))
    assert {sample.name.split()[0] for sample in samples.load(None)} == {"0.jpg", "1.jpg"}


def test_bad_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such folder"):
        samples.load(tmp_path / "none")
    with pytest.raises(ConfigurationError, match=r"holds no \.jpeg"):
        samples.load(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 not a photo")
    with pytest.raises(ConfigurationError, match=r"broken\.jpg: the image"):
        samples.load(tmp_path)


def test_a_folder_named_like_an_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").mkdir()
    with pytest.raises(ConfigurationError, match=r"a\.jpg: Is a directory"):
        samples.load(tmp_path)
