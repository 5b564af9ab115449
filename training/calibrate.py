"""Calibrates the scores for the default threshold. Called by `training.train` at the end of a run.

After a few hours of training, the probability of "nothing" is still too high or too low. A shift of the "nothing" logit
corrects it. The shift is fitted on data kept out of training and added to the bias of the last layer, so the service
needs no extra step. It never changes the order of the labels of one box. Scaling the logits by a factor above one would
find a few more garments, but enlarge the rounding errors of int8 and bf16 over the 5 % that the export allows.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import YolosForObjectDetection

from training.scoring import Boxes, Score, true_boxes
from training.trainer import MEAN, STD

LAST_LAYER = "class_labels_classifier.layers.2"
# Recall counts more: a client can raise the threshold, but it cannot recover a garment that was missed.
_RECALL_WEIGHT = 2
SHIFTS = tuple(float(shift) for shift in np.arange(-6.0, 6.01, 0.5))


class Sample(NamedTuple):
    """A picture's true boxes, and the model's outputs: logits and boxes (in pixels) of each token."""

    true: Boxes
    logits: NDArray[np.float64]
    boxes: NDArray[np.float64]


def sample(
    model: YolosForObjectDetection, pixels: NDArray[np.uint8], labels: list[int], boxes: list[tuple[int, int, int, int]]
) -> Sample:
    """Run the model on an RGB picture whose sides are multiples of the patch."""
    height, width = pixels.shape[:2]
    batch = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))[None]).float().div(255)
    with torch.inference_mode():
        outputs = model((batch - MEAN) / STD)
    middle, half = outputs.pred_boxes[0, :, :2].double().numpy(), outputs.pred_boxes[0, :, 2:].double().numpy() / 2
    found = np.concatenate([middle - half, middle + half], axis=1) * [width, height, width, height]
    return Sample(true_boxes(labels, boxes), outputs.logits[0].double().numpy(), found)


def fitted(groups: Iterable[list[Sample]], threshold: float) -> float:
    """The shift with the best F2 at the threshold, every group of samples counting the same; 0 without samples."""
    kept = [group for group in groups if group]
    if not kept:
        return 0.0
    return max(SHIFTS, key=lambda shift: sum(_quality(group, shift, threshold) for group in kept))


def scored(group: list[Sample], shift: float, threshold: float) -> Score:
    """Counts of the group's detections above the threshold."""
    score = Score()
    for item in group:
        score = score.plus(item.true, _shifted(item, shift).above(threshold))
    return score


def apply(model: YolosForObjectDetection, shift: float) -> None:
    """Fold the shift into the classifier's last layer."""
    with torch.no_grad():
        model.get_parameter(f"{LAST_LAYER}.bias")[-1] += shift


def _quality(group: list[Sample], shift: float, threshold: float) -> float:
    """F-beta (van Rijsbergen, Information Retrieval, 1979, chapter 7), from counts."""
    score = scored(group, shift, threshold)
    weight = _RECALL_WEIGHT**2
    return (1 + weight) * score.located / max(weight * score.objects + score.detections, 1)


def _shifted(item: Sample, shift: float) -> Boxes:
    logits = item.logits.copy()
    logits[:, -1] += shift
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    return Boxes(chances[:, :-1].argmax(axis=1), item.boxes, chances[:, :-1].max(axis=1))
