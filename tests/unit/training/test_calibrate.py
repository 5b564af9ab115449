"""Calibration: finds the number that brings true detections over the threshold, and folds it into the weights."""

import numpy as np
import torch
from numpy.typing import NDArray

from training.calibrate import Sample, apply, fitted, sample
from training.checkpoint import new_config, new_model
from training.labels import LABELS
from training.scoring import true_boxes

BOX = (10, 10, 60, 90)


def unsure(seed: int) -> Sample:
    """One token on the garment, between its label and nothing; one far off, quite sure of nothing."""
    logits = np.random.default_rng(seed).normal(0, 0.1, (2, len(LABELS) + 1))
    logits[0, [3, -1]] += (3.5, 3.7)
    logits[1, -1] += 6
    return Sample(true_boxes([3], [BOX]), logits, np.asarray([BOX, (100, 100, 120, 130)], float))


def chances(sample_: Sample, shift: float) -> NDArray[np.float64]:
    logits = sample_.logits + np.eye(len(LABELS) + 1)[-1] * shift
    return np.asarray(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))


def test_unsure_detections_pass_the_threshold_after_calibration() -> None:
    shift = fitted([[unsure(seed) for seed in range(20)]], threshold=0.5)
    for seed in range(20, 25):
        before, after = chances(unsure(seed), 0.0), chances(unsure(seed), shift)
        assert before[0, 3] < 0.5 < after[0, 3]
        assert after[1, :-1].max() < 0.5


def test_without_samples_nothing_changes() -> None:
    assert fitted([[]], threshold=0.5) == 0


def test_a_folded_shift_gives_the_calibrated_logits() -> None:
    torch.manual_seed(0)
    model = new_model(new_config())
    model.train(False)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    before = sample(model, pixels, [3], [BOX])
    apply(model, -1.5)
    after = sample(model, pixels, [3], [BOX])
    expected = before.logits.copy()
    expected[:, -1] -= 1.5
    assert np.allclose(after.logits, expected, atol=1e-4)
    assert np.allclose(after.boxes, before.boxes)
