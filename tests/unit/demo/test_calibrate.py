"""Calibration: finds the numbers that bring true detections over the threshold, and folds them into the weights."""

import numpy as np
import torch

from demo.calibrate import Calibration, Sample, apply, fitted, sample
from demo.checkpoint import new_config, new_model
from demo.labels import LABELS
from demo.scoring import true_boxes

BOX = (10, 10, 60, 90)


def unsure(seed: int) -> Sample:
    """One token on the garment, leaning to its label; one far off, leaning to nothing."""
    logits = np.random.default_rng(seed).normal(0, 0.1, (2, len(LABELS) + 1))
    logits[0, 3] += 1.2
    logits[1, -1] += 1.5
    return Sample(true_boxes([3], [BOX]), logits, np.asarray([BOX, (100, 100, 120, 130)], float))


def test_unsure_detections_pass_the_threshold_after_calibration() -> None:
    chosen = fitted([[unsure(seed) for seed in range(20)]], threshold=0.5)
    assert chosen.factor > 1
    for seed in range(20, 25):
        logits = unsure(seed).logits * chosen.factor + np.eye(len(LABELS) + 1)[-1] * chosen.shift
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        assert chances[0, 3] > 0.5
        assert chances[1, :-1].max() < 0.5


def test_without_samples_nothing_changes() -> None:
    assert fitted([[]], threshold=0.5) == Calibration(factor=1.0, shift=0.0)


def test_folded_weights_give_the_calibrated_logits() -> None:
    torch.manual_seed(0)
    model = new_model(new_config())
    model.train(False)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    before = sample(model, pixels, [3], [BOX])
    apply(model, Calibration(2.0, -1.5))
    after = sample(model, pixels, [3], [BOX])
    expected = before.logits * 2
    expected[:, -1] -= 1.5
    assert np.allclose(after.logits, expected, atol=1e-4)
    assert np.allclose(after.boxes, before.boxes)
