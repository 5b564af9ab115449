"""Sets the scores so that the default threshold is the right one. Called by `demo.train` at the end of a run.

A detector trained for an hour knows where a garment is long before it is sure of its name: the chance is spread over
several labels and no score passes 0.5. Two numbers mend that, a factor on all logits and a shift of the "nothing"
logit. They are fitted on data kept out of training and folded into the weights of the last layer, so a server needs
to know nothing of them. The order of labels for one box never changes.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import YolosForObjectDetection

from demo.scoring import Boxes, Score, true_boxes
from demo.trainer import MEAN, STD

LAST_LAYER = "class_labels_classifier.layers.2"
# Not beyond 2: a larger factor finds some more, but magnifies the rounding of int8 and bf16 past the gate's 5 %.
FACTORS = (1.0, 1.25, 1.5, 1.75, 2.0)
SHIFTS = tuple(float(shift) for shift in np.arange(-6.0, 6.01, 0.5))


class Calibration(NamedTuple):
    """New logits are `factor` times the old; that of "nothing" then moves by `shift`."""

    factor: float = 1.0
    shift: float = 0.0


class Sample(NamedTuple):
    """A picture's true boxes, and what the model says of it: logits and boxes per token, boxes in pixels."""

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


def fitted(groups: Iterable[list[Sample]], threshold: float) -> Calibration:
    """The calibration with the best F1 at the threshold, every group of samples counting the same."""
    kept = [group for group in groups if group]
    if not kept:
        return Calibration()
    choices = [Calibration(factor, shift) for factor in FACTORS for shift in SHIFTS]
    return max(choices, key=lambda choice: sum(_quality(group, choice, threshold) for group in kept))


def scored(group: list[Sample], calibration: Calibration, threshold: float) -> Score:
    """Counts of the group's detections above the threshold."""
    score = Score()
    for item in group:
        score = score.plus(item.true, _calibrated(item, calibration).above(threshold))
    return score


def apply(model: YolosForObjectDetection, calibration: Calibration) -> None:
    """Fold the calibration into the classifier's last layer."""
    weight = model.get_parameter(f"{LAST_LAYER}.weight")
    bias = model.get_parameter(f"{LAST_LAYER}.bias")
    with torch.no_grad():
        weight.mul_(calibration.factor)
        bias.mul_(calibration.factor)
        bias[-1] += calibration.shift


def _quality(group: list[Sample], calibration: Calibration, threshold: float) -> float:
    score = scored(group, calibration, threshold)
    return 2 * score.located / max(score.objects + score.detections, 1)


def _calibrated(item: Sample, calibration: Calibration) -> Boxes:
    logits = item.logits * calibration.factor
    logits[:, -1] += calibration.shift
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    return Boxes(chances[:, :-1].argmax(axis=1), item.boxes, chances[:, :-1].max(axis=1))
