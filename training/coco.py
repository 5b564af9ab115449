"""COCO mean average precision by pycocotools, fed from memory. Called by `training.evaluate`."""

import contextlib
import io
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.extra import COCO, COCOeval
from training.labels import LABELS
from training.scoring import Boxes


class MeanPrecision(NamedTuple):
    """mAP over IoU 0.50 to 0.95, and at 0.50 alone."""

    overall: float
    at_half: float


def mean_precision(pairs: list[tuple[Boxes, Boxes]]) -> MeanPrecision:
    """mAP of (true, found) pairs, one per image; `found` with all its scores, not cut at a threshold."""
    results = _results(pairs)
    if not results:  # pycocotools cannot load an empty list
        return MeanPrecision(0.0, 0.0)
    truth = COCO()
    truth.dataset = {
        "images": [{"id": number} for number in range(len(pairs))],
        "categories": [{"id": number, "name": label} for number, label in enumerate(LABELS)],
        "annotations": _annotations(pairs),
    }
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports every step by print
        truth.createIndex()
        found = truth.loadRes(results)
        judge = COCOeval(truth, found, "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return MeanPrecision(float(judge.stats[0]), float(judge.stats[1]))


def _annotations(pairs: list[tuple[Boxes, Boxes]]) -> list[dict[str, Any]]:
    annotations: list[dict[str, Any]] = []
    for image, (true, _) in enumerate(pairs):
        for label, box in zip(true.labels.tolist(), true.boxes, strict=True):
            # Ids start at 1: COCOeval takes a match with id 0 for no match.
            entry = {"id": len(annotations) + 1, "image_id": image, "category_id": label, "iscrowd": 0}
            annotations.append({**entry, "bbox": _sized(box), "area": float((box[2:] - box[:2]).prod())})
    return annotations


def _results(pairs: list[tuple[Boxes, Boxes]]) -> list[dict[str, Any]]:
    return [
        {"image_id": image, "category_id": label, "bbox": _sized(box), "score": score}
        for image, (_, found) in enumerate(pairs)
        for label, box, score in zip(found.labels.tolist(), found.boxes, found.scores.tolist(), strict=True)
    ]


def _sized(box: NDArray[np.float64]) -> list[float]:
    left, top, right, bottom = box.tolist()
    return [left, top, right - left, bottom - top]
