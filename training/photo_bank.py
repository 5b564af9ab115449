"""Fills a bank with the segmented training photos. Called by `training.train`; needs OpenCV."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from training.bank import Bank, Entry, store
from training.errors import BadInputError
from training.extra import cv2
from training.photo_folder import Photo, list_photos, read_photo
from training.segment import segment_garment

LONG_SIDE = 304
DEV_EVERY = 10


def build_photo_banks(folder: Path, train: Path, dev: Path, workers: int) -> tuple[Bank, Bank]:
    """Segment every photo of the folder; every tenth goes to the dev bank, the others to the training bank.

    Raises BadInputError for a folder without usable images or an unreadable image.
    """
    photos = list_photos(folder)
    kept_out = list(_segmented(photos[::DEV_EVERY], workers))
    others = list(_segmented([photo for number, photo in enumerate(photos) if number % DEV_EVERY], workers))
    if not (kept_out and others):
        raise BadInputError(f"{folder} holds too few photos in which a garment can be found: add some")
    return store(train, others), store(dev, kept_out)


def segmented_entry(photo: Photo) -> Entry | None:
    """The photo, scaled down, with the garment's mask as alpha; None where no plausible mask was found."""
    cv2.setNumThreads(1)
    pixels = read_photo(photo.path)
    segment = segment_garment(pixels)
    if segment is None:
        return None
    scale = min(1.0, LONG_SIDE / max(pixels.shape[:2]))
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    alpha = segment.mask.astype(np.uint8) * 255
    rgba = np.dstack([pixels, alpha])
    return Entry(photo.label, cv2.resize(rgba, size, interpolation=cv2.INTER_AREA).astype(np.uint8))


def _segmented(photos: list[Photo], workers: int) -> Iterator[Entry]:
    cv2.setNumThreads(1)  # a forked worker would wait forever for OpenCV's threads, which only its parent has
    with ProcessPoolExecutor(workers) as pool:
        entries = pool.map(segmented_entry, photos, chunksize=8)
        for entry in tqdm(entries, total=len(photos), desc="segmenting photos", unit="photo"):
            if entry is not None:
                yield entry
