"""How well two lists of detections of one image agree. Called by the shadow comparison and the export's comparison."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from serve_app.schemas import Detection, ImageSize

TOLERANCE = 0.05
# Two boxes that overlap less are taken for two objects, as in PASCAL VOC.
_SAME_OBJECT_IOU = 0.5
# Boxes whose edges are this close, in pixels of the image, are one box: a tiny or flat one would have a poor IoU.
_SAME_BOX_PX = 0.5
# A small box loses much IoU by a shift that is small for the image. Up to this share of the tolerance, the strict
# overlap of COCO (AP75) is enough; int8 and bf16 move edges by about as much.
_SMALL_SHIFT, _SMALL_SHIFT_IOU = 0.1, 0.75
# Worth of a detection that finds a partner: more than the worst pair costs, (1 - 0.5) by IoU and 1 by score.
_PARTNER_FOUND = 2.0

Matrix = NDArray[np.float64]


class Agreement(NamedTuple):
    """The comparison of a candidate's detections with a reference's; the same with both exchanged.

    `matched` counts pairs, `unmatched` the detections without a partner that are held against the candidate.
    `matched_share` is the share of detections that have a partner. `iou` is the lowest of a pair (1.0 if there is
    none), `score_deviation` the largest difference of scores, `box_deviation` the largest shift of a box edge
    relative to the image's side.
    """

    agrees: bool
    matched: int
    unmatched: int
    matched_share: float
    iou: float
    score_deviation: float
    box_deviation: float


def compare(
    reference: Sequence[Detection],
    candidate: Sequence[Detection],
    size: ImageSize,
    threshold: float,
    tolerance: float = TOLERANCE,
    floors: tuple[float, float] | None = None,
) -> Agreement:
    """Pair the detections over `threshold` within each label (Hungarian method) and measure how far the pairs deviate.

    `floors` are the scores above which the lists are complete, by default the threshold. Below the threshold they only
    offer partners: a detection over it that the other side scores lower still has its pair, and the deviation shows.
    A detection stays unmatched without blame only within `tolerance` of the other list's floor, where a difference of
    that size hides its partner. The lists agree if nothing else is unmatched, scores and edges are within `tolerance`,
    and so is the worst IoU. For a shift of at most a tenth of the tolerance, an IoU of 0.75 is enough.
    """
    one, two = _in_fixed_order((reference, candidate), floors or (threshold, threshold))
    edges = np.abs(corners(one.detections)[:, None] - corners(two.detections)[None])
    shifts = (edges / [size.width, size.height, size.width, size.height]).max(axis=-1)
    overlap = iou_matrix(corners(one.detections), corners(two.detections))
    overlap = np.where(edges.max(axis=-1) <= _SAME_BOX_PX, 1.0, overlap)
    scores = np.abs(one.scores[:, None] - two.scores[None])
    rows, columns = _pairs(one, two, overlap, scores, threshold)
    ious, moved = overlap[rows, columns], shifts[rows, columns]
    score, box = float(scores[rows, columns].max(initial=0)), float(moved.max(initial=0))
    small = (moved <= tolerance * _SMALL_SHIFT) & (ious >= _SMALL_SHIFT_IOU)
    matched = len(rows)
    unmatched = _held_against(one, rows, threshold, two.floor + tolerance)
    unmatched += _held_against(two, columns, threshold, one.floor + tolerance)
    return Agreement(
        agrees=not unmatched and max(score, box) <= tolerance and bool((small | (ious >= 1 - tolerance)).all()),
        matched=matched,
        unmatched=unmatched,
        matched_share=2 * matched / (2 * matched + unmatched) if matched or unmatched else 1.0,
        iou=float(ious.min(initial=1)),
        score_deviation=score,
        box_deviation=box,
    )


class _Side(NamedTuple):
    detections: list[Detection]
    floor: float

    @property
    def scores(self) -> Matrix:
        return np.array([detection.score for detection in self.detections], np.float64)


def _in_fixed_order(lists: tuple[Sequence[Detection], Sequence[Detection]], floors: tuple[float, float]) -> list[_Side]:
    """Both lists, and what is in them, in an order of their own: equal totals never depend on who was named first."""
    sides = [_Side(sorted(found, key=_values), floor) for found, floor in zip(lists, floors, strict=True)]
    return sorted(sides, key=lambda side: [_values(detection) for detection in side.detections])


def _values(detection: Detection) -> tuple[str | float, ...]:
    box = detection.box
    return detection.label, detection.score, box.xmin, box.ymin, box.xmax, box.ymax


def _pairs(
    one: _Side, two: _Side, overlap: Matrix, scores: Matrix, threshold: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The pairs that give most of the detections over the threshold a partner, and of these the closest ones."""
    same_label = np.array([[a.label == b.label for b in two.detections] for a in one.detections], bool)
    over = (one.scores > threshold)[:, None].astype(int) + (two.scores > threshold)[None]
    allowed = same_label.reshape(overlap.shape) & (overlap >= _SAME_OBJECT_IOU) & (over > 0)
    worth = np.where(allowed, _PARTNER_FOUND * over - (1 - overlap) - scores, 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    kept = allowed[rows, columns]
    return rows[kept], columns[kept]


def _held_against(side: _Side, matched: NDArray[np.intp], threshold: float, hidden_up_to: float) -> int:
    alone = np.ones(len(side.detections), bool)
    alone[matched] = False
    return int((alone & (side.scores > max(threshold, hidden_up_to))).sum())


def corners(detections: Sequence[Detection]) -> Matrix:
    """The boxes as (n, 4) pixels: xmin, ymin, xmax, ymax."""
    rows = [[d.box.xmin, d.box.ymin, d.box.xmax, d.box.ymax] for d in detections]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def iou_matrix(left: Matrix, right: Matrix) -> Matrix:
    """Intersection over union of every pair: (n, 4) and (m, 4) corners give (n, m).

    Where both areas are 0 it is 1 for equal boxes and 0 for others.
    """
    low = np.maximum(left[:, None, :2], right[None, :, :2])
    high = np.minimum(left[:, None, 2:], right[None, :, 2:])
    intersection = np.clip(high - low, 0, None).prod(axis=-1)
    area_left = (left[:, 2:] - left[:, :2]).prod(axis=-1)
    area_right = (right[:, 2:] - right[:, :2]).prod(axis=-1)
    union = area_left[:, None] + area_right[None, :] - intersection
    equal = (left[:, None] == right[None]).all(axis=-1).astype(np.float64)
    share: Matrix = np.divide(intersection, union, out=equal, where=union > 0)
    return share
