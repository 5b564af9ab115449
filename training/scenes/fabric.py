"""Colours, weaves and prints: what a garment is made of. Called by `scenes.garment` and `scenes.backdrop`."""

import colorsys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]
Rng = np.random.Generator


def smooth_noise(rng: Rng, height: int, width: int, cell: float) -> Floats:
    """Noise in about -1..1 whose blobs are `cell` pixels wide."""
    rows, columns = max(2, round(height / cell) + 2), max(2, round(width / cell) + 2)
    grid = Image.fromarray(rng.uniform(-1, 1, (rows, columns)).astype(np.float32))
    return np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC), np.float32)


def random_colour(rng: Rng) -> Floats:
    """An RGB colour in 0..255; black, white, grey and denim come as often as they do in a wardrobe."""
    kind = rng.random()
    if kind < 0.16:
        return (np.float32(rng.uniform(12, 50)) + rng.uniform(-6, 6, 3)).astype(np.float32)
    if kind < 0.30:
        return (np.float32(rng.uniform(205, 245)) + rng.uniform(-8, 8, 3)).astype(np.float32)
    if kind < 0.40:
        return (np.float32(rng.uniform(70, 190)) + rng.uniform(-8, 8, 3)).astype(np.float32)
    hue = rng.uniform(0.55, 0.68) if kind < 0.52 else rng.random()
    rgb = colorsys.hsv_to_rgb(hue, rng.uniform(0.15, 0.95), rng.uniform(0.2, 0.95))
    return np.asarray(rgb, np.float32) * 255


def contrasting_colour(rng: Rng, colour: Floats) -> Floats:
    """A colour that differs visibly from the given one."""
    for _ in range(8):
        other = random_colour(rng)
        if np.abs(other - colour).max() > 70:
            return other
    return np.asarray(255 - colour, np.float32)


def woven(rng: Rng, height: int, width: int) -> Floats:
    """A height x width x 3 fabric in 0..255, the pattern drawn at random."""
    first = random_colour(rng)
    second = contrasting_colour(rng, first)
    pattern = PATTERNS[int(rng.choice(len(PATTERNS), p=PATTERN_SHARES))]
    share = pattern(rng, height, width)[..., None]
    cloth = first * (1 - share) + second * share
    grain = rng.normal(0, rng.uniform(1, 7), (height, width, 1))
    return np.asarray(cloth + grain, np.float32)


def _grid(rng: Rng, height: int, width: int) -> tuple[Floats, Floats]:
    """Pixel coordinates in units of the longer side, a little bent, as cloth never lies straight."""
    side = max(height, width)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32) / np.float32(side)
    bend = 0.012 * smooth_noise(rng, height, width, side / 3)
    return columns + bend, rows + bend


def _plain(rng: Rng, height: int, width: int) -> Floats:
    return np.zeros((height, width), np.float32)


def _melange(rng: Rng, height: int, width: int) -> Floats:
    return np.asarray(0.18 + 0.18 * smooth_noise(rng, height, width, 3), np.float32)


def _stripes(rng: Rng, height: int, width: int) -> Floats:
    across, down = _grid(rng, height, width)
    along = down if rng.random() < 0.7 else across
    period = rng.uniform(0.03, 0.16)
    return ((along / period + rng.random()) % 1 < rng.uniform(0.2, 0.6)).astype(np.float32)


def _plaid(rng: Rng, height: int, width: int) -> Floats:
    across, down = _grid(rng, height, width)
    period, share = rng.uniform(0.05, 0.2), rng.uniform(0.25, 0.6)
    bars = ((across / period) % 1 < share).astype(np.float32) + ((down / period) % 1 < share)
    return np.asarray(bars / 2, np.float32)


def _dots(rng: Rng, height: int, width: int) -> Floats:
    across, down = _grid(rng, height, width)
    period, radius = rng.uniform(0.04, 0.12), rng.uniform(0.18, 0.36)
    row = np.floor(down / period)
    x = (across / period + 0.5 * (row % 2)) % 1 - 0.5
    y = (down / period) % 1 - 0.5
    return np.asarray(x * x + y * y < radius * radius, np.float32)


def _blotches(rng: Rng, height: int, width: int) -> Floats:
    cell = max(height, width) * rng.uniform(0.03, 0.12)
    return (smooth_noise(rng, height, width, cell) > rng.uniform(0.0, 0.35)).astype(np.float32)


def _washed(rng: Rng, height: int, width: int) -> Floats:
    """Denim or faded cloth: a slow change between both colours."""
    return np.asarray(np.clip(0.2 + 0.3 * smooth_noise(rng, height, width, max(height, width) / 3), 0, 0.6), np.float32)


PATTERNS: tuple[Callable[[Rng, int, int], Floats], ...] = (
    _plain,
    _melange,
    _stripes,
    _plaid,
    _dots,
    _blotches,
    _washed,
)
PATTERN_SHARES = (0.46, 0.12, 0.12, 0.1, 0.06, 0.08, 0.06)
