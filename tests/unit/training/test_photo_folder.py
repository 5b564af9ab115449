"""Photo folders: what is read, and the one line that each kind of bad input gets."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.errors import BadInputError
from training.labels import LABELS
from training.photo_folder import list_photos, read_photo


def test_photos_are_sorted_and_carry_their_folders_label(photo_folder: Path) -> None:
    photos = list_photos(photo_folder)
    assert [photo.path for photo in photos] == sorted(photo.path for photo in photos)
    assert [LABELS[photo.label].split(",")[0] for photo in photos] == ["hat", "pants", "pants", "top", "top"]


def test_a_folder_may_bear_the_checkpoints_own_label(tmp_path: Path) -> None:
    (tmp_path / "coat").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "coat" / "one.png")
    assert LABELS[list_photos(tmp_path)[0].label] == "coat"


def test_a_photo_on_its_side_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_photo(tmp_path / "turned.jpg").shape == (20, 10, 3)
    assert read_photo(tmp_path / "turned.jpg").dtype == np.uint8


def test_missing_empty_and_unknown_folders_name_the_path(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="nowhere is not a folder"):
        list_photos(tmp_path / "nowhere")
    with pytest.raises(BadInputError, match="holds no images"):
        list_photos(tmp_path)
    (tmp_path / "curtains").mkdir()
    (tmp_path / "curtains" / "one.jpg").touch()
    with pytest.raises(BadInputError, match="curtains is no label of the checkpoint"):
        list_photos(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n broken"])
def test_an_unreadable_image_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"broken\.jpg is not a readable image") as caught:
        read_photo(path)
    assert "\n" not in str(caught.value)
