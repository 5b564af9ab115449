"""Training batches: real photos, drawn scenes, and composites of several cut-outs of both. Used by `training.train`.

Batch number n depends only on the seed and n, so a resumed run sees the batches of an uninterrupted one.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from training.augment import RECOLOURED_SHARE, jittered, recoloured
from training.bank import Bank
from training.checkpoint import PATCH
from training.composite import Canvas, composite, photo_canvas, scene_canvas
from training.extra import cv2
from training.losses import PAD, Targets

PHOTO_SHARE = 0.15
SCENE_SHARE = 0.65
DRAWN_SHARE = 0.6


class Batch(NamedTuple):
    """Pixels (images x 3 x height x width, bytes) and what they show."""

    pixels: torch.Tensor
    targets: Targets


class Pool(NamedTuple):
    """The pictures to draw from; a pool may lack photos or drawn garments, but not both."""

    photos: Bank | None
    drawn: Bank | None
    backdrops: Bank | None
    scenes: Bank | None = None


class Batches(Dataset[Batch]):
    """Batch `n` of a run; `short_side(n)` tells its resolution, so a run can start small and end large."""

    def __init__(self, pool: Pool, seed: int, size: int, short_side: Callable[[int], int]) -> None:
        self._pool, self._seed, self._size, self._short_side = pool, seed, size, short_side
        self._weights = {id(bank): _label_weights(bank) for bank in (pool.photos, pool.drawn) if bank is not None}
        # Arrays, because numpy would convert a list of thousands of numbers for every picture.
        self._scenes = {} if pool.scenes is None else {up: _oriented(pool.scenes, up) for up in (True, False)}

    def __getitem__(self, number: int) -> Batch:
        cv2.setNumThreads(1)  # leaves the cores to the model's threads
        rng = np.random.default_rng([self._seed, number])
        shape = canvas_shape(rng, self._short_side(number))
        return collated([self._canvas(rng, shape) for _ in range(self._size)])

    def _canvas(self, rng: np.random.Generator, shape: tuple[int, int]) -> Canvas:
        photos, scenes = self._pool.photos, self._pool.scenes
        kind = rng.random()
        if photos is not None and kind < PHOTO_SHARE:
            number = self._pick(rng, photos)
            picture = photos.picture(number)
            if rng.random() < RECOLOURED_SHARE:
                picture = recoloured(rng, picture)
            canvas = photo_canvas(rng, picture, int(photos.labels[number]), shape)
        elif scenes is not None and kind < PHOTO_SHARE + SCENE_SHARE:
            canvas = scene_canvas(rng, scenes.picture(int(rng.choice(self._scenes[shape[0] > shape[1]]))), shape)
        else:
            count = int(rng.choice([1, 2, 3, 4, 5], p=[0.3, 0.25, 0.2, 0.15, 0.1]))
            cut_outs = [self._cut_out(rng) for _ in range(count)]
            canvas = composite(rng, cut_outs, self._backdrop(rng), shape)
        return canvas._replace(pixels=jittered(rng, canvas.pixels))

    def _cut_out(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], int]:
        banks = [bank for bank in (self._pool.photos, self._pool.drawn) if bank is not None]
        bank = banks[-1] if rng.random() < DRAWN_SHARE else banks[0]
        number = self._pick(rng, bank)
        picture = bank.picture(number)
        return (recoloured(rng, picture) if rng.random() < RECOLOURED_SHARE else picture), int(bank.labels[number])

    def _backdrop(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """A drawn backdrop, or the largest strip beside the garment of some photo; of neither, a single pixel."""
        photos, backdrops = self._pool.photos, self._pool.backdrops
        if backdrops is not None and (photos is None or rng.random() < 0.6):
            return backdrops.picture(int(rng.integers(len(backdrops))))[..., :3]
        if photos is not None:
            return _free_strip(photos.picture(int(rng.integers(len(photos)))))
        return np.zeros((1, 1, 3), np.uint8)

    def _pick(self, rng: np.random.Generator, bank: Bank) -> int:
        return int(np.searchsorted(self._weights[id(bank)], rng.random()))


def canvas_shape(rng: np.random.Generator, short: int) -> tuple[int, int]:
    """Height and width, multiples of the patch; portrait 3:4 most often, as people hold their phones."""
    ratio = rng.choice([4 / 3, rng.uniform(1.0, 1.72)], p=[0.6, 0.4])
    long = int(short * ratio) // PATCH * PATCH
    return (long, short) if rng.random() < 0.75 else (short, long)


def collated(canvases: list[Canvas]) -> Batch:
    """One batch of canvases of one shape."""
    height, width = canvases[0].pixels.shape[:2]
    most = max(1, max(len(canvas.labels) for canvas in canvases))
    labels = np.full((len(canvases), most), PAD, np.int64)
    boxes = np.full((len(canvases), most, 4), 0.5, np.float32)
    for row, canvas in enumerate(canvases):
        labels[row, : len(canvas.labels)] = canvas.labels
        for column, (left, top, right, bottom) in enumerate(canvas.boxes):
            middle = ((left + right) / 2 / width, (top + bottom) / 2 / height)
            boxes[row, column] = (*middle, (right - left) / width, (bottom - top) / height)
    centres = slice(PATCH // 2, None, PATCH)
    owners = np.stack([canvas.owners[centres, centres].ravel() for canvas in canvases]).astype(np.int64)
    pixels = np.stack([canvas.pixels for canvas in canvases]).transpose(0, 3, 1, 2)
    targets = Targets(torch.from_numpy(labels), torch.from_numpy(boxes), torch.from_numpy(owners))
    return Batch(torch.from_numpy(np.ascontiguousarray(pixels)), targets)


def _label_weights(bank: Bank) -> NDArray[np.float64]:
    """Cumulative probability of each picture. Rare labels are drawn more often than they occur."""
    counts = np.bincount(bank.labels)
    chances = counts[bank.labels] ** -0.6
    return np.cumsum(chances / chances.sum())


def _oriented(scenes: Bank, upright: bool) -> NDArray[np.intp]:
    """The scenes that are taller than wide, or the others. Stretched to the other shape they would be distorted."""
    fitting = np.flatnonzero([(height > width) is upright for height, width in scenes.shapes])
    return fitting if len(fitting) else np.arange(len(scenes))


def _free_strip(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, columns = np.flatnonzero(photo[..., 3].any(axis=1)), np.flatnonzero(photo[..., 3].any(axis=0))
    strips = [photo[: rows[0]], photo[rows[-1] + 1 :], photo[:, : columns[0]], photo[:, columns[-1] + 1 :]]
    return max(strips, key=lambda strip: min(strip.shape[:2]))[..., :3]
