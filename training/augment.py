"""Changes of colour that keep the shape: garments recoloured inside their mask, whole pictures jittered.

Called by `training.samples`. A garment's label depends on its shape, not on its colour or print, so these are varied.
"""

import numpy as np
from numpy.typing import NDArray

from training.extra import cv2

Rng = np.random.Generator
RECOLOURED_SHARE = 0.25


def recoloured(rng: Rng, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The RGBA picture with its masked pixels in another colour; light and folds stay."""
    rgb, alpha = cv2.cvtColor(picture, cv2.COLOR_RGBA2RGB), cv2.extractChannel(picture, 3)
    kind = rng.random()
    if kind < 0.35:
        changed = _dyed(rng, rgb, alpha)
    elif kind < 0.75:
        changed = _hue_turned(rng, rgb)
    else:
        changed = cv2.merge([cv2.extractChannel(rgb, channel) for channel in rng.permutation(3).tolist()])
        if rng.random() < 0.5:
            changed = cv2.bitwise_not(changed)
    return cv2.merge([*cv2.split(cv2.copyTo(changed, alpha, rgb)), alpha]).astype(np.uint8)


def jittered(rng: Rng, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Brightness, contrast and white balance of another camera, now and then grey or blurred."""
    gain = rng.uniform(0.75, 1.25) * rng.uniform(0.9, 1.1, 3)
    middle = float(pixels[::8, ::8].mean())
    contrast = rng.uniform(0.75, 1.25)
    # One lookup table per channel replaces the arithmetic for each pixel.
    values = (np.arange(256)[:, None] - middle) * contrast + middle
    table = np.clip(values * gain, 0, 255).astype(np.uint8)
    pixels = cv2.LUT(pixels, np.ascontiguousarray(table[None])).astype(np.uint8)
    if rng.random() < 0.06:
        pixels = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    if rng.random() < 0.12:
        pixels = cv2.GaussianBlur(pixels, (3, 3), 0).astype(np.uint8)
    return pixels


def _dyed(rng: Rng, rgb: cv2.typing.MatLike, alpha: cv2.typing.MatLike) -> cv2.typing.MatLike:
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    mean = max(8.0, cv2.mean(grey, mask=alpha)[0])
    colour = rng.uniform(20, 240, 3) if rng.random() < 0.6 else np.full(3, rng.uniform(15, 240))
    strength = rng.uniform(0.4, 1.0)
    shade = np.arange(256)[:, None] / mean
    table = np.clip(colour * (1 + strength * (shade - 1)), 0, 255).astype(np.uint8)
    return cv2.LUT(cv2.merge([grey, grey, grey]), np.ascontiguousarray(table[None]))


def _hue_turned(rng: Rng, rgb: cv2.typing.MatLike) -> cv2.typing.MatLike:
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
    levels = np.arange(256)
    hue = (levels + int(rng.integers(180))) % 180
    saturation = np.clip(levels * rng.uniform(0.4, 1.6), 0, 255)
    value = np.clip(levels * rng.uniform(0.6, 1.3) + rng.uniform(-10, 20), 0, 255)
    table = np.stack([hue, saturation, value], axis=1).astype(np.uint8)
    return cv2.cvtColor(cv2.LUT(hsv, np.ascontiguousarray(table[None])), cv2.COLOR_HSV2RGB)
