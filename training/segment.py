"""Turns a photo of one garment into a mask and a box with GrabCut. Called by `photo_bank` and `evaluate`.

The data set gives a label per photo but no box. Its photos show one garment with some background around it, so a
thin frame of the picture is taken as background and GrabCut finds the rest.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.extra import cv2
from training.scenes.scene import tight_box

LONG_SIDE = 160
FRAME = 0.04
ITERATIONS = 4
LEAST_AREA, MOST_AREA = 0.06, 0.93
LEAST_SHARE_OF_BOX = 0.28
LEAST_SHARE_IN_LARGEST = 0.6


class Segment(NamedTuple):
    """A garment's mask (bool, height x width of the photo) and its box as xmin, ymin, xmax, ymax in pixels."""

    mask: NDArray[np.bool_]
    box: tuple[int, int, int, int]


def segment_garment(image: NDArray[np.uint8]) -> Segment | None:
    """Mask and box of the one garment in an RGB photo, or None where the result cannot be a garment."""
    height, width = image.shape[:2]
    scale = LONG_SIDE / max(height, width)
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    raw = _grabcut(cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8))
    kept = _largest_parts(raw)
    if kept is None or not _plausible(kept):
        return None
    full = cv2.resize(kept.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) >= 0.5
    return Segment(full, tight_box(full))


def _grabcut(small: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = small.shape[:2]
    frame_x, frame_y = max(2, round(width * FRAME)), max(2, round(height * FRAME))
    rect = (frame_x, frame_y, width - 2 * frame_x, height - 2 * frame_y)
    mask = np.zeros((height, width), np.uint8)
    # GrabCut uses OpenCV's own random generator; seeded, it gives a photo the same box each time.
    cv2.setRNGSeed(7)
    try:
        cv2.grabCut(small, mask, rect, np.zeros((1, 65)), np.zeros((1, 65)), ITERATIONS, cv2.GC_INIT_WITH_RECT)
    except cv2.error:  # in a photo of one colour, one of its mixtures gets no samples
        return np.zeros((height, width), np.uint8)
    return np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)


def _largest_parts(raw: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """The largest connected part and those at least a sixth of it (the second shoe of a pair)."""
    kernel = np.ones((3, 3), np.uint8)
    opened = cv2.morphologyEx(cv2.morphologyEx(raw, cv2.MORPH_OPEN, kernel), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    _, parts, stats, _ = cv2.connectedComponentsWithStats(opened)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if areas.size == 0 or areas.max() < LEAST_SHARE_IN_LARGEST * areas.sum():
        return None
    return np.isin(parts, 1 + np.flatnonzero(areas * 6 >= areas.max()))


def _plausible(mask: NDArray[np.bool_]) -> bool:
    left, top, right, bottom = tight_box(mask)
    share = mask.mean()
    of_box = mask[top:bottom, left:right].mean()
    return bool(LEAST_AREA <= share <= MOST_AREA and of_box >= LEAST_SHARE_OF_BOX)
