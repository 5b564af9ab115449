"""What garments lie on: planks, tiles, carpet, a bed, grass. Called by `scenes.scene` and `drawn_bank`."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.scenes.fabric import Floats, Rng, contrasting_colour, random_colour, smooth_noise, woven


def draw_backdrop(rng: Rng, height: int, width: int) -> NDArray[np.uint8]:
    """An RGB ground of any size, with light that falls from one side."""
    ground = GROUNDS[int(rng.integers(len(GROUNDS)))](rng, height, width)
    across, down = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    angle = rng.uniform(0, 2 * np.pi)
    fall = rng.uniform(0, 0.22) * (np.cos(angle) * across + np.sin(angle) * down)
    uneven = 0.05 * smooth_noise(rng, height, width, max(height, width) / 3)
    return np.asarray(np.clip(ground * (1 + fall + uneven)[..., None], 0, 255), np.uint8)


def _muted(colour: Floats, rng: Rng) -> Floats:
    """Floors and sheets are paler than clothes."""
    grey = colour.mean(axis=-1, keepdims=True)
    return np.asarray(grey + (colour - grey) * rng.uniform(0.1, 0.6), np.float32)


def _wall(rng: Rng, height: int, width: int) -> Floats:
    grain = rng.normal(0, rng.uniform(0.5, 5), (height, width, 1))
    return np.asarray(_muted(random_colour(rng), rng) + grain, np.float32)


def _planks(rng: Rng, height: int, width: int) -> Floats:
    colour = np.asarray([rng.uniform(90, 225), rng.uniform(70, 190), rng.uniform(50, 160)], np.float32)
    board = max(8, int(min(height, width) * rng.uniform(0.1, 0.25)))
    rows, columns = np.mgrid[0:height, 0:width]
    if rng.random() < 0.5:
        rows, columns = columns, rows
    number = rows // board
    tones = rng.uniform(0.85, 1.1, int(number.max()) + 1)
    offsets = rng.uniform(0, 5 * board, int(number.max()) + 1)
    joint = (rows % board < max(1, board // 30)) | ((columns + offsets[number]) % (6 * board) < max(1, board // 30))
    streaks = smooth_noise(rng, int(rows.max()) + 1, 24, 2.0)[rows, (columns * 23) // max(1, int(columns.max()))]
    light = tones[number] * np.where(joint, 0.6, 1.0) * (1 + 0.08 * streaks)
    return np.asarray(colour * light[..., None], np.float32)


def _tiles(rng: Rng, height: int, width: int) -> Floats:
    side = max(10, int(min(height, width) * rng.uniform(0.15, 0.5)))
    rows, columns = np.mgrid[0:height, 0:width]
    shift = rng.integers(0, side, 2)
    gap = max(1, side // 40)
    joint = ((rows + shift[0]) % side < gap) | ((columns + shift[1]) % side < gap)
    marble = 1 + 0.08 * smooth_noise(rng, height, width, side / 2)
    base = _muted(random_colour(rng), rng)
    return np.asarray(np.where(joint[..., None], base * rng.uniform(0.5, 1.3), base * marble[..., None]), np.float32)


def _carpet(rng: Rng, height: int, width: int) -> Floats:
    """Tufts, and sometimes large ornaments in a second colour."""
    base = random_colour(rng)
    base, other = _muted(base, rng), _muted(contrasting_colour(rng, base), rng)
    tufts = rng.normal(0, rng.uniform(6, 20), (height, width, 1))
    cell = min(height, width) * rng.uniform(0.05, 0.3)
    ornament = (smooth_noise(rng, height, width, cell) > rng.uniform(0.1, 0.9))[..., None]
    return np.asarray(np.where(ornament, other, base) + tufts, np.float32)


def _bed(rng: Rng, height: int, width: int) -> Floats:
    """A patterned sheet with soft folds."""
    folds = smooth_noise(rng, height, width, min(height, width) * rng.uniform(0.15, 0.4))
    ridges = np.clip(1 - 4 * np.abs(folds), 0, 1)
    light = 1 + 0.12 * smooth_noise(rng, height, width, min(height, width) / 5) - rng.uniform(0, 0.2) * ridges
    cloth = woven(rng, height, width)
    return np.asarray(_muted(cloth, rng) * light[..., None], np.float32)


def _grass(rng: Rng, height: int, width: int) -> Floats:
    blades = smooth_noise(rng, height, width, 3) * 0.3 + rng.normal(0, 0.12, (height, width))
    colour = np.asarray([rng.uniform(50, 110), rng.uniform(95, 160), rng.uniform(30, 70)], np.float32)
    return np.asarray(colour * (1 + blades[..., None]), np.float32)


GROUNDS: tuple[Callable[[Rng, int, int], Floats], ...] = (_wall, _planks, _tiles, _carpet, _bed, _bed, _wall, _grass)
