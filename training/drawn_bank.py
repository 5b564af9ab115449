"""Fills banks with drawn garments, backdrops and whole scenes. Called by `training.train`."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from training.bank import Bank, Entry, store, stored
from training.checkpoint import PATCH, SHORT_SIDE
from training.labels import LABELS
from training.scenes import render_scene
from training.scenes.backdrop import draw_backdrop
from training.scenes.garment import draw_garment

GARMENT_SIDES = (90, 230)
BACKDROP_SIDE = 256
GARMENTS_PER_BACKDROP = 6
# Makes the seeds of the training garments differ from those of every scene, which are [seed, width, height].
STREAM = 90_001
# For every `--seed`, above the seeds of the scenes in `training.dev_set` and `training.evaluate`.
FIRST_SCENE = 10_000_000
NO_LABEL = -1


def build_drawn_banks(garments: Path, backdrops: Path, count: int, seed: int, workers: int) -> tuple[Bank, Bank]:
    """Draw `count` garments, every label equally often, and a sixth as many backdrops, unless both are stored."""
    if not (stored(garments) and stored(backdrops)):
        store(garments, _drawn(partial(drawn_garment, seed), count, workers, "drawing garments"))
        store(
            backdrops, _drawn(partial(drawn_backdrop, seed), count // GARMENTS_PER_BACKDROP + 1, workers, "backdrops")
        )
    return Bank(garments), Bank(backdrops)


def build_scene_bank(path: Path, count: int, seed: int, workers: int) -> Bank:
    """Render `count` scenes, at the size the model sees, unless they are stored."""
    if not stored(path):
        store(path, _drawn(partial(drawn_scene, seed), count, workers, "drawing scenes"))
    return Bank(path)


def drawn_garment(seed: int, number: int) -> Entry:
    """Garment `number` of the bank; the labels alternate."""
    rng = np.random.default_rng([seed, number, STREAM, 0])
    label = number % len(LABELS)
    return Entry(label, draw_garment(rng, label, int(rng.integers(*GARMENT_SIDES))))


def drawn_backdrop(seed: int, number: int) -> Entry:
    """Backdrop `number` of the bank."""
    pixels = draw_backdrop(np.random.default_rng([seed, number, STREAM, 1]), BACKDROP_SIDE, BACKDROP_SIDE)
    return Entry(NO_LABEL, np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]))


def drawn_scene(seed: int, number: int) -> Entry:
    """Scene `number` of the bank. A pixel's alpha encodes its garment and the garment's label: see `scene_alpha`."""
    width, height = scene_size(number)
    scene = render_scene(FIRST_SCENE + 1_000_000 * seed + number, width, height)
    alpha = np.zeros((height, width), np.uint8)
    for place, item in enumerate(scene.objects):
        alpha[item.visible] = scene_alpha(place, item.label)
    return Entry(NO_LABEL, np.dstack([scene.pixels, alpha]))


def scene_size(number: int) -> tuple[int, int]:
    """Width and height of scene `number`, at the resolution that the model sees: two in three upright."""
    long = SHORT_SIDE + PATCH * (number % 9)
    return (SHORT_SIDE, long) if number % 3 else (long, SHORT_SIDE)


def scene_alpha(place: int, label: int) -> int:
    """The alpha of the pixels of a scene's garment number `place`; 0 is the backdrop. `scene_garment` reverses it."""
    return 1 + place * len(LABELS) + label


def scene_garment(alpha: int) -> tuple[int, int]:
    """A garment's number in its scene, and its label."""
    return divmod(alpha - 1, len(LABELS))


def _drawn(draw: Callable[[int], Entry], count: int, workers: int, title: str) -> Iterator[Entry]:
    with ProcessPoolExecutor(workers) as pool:
        yield from tqdm(pool.map(draw, range(count), chunksize=16), total=count, desc=title, unit="picture")
