"""Draws one garment: outline, fabric, light and folds, seams. Called by `scenes.scene` and `drawn_bank`."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from training.labels import LABELS
from training.scenes import details
from training.scenes.accessories import hat, shoes
from training.scenes.fabric import Floats, contrasting_colour, random_colour, smooth_noise, woven
from training.scenes.outlines import Points, Rng, lower, skirt, upper

OVERSAMPLING = 2
MARGIN = 3


class _Design(NamedTuple):
    """Outlines in garment units, parts in a second colour, and the function that draws the details."""

    pieces: list[Points]
    parts: list[Points]
    decorate: Callable[[details.Pen], None]


def draw_garment(rng: Rng, label: int, side: int) -> NDArray[np.uint8]:
    """An RGBA picture of one garment whose longer side is about `side` pixels; alpha is its shape."""
    design = _DESIGNS[LABELS[label]](rng)
    everything = np.concatenate(design.pieces)
    low, extent = everything.min(axis=0), np.ptp(everything, axis=0)
    scale = side * OVERSAMPLING / float(extent.max())
    size = (int(extent[0] * scale) + 2 * MARGIN * OVERSAMPLING, int(extent[1] * scale) + 2 * MARGIN * OVERSAMPLING)
    pen = details.Pen(rng, Image.new("RGB", size), low, scale, MARGIN * OVERSAMPLING)
    mask = _cloth(rng, pen, design.pieces)
    colour = contrasting_colour(rng, random_colour(rng))
    for part in design.parts:
        pen.patch(part, tuple(int(value) for value in np.clip(colour, 0, 255)))
    design.decorate(pen)
    lit = _lit(rng, np.asarray(pen.image, np.float32), mask)
    rgba = Image.fromarray(np.dstack([lit, np.asarray(mask)]))
    return np.asarray(rgba.resize((size[0] // OVERSAMPLING, size[1] // OVERSAMPLING), Image.Resampling.BOX))


def _cloth(rng: Rng, pen: details.Pen, pieces: list[Points]) -> Image.Image:
    """Paste the fabric through every piece onto the pen's image, seams along the edges; returns the whole shape."""
    width, height = pen.image.size
    fabric = np.clip(woven(rng, height, width), 0, 255)
    whole = Image.new("L", pen.image.size)
    for piece in pieces:
        shape = Image.new("L", pen.image.size)
        corners = pen.pixels(piece)
        ImageDraw.Draw(shape).polygon(corners, fill=255)
        # Each piece is cut from the cloth in its own light, so sleeves stand out from the body.
        cut = Image.fromarray(np.clip(fabric * rng.uniform(0.86, 1.08), 0, 255).astype(np.uint8))
        pen.image.paste(cut, (0, 0), shape)
        pen.stroke([*corners, corners[0]], 0.62, 0.012)
        whole.paste(255, (0, 0), shape)
    return whole


def _lit(rng: Rng, cloth: Floats, mask: Image.Image) -> NDArray[np.uint8]:
    """Light on the cloth: broad waves for folds, and a darker rim."""
    height, width = cloth.shape[:2]
    side = max(height, width)
    waves = smooth_noise(rng, height, width, side * rng.uniform(0.1, 0.22))
    creases = 1 - np.abs(smooth_noise(rng, height, width, side * rng.uniform(0.12, 0.3))) * 3
    light = 1 + rng.uniform(0.04, 0.16) * waves - rng.uniform(0.0, 0.16) * np.clip(creases, 0, 1) ** 3
    blurred = mask.resize((max(1, width // 4), max(1, height // 4))).filter(ImageFilter.GaussianBlur(side * 0.006))
    rim = np.asarray(blurred.resize((width, height), Image.Resampling.BILINEAR), np.float32) / 255
    light *= rng.uniform(0.55, 0.8) + (1 - 0.62) * np.clip(rim * 2 - 1, 0, 1)
    return np.asarray(np.clip(cloth * light[..., None], 0, 255), np.uint8)


def _top(rng: Rng) -> _Design:
    sleeves = str(rng.choice(["none", "short", "long"], p=[0.12, 0.48, 0.4]))
    fit = rng.uniform(0.36, 0.48)
    cut = upper(rng, sleeves, rng.uniform(0.95, 1.4), fit + rng.uniform(-0.02, 0.08), fit)
    style = str(rng.choice(["tee", "shirt", "hood", "v"], p=[0.5, 0.25, 0.15, 0.1]))
    return _Design(cut.pieces, [], lambda pen: details.top(pen, cut, style))


def _dress(rng: Rng) -> _Design:
    sleeves = str(rng.choice(["none", "short", "long"], p=[0.5, 0.35, 0.15]))
    waist, length = rng.uniform(0.26, 0.38), rng.uniform(1.65, 2.5)
    cut = upper(rng, sleeves, length, waist + rng.uniform(0.08, 0.55), waist)
    return _Design(cut.pieces, [], lambda pen: details.dress(pen, cut))


def _coat(rng: Rng) -> _Design:
    fit = rng.uniform(0.42, 0.54)
    cut = upper(rng, "long", rng.uniform(1.15, 2.0), fit + rng.uniform(0, 0.14), fit)
    return _Design(cut.pieces, [], lambda pen: details.coat(pen, cut))


def _pants(rng: Rng) -> _Design:
    cut = lower(rng, rng.uniform(1.75, 2.6))
    return _Design(cut.pieces, [], lambda pen: details.waistband(pen, cut, pockets=True))


def _shorts(rng: Rng) -> _Design:
    cut = lower(rng, rng.uniform(0.66, 1.1))
    return _Design(cut.pieces, [], lambda pen: details.waistband(pen, cut, pockets=True))


def _skirt(rng: Rng) -> _Design:
    cut = skirt(rng)
    return _Design(cut.pieces, [], lambda pen: details.skirt(pen, cut))


def _shoe(rng: Rng) -> _Design:
    pieces, parts = shoes(rng)
    return _Design(pieces, parts, lambda pen: details.shoe(pen, pieces))


def _hat(rng: Rng) -> _Design:
    cut, parts = hat(rng)
    worn = parts if rng.random() < 0.6 else []
    return _Design(cut.pieces, worn, lambda pen: details.hat(pen, cut))


_DESIGNS: dict[str, Callable[[Rng], _Design]] = {
    "top, t-shirt, sweatshirt": _top,
    "pants": _pants,
    "shorts": _shorts,
    "skirt": _skirt,
    "dress": _dress,
    "coat": _coat,
    "shoe": _shoe,
    "hat": _hat,
}
