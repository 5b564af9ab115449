"""Composes a scene: one to five garments on a backdrop, with shadows and exact boxes.

A box encloses the garment's *visible* pixels (alpha of at least one half), since a detector cannot see what another
garment hides. Shadows do not count. `training.composite` follows the same rule. Used by `training.evaluate`, by
`python -m training.scenes`, by tests and benchmarks.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from training.labels import LABELS
from training.scenes.backdrop import draw_backdrop
from training.scenes.fabric import Rng
from training.scenes.garment import draw_garment

MOST_GARMENTS = 5
# Least share of a lower garment that stays visible below a new one; TIDY for a share TIDY_SHARE of the new ones.
LEAST_VISIBLE = 0.8
TIDY, TIDY_SHARE = 0.985, 0.6
TRIES = 16
# A garment's longer side as a share of the picture's shorter side (least, most), by the number of garments.
SIDES = {1: (0.6, 0.97), 2: (0.45, 0.85), 3: (0.38, 0.7), 4: (0.34, 0.6), 5: (0.3, 0.54)}


class SceneObject(NamedTuple):
    """One garment: an index into `LABELS`, its box (xmin, ymin, xmax, ymax) and its visible pixels."""

    label: int
    box: tuple[int, int, int, int]
    visible: NDArray[np.bool_]


class Scene(NamedTuple):
    """RGB pixels and the garments in them, the lowest first."""

    pixels: NDArray[np.uint8]
    objects: list[SceneObject]


class _Layer(NamedTuple):
    label: int
    rgba: NDArray[np.uint8]
    left: int
    top: int


def render_scene(seed: int, width: int, height: int, labels: list[int] | None = None) -> Scene:
    """The scene of this seed and size, always the same; `labels` sets the garments, else they are drawn at random."""
    rng = np.random.default_rng([seed, width, height])
    if labels is None:
        labels = [int(label) for label in rng.integers(0, len(LABELS), rng.integers(1, MOST_GARMENTS + 1))]
    pixels = draw_backdrop(rng, height, width)
    owners = np.full((height, width), -1, np.int16)
    layers: list[_Layer] = []
    for label in labels:
        layer = _place(rng, label, len(labels), owners, layers)
        if layer is not None:
            _shadow(rng, pixels, layer)
            _paste(pixels, owners, layer, len(layers))
            layers.append(layer)
    objects = [_seen(layer.label, owners == number) for number, layer in enumerate(layers)]
    return Scene(pixels, objects)


def tight_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The box of the mask's true pixels; right and bottom lie just outside the last one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _seen(label: int, visible: NDArray[np.bool_]) -> SceneObject:
    return SceneObject(label, tight_box(visible), visible)


def _place(rng: Rng, label: int, count: int, owners: NDArray[np.int16], below: list[_Layer]) -> _Layer | None:
    """A garment at a place that leaves those below mostly visible; smaller at every try, None after the last."""
    height, width = owners.shape
    low, high = SIDES[min(count, MOST_GARMENTS)]
    side = min(height, width) * rng.uniform(low, high)
    sprite = Image.fromarray(draw_garment(rng, label, max(24, int(side))))
    angle = rng.normal(0, 10) if rng.random() < 0.94 else rng.uniform(-180, 180)
    turned = sprite.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    least = TIDY if rng.random() < TIDY_SHARE else LEAST_VISIBLE
    for attempt in range(TRIES):
        shrink = min(0.93**attempt, 0.98 * width / turned.width, 0.98 * height / turned.height)
        size = (max(8, int(turned.width * shrink)), max(8, int(turned.height * shrink)))
        rgba = np.asarray(turned.resize(size, Image.Resampling.BILINEAR) if shrink < 1 else turned)
        left, top = int(rng.integers(0, width - size[0] + 1)), int(rng.integers(0, height - size[1] + 1))
        layer = _Layer(label, rgba, left, top)
        if _others_stay_visible(owners, layer, below, least):
            return layer
    return None


def _others_stay_visible(owners: NDArray[np.int16], layer: _Layer, below: list[_Layer], least: float) -> bool:
    covered = owners.copy()
    _window(covered, layer)[layer.rgba[..., 3] >= 128] = -1
    return all(
        (covered == number).sum() >= least * (other.rgba[..., 3] >= 128).sum() for number, other in enumerate(below)
    )


def _window(canvas: NDArray[np.int16], layer: _Layer) -> NDArray[np.int16]:
    height, width = layer.rgba.shape[:2]
    return canvas[layer.top : layer.top + height, layer.left : layer.left + width]


def _paste(pixels: NDArray[np.uint8], owners: NDArray[np.int16], layer: _Layer, number: int) -> None:
    height, width = layer.rgba.shape[:2]
    below = pixels[layer.top : layer.top + height, layer.left : layer.left + width]
    alpha = layer.rgba[..., 3:].astype(np.float32) / 255
    below[:] = (layer.rgba[..., :3] * alpha + below * (1 - alpha) + 0.5).astype(np.uint8)
    _window(owners, layer)[layer.rgba[..., 3] >= 128] = number


def _shadow(rng: Rng, pixels: NDArray[np.uint8], layer: _Layer) -> None:
    height, width = pixels.shape[:2]
    reach = max(layer.rgba.shape[:2]) * rng.uniform(0.01, 0.03)
    angle = rng.uniform(0, 2 * math.pi)
    shape = Image.new("L", (width, height))
    offset = (layer.left + round(reach * math.cos(angle)), layer.top + round(reach * math.sin(angle)))
    shape.paste(Image.fromarray(layer.rgba[..., 3]), offset)
    soft = np.asarray(shape.filter(ImageFilter.GaussianBlur(reach)), np.float32) / 255
    pixels[:] = (pixels * (1 - rng.uniform(0.15, 0.55) * soft[..., None])).astype(np.uint8)
