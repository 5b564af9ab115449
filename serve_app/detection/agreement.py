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


class Agreement(NamedTuple):
    """The comparison of a candidate's detections with a reference's.

    `matched` counts pairs, `unmatched` the detections without a partner that are held against the candidate.
    `matched_share` is the share of detections that have a partner. `iou` is the mean over matched pairs (1.0 if there
    is none), `score_deviation` the largest difference of scores, `box_deviation` the largest shift of a box edge
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
) -> Agreement:
    """Match detections within each label by IoU (Hungarian method) and measure how far the pairs deviate.

    They agree if every measure is within `tolerance` and nothing is unmatched. A detection whose score is within
    `tolerance` of `threshold` may stay unmatched: a difference of that size lets the other side drop it.
    """
    pairs = _match(reference, candidate)
    ious = [iou for _, _, iou in pairs]
    score = max((abs(reference[i].score - candidate[j].score) for i, j, _ in pairs), default=0.0)
    box = max((_edge_shift(reference[i], candidate[j], size) for i, j, _ in pairs), default=0.0)
    alone = _unmatched(reference, {i for i, _, _ in pairs}) + _unmatched(candidate, {j for _, j, _ in pairs})
    held_against = [detection for detection in alone if detection.score > threshold + tolerance]
    matched, unmatched = len(pairs), len(held_against)
    mean_iou = float(np.mean(ious)) if ious else 1.0
    return Agreement(
        agrees=not held_against and max(score, box, 1 - mean_iou) <= tolerance,
        matched=matched,
        unmatched=unmatched,
        matched_share=2 * matched / (2 * matched + unmatched) if matched or unmatched else 1.0,
        iou=mean_iou,
        score_deviation=score,
        box_deviation=box,
    )


def _match(reference: Sequence[Detection], candidate: Sequence[Detection]) -> list[tuple[int, int, float]]:
    if not reference or not candidate:
        return []
    overlap = iou_matrix(corners(reference), corners(candidate))
    same_label = np.array([[r.label == c.label for c in candidate] for r in reference])
    # Without this, the best total could contain pairs that overlap too little, at the cost of a true pair.
    overlap = np.where(same_label & (overlap >= _SAME_OBJECT_IOU), overlap, 0.0)
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    return [(int(i), int(j), float(overlap[i, j])) for i, j in zip(rows, columns, strict=True) if overlap[i, j] > 0]


def corners(detections: Sequence[Detection]) -> NDArray[np.float64]:
    """The boxes as (n, 4) pixels: xmin, ymin, xmax, ymax."""
    rows = [[d.box.xmin, d.box.ymin, d.box.xmax, d.box.ymax] for d in detections]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def iou_matrix(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of every pair: (n, 4) and (m, 4) corners give (n, m); 0 where both areas are 0."""
    low = np.maximum(left[:, None, :2], right[None, :, :2])
    high = np.minimum(left[:, None, 2:], right[None, :, 2:])
    intersection = np.clip(high - low, 0, None).prod(axis=-1)
    area_left = (left[:, 2:] - left[:, :2]).prod(axis=-1)
    area_right = (right[:, 2:] - right[:, :2]).prod(axis=-1)
    union = area_left[:, None] + area_right[None, :] - intersection
    share: NDArray[np.float64] = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
    return share


def _edge_shift(one: Detection, two: Detection, size: ImageSize) -> float:
    shift = np.abs(corners([one]) - corners([two]))[0]
    return float((shift / [size.width, size.height, size.width, size.height]).max())


def _unmatched(detections: Sequence[Detection], matched: set[int]) -> list[Detection]:
    return [detection for index, detection in enumerate(detections) if index not in matched]
