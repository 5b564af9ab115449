"""The pictures on which decisions are made during training: a tenth of the training photos, and scenes.

Neither are trained on or part of what `training.evaluate` measures. Used by `training.train`.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from transformers import YolosForObjectDetection

from training.bank import Bank, Rgba
from training.calibrate import Sample, sample, scored
from training.checkpoint import PATCH, SHORT_SIDE
from training.drawn_bank import scene_size
from training.extra import cv2
from training.scenes import render_scene
from training.scenes.scene import tight_box

FIRST_SCENE = 3_000_000


class DevSamples(NamedTuple):
    """A model's outputs for the photos and scenes that are kept out of training."""

    photos: list[Sample]
    scenes: list[Sample]

    def report(self, shift: float, threshold: float) -> str:
        """One line of quality figures."""
        parts = []
        for name, group in zip(self._fields, self, strict=True):
            score = scored(group, shift, threshold)
            figures = f"recall {score.recall:.3f}, precision {score.precision:.3f}, labels {score.label_accuracy:.3f}"
            parts.append(f"{name}: {figures}")
        return "; ".join(parts)


def dev_samples(model: YolosForObjectDetection, photos: Bank | None, scenes: int, most_photos: int) -> DevSamples:
    """Run the model on up to `most_photos` kept-out photos and on `scenes` scenes."""
    step = max(1, len(photos) // most_photos) if photos is not None else 1
    of_photos = [] if photos is None else list(_photo_samples(model, photos, range(0, len(photos), step)))
    return DevSamples(of_photos, list(_scene_samples(model, scenes)))


def _photo_samples(model: YolosForObjectDetection, photos: Bank, numbers: range) -> Iterator[Sample]:
    for number in numbers:
        picture = _at_model_size(photos.picture(number))
        pixels, mask = np.ascontiguousarray(picture[..., :3]), picture[..., 3] > 127
        yield sample(model, pixels, [int(photos.labels[number])], [tight_box(mask)])


def _scene_samples(model: YolosForObjectDetection, count: int) -> Iterator[Sample]:
    for seed in range(FIRST_SCENE, FIRST_SCENE + count):
        scene = render_scene(seed, *scene_size(seed))
        yield sample(model, scene.pixels, [item.label for item in scene.objects], [item.box for item in scene.objects])


def _at_model_size(picture: Rgba) -> Rgba:
    scale = SHORT_SIDE / min(picture.shape[:2])
    height, width = (max(PATCH, int(side * scale) // PATCH * PATCH) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
