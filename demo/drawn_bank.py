"""Fills banks with drawn garments and backdrops. Called by `demo.train`."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from demo.bank import Bank, Entry, store, stored
from demo.labels import LABELS
from demo.scenes.backdrop import draw_backdrop
from demo.scenes.garment import draw_garment

GARMENT_SIDES = (90, 230)
BACKDROP_SIDE = 256
GARMENTS_PER_BACKDROP = 6
# Keeps the training garments apart from those of any scene: scenes are seeded by [seed, width, height].
STREAM = 90_001


def build_drawn_banks(garments: Path, backdrops: Path, count: int, seed: int, workers: int) -> tuple[Bank, Bank]:
    """Draw `count` garments, every label equally often, and a sixth as many backdrops, unless both are stored."""
    if not (stored(garments) and stored(backdrops)):
        store(garments, _drawn(partial(drawn_garment, seed), count, workers, "drawing garments"))
        store(
            backdrops, _drawn(partial(drawn_backdrop, seed), count // GARMENTS_PER_BACKDROP + 1, workers, "backdrops")
        )
    return Bank(garments), Bank(backdrops)


def drawn_garment(seed: int, number: int) -> Entry:
    """Garment `number` of the bank; labels take turns."""
    rng = np.random.default_rng([seed, number, STREAM, 0])
    label = number % len(LABELS)
    return Entry(label, draw_garment(rng, label, int(rng.integers(*GARMENT_SIDES))))


def drawn_backdrop(seed: int, number: int) -> Entry:
    """Backdrop `number` of the bank."""
    pixels = draw_backdrop(np.random.default_rng([seed, number, STREAM, 1]), BACKDROP_SIDE, BACKDROP_SIDE)
    return Entry(-1, np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]))


def _drawn(draw: Callable[[int], Entry], count: int, workers: int, title: str) -> Iterator[Entry]:
    with ProcessPoolExecutor(workers) as pool:
        yield from tqdm(pool.map(draw, range(count), chunksize=16), total=count, desc=title, unit="picture")
