"""Reads a folder of photos laid out like the data set: a sub-folder per kind of garment. Used by bank and evaluate."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from training.errors import BadInputError
from training.labels import FOLDER_LABELS, LABELS

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


class Photo(NamedTuple):
    """One file and the label its folder gives it, as an index into `LABELS`."""

    path: Path
    label: int


def list_photos(folder: Path) -> list[Photo]:
    """All photos of the folder, sorted by path.

    Raises BadInputError where the folder is missing or empty, or a sub-folder has no label in the checkpoint.
    """
    if not folder.is_dir():
        raise BadInputError(f"{folder} is not a folder: pass one with a sub-folder of images per kind of garment")
    files = sorted(file for file in folder.glob("*/*") if file.suffix.lower() in SUFFIXES)
    photos = [Photo(path, _label_of(path.parent)) for path in files]
    if not photos:
        raise BadInputError(f"{folder} holds no images: expected files like {folder / 'pants' / 'photo.jpg'}")
    return photos


def read_photo(path: Path) -> NDArray[np.uint8]:
    """The photo as upright RGB pixels. Raises BadInputError where it is not a readable image."""
    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise BadInputError(f"{path} is not a readable image ({reason}): remove or replace it") from error


def _label_of(folder: Path) -> int:
    # A folder may be named as the data set names it ("outwear") or as the checkpoint does ("coat").
    name = FOLDER_LABELS.get(folder.name, folder.name)
    if name not in LABELS:
        known = ", ".join(sorted({*FOLDER_LABELS, *LABELS}))
        raise BadInputError(f"{folder} is no label of the checkpoint: rename it to one of {known}")
    return LABELS.index(name)
