"""Lays pictures on a canvas: a whole photo or scene, or several cut-outs over a backdrop. Called by `training.samples`.

A box encloses the garment's visible pixels only, since a detector cannot see what another garment hides.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.augment import RECOLOURED_SHARE, recoloured
from training.drawn_bank import scene_garment
from training.extra import cv2
from training.scenes.scene import tight_box

Rng = np.random.Generator
Pixels = NDArray[np.uint8]
NOBODY = -1
LEAST_VISIBLE = 0.5
LEAST_AREA = 48


class Canvas(NamedTuple):
    """A picture and what it shows; `owners` holds, per pixel, the number of the garment on top, or -1."""

    pixels: Pixels
    labels: list[int]
    boxes: list[tuple[int, int, int, int]]
    owners: NDArray[np.int16]


def photo_canvas(rng: Rng, photo: Pixels, label: int, shape: tuple[int, int]) -> Canvas:
    """The whole photo, turned, zoomed and cropped a little, so the garment stays the subject."""
    warped = _warped_photo(rng, photo, shape)
    if warped[1].sum() < 64:
        warped = _fitted(photo, shape)
    pixels, mask = warped
    owners = np.where(mask, 0, NOBODY).astype(np.int16)
    return Canvas(pixels, [label], [tight_box(mask)], owners)


def scene_canvas(rng: Rng, scene: Pixels, shape: tuple[int, int]) -> Canvas:
    """The whole scene, mirrored or not, stretched to the canvas, some garments in another colour.

    A garment too small to see there is left out.
    """
    height, width = shape
    if rng.random() < 0.5:
        scene = scene[:, ::-1]
    scene = np.ascontiguousarray(scene)
    pixels = cv2.resize(scene[..., :3], (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
    alpha = cv2.resize(scene[..., 3], (width, height), interpolation=cv2.INTER_NEAREST)
    owners = np.full(shape, NOBODY, np.int16)
    labels: list[int] = []
    for value in np.unique(alpha[alpha > 0]):
        mask = alpha == value
        if mask.sum() >= LEAST_AREA:
            if rng.random() < RECOLOURED_SHARE:
                dyed = recoloured(rng, np.dstack([pixels, mask.astype(np.uint8) * 255]))
                pixels = np.ascontiguousarray(dyed[..., :3])
            owners[mask] = len(labels)
            labels.append(scene_garment(int(value))[1])
    return Canvas(pixels, labels, [tight_box(owners == number) for number in range(len(labels))], owners)


def composite(rng: Rng, cut_outs: list[tuple[Pixels, int]], backdrop: Pixels, shape: tuple[int, int]) -> Canvas:
    """The cut-outs over the backdrop, each with a soft shadow, none hidden by more than half."""
    pixels = _covering(rng, backdrop, shape)
    owners = np.full(shape, NOBODY, np.int16)
    areas: list[int] = []
    labels: list[int] = []
    for picture, label in cut_outs:
        layer = _free_place(rng, picture, shape, len(cut_outs), owners, areas)
        if layer is None:
            continue
        _shade(rng, pixels, layer[..., 3])
        alpha = layer[..., 3:].astype(np.uint16)
        pixels[:] = ((layer[..., :3] * alpha + pixels * (255 - alpha)) // 255).astype(np.uint8)
        mask = layer[..., 3] > 127
        owners[mask] = len(labels)
        areas.append(int(mask.sum()))
        labels.append(label)
    boxes = [tight_box(owners == number) for number in range(len(labels))]
    return Canvas(pixels, labels, boxes, owners)


def _warped_photo(rng: Rng, photo: Pixels, shape: tuple[int, int]) -> tuple[Pixels, NDArray[np.bool_]]:
    height, width = shape
    rows, columns = photo.shape[:2]
    turned = (rows > columns) != (height > width) and rng.random() < 0.15
    base_x, base_y = (width / rows, height / columns) if turned else (width / columns, height / rows)
    if rng.random() < 0.5:  # keep the photo's proportions; the canvas then crops it
        base_x = base_y = max(base_x, base_y)
    zoom = rng.uniform(0.95, 1.4) if rng.random() < 0.7 else rng.uniform(0.6, 0.95)
    angle = (math.pi / 2 * rng.choice([-1, 1]) if turned else 0.0) + math.radians(rng.normal(0, 5))
    flip = -1 if rng.random() < 0.5 else 1
    linear = np.diag([base_x, base_y]) @ _rotation(angle) @ np.diag([flip * zoom, zoom])
    left, top, right, bottom = tight_box(photo[..., 3] > 127)
    subject = np.asarray([(left + right) / 2, (top + bottom) / 2])
    # The canvas shows the middle of the photo or, moved by a random share, the middle of the garment.
    focus = np.asarray([columns / 2, rows / 2]) + (subject - [columns / 2, rows / 2]) * rng.uniform(0, 1)
    drift = rng.normal(0, 0.05, 2) * [width, height]
    matrix = np.column_stack([linear, np.asarray([width / 2, height / 2]) + drift - linear @ focus])
    rgb = cv2.warpAffine(
        photo[..., :3], matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    alpha = cv2.warpAffine(photo[..., 3], matrix, (width, height), flags=cv2.INTER_LINEAR)
    mask = alpha > 127
    whole = (photo[..., 3] > 127).sum() * abs(np.linalg.det(linear))
    if mask.sum() < 0.75 * whole:
        return _fitted(photo, shape)
    return rgb.astype(np.uint8), mask


def _fitted(photo: Pixels, shape: tuple[int, int]) -> tuple[Pixels, NDArray[np.bool_]]:
    whole = cv2.resize(photo, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(whole[..., :3]).astype(np.uint8), whole[..., 3] > 127


def _rotation(angle: float) -> NDArray[np.float64]:
    return np.asarray([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _free_place(
    rng: Rng, picture: Pixels, shape: tuple[int, int], count: int, owners: NDArray[np.int16], areas: list[int]
) -> Pixels | None:
    """The cut-out warped to a place where those below stay visible; None if several tries fail."""
    for attempt in range(6):
        layer = _placed(rng, picture, shape, count, 0.88**attempt)
        mask = layer[..., 3] > 127
        area = int(mask.sum())
        if area < LEAST_AREA:
            continue
        left = np.bincount(owners[~mask & (owners >= 0)].ravel(), minlength=len(areas))
        if all(visible >= LEAST_VISIBLE * whole for visible, whole in zip(left, areas, strict=True)):
            return layer
    return None


def _placed(rng: Rng, picture: Pixels, shape: tuple[int, int], count: int, shrink: float) -> Pixels:
    height, width = shape
    left, top, right, bottom = tight_box(picture[..., 3] > 127)
    biggest = {1: 1.0, 2: 0.85, 3: 0.72, 4: 0.62, 5: 0.56}[count]
    side = min(height, width) * biggest * rng.uniform(0.55, 1.1) * shrink
    scale = side / max(right - left, bottom - top)
    angle = rng.normal(0, 0.2) if rng.random() < 0.92 else rng.uniform(-math.pi, math.pi)
    squeeze = rng.uniform(0.9, 1.1)
    flip = -1 if rng.random() < 0.5 else 1
    linear = _rotation(angle) @ np.diag([flip * scale * squeeze, scale / squeeze])
    reach = np.abs(linear) @ np.asarray([(right - left) / 2, (bottom - top) / 2])
    room = np.asarray([width, height])
    slack = np.maximum(room / 2 - reach * 0.94, 0)
    middle = room / 2 + rng.uniform(-1, 1, 2) * slack
    matrix = np.column_stack([linear, middle - linear @ np.asarray([(left + right) / 2, (top + bottom) / 2])])
    return cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR).astype(np.uint8)


def _shade(rng: Rng, pixels: Pixels, alpha: Pixels) -> None:
    if rng.random() < 0.25:
        return
    size = int(rng.choice([5, 9, 15]))
    shift = np.asarray([[1, 0, rng.uniform(-4, 4)], [0, 1, rng.uniform(-1, 5)]])
    shadow = cv2.blur(cv2.warpAffine(alpha, shift, (alpha.shape[1], alpha.shape[0])), (size, size))
    dark = (255 - shadow * np.float32(rng.uniform(0.1, 0.5))).astype(np.uint16)[..., None]
    pixels[:] = (pixels * dark // 255).astype(np.uint8)


def _covering(rng: Rng, backdrop: Pixels, shape: tuple[int, int]) -> Pixels:
    height, width = shape
    if min(backdrop.shape[:2]) < 6:
        return np.full((height, width, 3), rng.integers(0, 256, 3), np.uint8)
    share = rng.uniform(0.6, 1.0)
    rows, columns = (max(4, int(side * share)) for side in backdrop.shape[:2])
    top, left = (
        int(rng.integers(0, all_ - part + 1)) for all_, part in zip(backdrop.shape[:2], (rows, columns), strict=True)
    )
    part = backdrop[top : top + rows, left : left + columns]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    return cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
