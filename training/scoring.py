"""Compares detections with true boxes: recall, precision and label accuracy at IoU 0.5. Used by train and evaluate.

A detection is true where it overlaps an object by IoU >= 0.5, whatever its label. Whether the label is right is counted
separately, on the objects located, so that missed boxes and wrong names can be told apart.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import linear_sum_assignment
from transformers import YolosForObjectDetection
from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

from serve_app.detection.agreement import iou_matrix

LEAST_IOU = 0.5


class Boxes(NamedTuple):
    """Labelled boxes of one image, xmin ymin xmax ymax in its pixels; `scores` are 1 for true boxes."""

    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]

    def above(self, threshold: float) -> "Boxes":
        """Those whose score is higher than the threshold."""
        keep = self.scores > threshold
        return Boxes(self.labels[keep], self.boxes[keep], self.scores[keep])


class Score(NamedTuple):
    """Counts over some images."""

    objects: int = 0
    detections: int = 0
    located: int = 0
    named: int = 0

    @property
    def recall(self) -> float:
        """Share of objects located."""
        return self.located / max(self.objects, 1)

    @property
    def precision(self) -> float:
        """Share of detections that locate an object no other detection has claimed."""
        return self.located / max(self.detections, 1)

    @property
    def label_accuracy(self) -> float:
        """Share of located objects that carry the right label."""
        return self.named / max(self.located, 1)

    def plus(self, true: Boxes, found: Boxes) -> "Score":
        """The counts with one more image."""
        overlaps = iou_matrix(true.boxes, found.boxes)
        rows, columns = linear_sum_assignment(-overlaps * (overlaps >= LEAST_IOU))
        pairs = [(row, column) for row, column in zip(rows, columns, strict=True) if overlaps[row, column] >= LEAST_IOU]
        named = sum(bool(true.labels[row] == found.labels[column]) for row, column in pairs)
        return Score(
            self.objects + len(true.labels),
            self.detections + len(found.labels),
            self.located + len(pairs),
            self.named + named,
        )


def true_boxes(labels: list[int], boxes: list[tuple[int, int, int, int]]) -> Boxes:
    """The true boxes of an image, each with score 1."""
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    return Boxes(np.asarray(labels, np.int64), corners, np.ones(len(labels)))


def detect(model: YolosForObjectDetection, processor: YolosImageProcessorPil, pixels: NDArray[np.uint8]) -> Boxes:
    """All the model's detections in an RGB picture, whatever their score."""
    inputs = processor(images=Image.fromarray(pixels), return_tensors="pt")
    with torch.inference_mode():
        outputs = model(pixel_values=inputs["pixel_values"])
    found = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=[pixels.shape[:2]])[0]
    return Boxes(found["labels"].numpy(), found["boxes"].double().numpy(), found["scores"].double().numpy())
