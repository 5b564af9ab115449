"""The pictures kept out of training: photos at the model's size, scenes of their own seeds."""

from pathlib import Path

import numpy as np
import pytest

from training.bank import Entry, store
from training.checkpoint import CHECKPOINT, load_checkpoint
from training.dev_set import FIRST_SCENE, DevSamples, dev_samples
from training.evaluate import FIRST_SCENE as FIRST_EVALUATED
from training.scenes import render_scene


def test_photos_and_scenes_are_run_and_reported(tmp_path: Path) -> None:
    scene = render_scene(0, 90, 130, [1])
    alpha = scene.objects[0].visible.astype(np.uint8) * 255
    photos = store(tmp_path / "dev.bin", [Entry(1, np.dstack([scene.pixels, alpha]))] * 4)
    model, _ = load_checkpoint(CHECKPOINT)
    samples = dev_samples(model, photos, scenes=3, most_photos=2)
    assert (len(samples.photos), len(samples.scenes)) == (2, 3)
    # 90 x 130 becomes 224 x 320: the box grows with the picture.
    share = samples.photos[0].true.boxes[0] / [224, 320, 224, 320]
    assert share == pytest.approx(np.asarray(scene.objects[0].box) / [90, 130, 90, 130], abs=0.02)
    assert samples.report(0.0, 0.5).startswith("photos: recall ")
    assert "; scenes: recall " in samples.report(0.0, 0.5)


def test_no_photos_and_no_scenes_are_no_error() -> None:
    model, _ = load_checkpoint(CHECKPOINT)
    assert dev_samples(model, None, scenes=0, most_photos=5) == DevSamples([], [])


def test_scenes_for_decisions_are_not_those_of_the_evaluation() -> None:
    assert FIRST_SCENE + 10_000 < FIRST_EVALUATED
