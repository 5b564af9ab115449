"""Counting: located whatever the label, each object once, labels judged on the located."""

import numpy as np
import pytest

from training.scoring import Boxes, Score, true_boxes


def found(*items: tuple[int, tuple[int, int, int, int], float]) -> Boxes:
    labels, boxes, scores = zip(*items, strict=True)
    return Boxes(np.asarray(labels), np.asarray(boxes, float), np.asarray(scores))


TRUE = true_boxes([1, 2], [(0, 0, 10, 10), (50, 50, 90, 90)])


def test_a_wrong_label_is_located_but_not_named() -> None:
    score = Score().plus(TRUE, found((1, (0, 0, 10, 10), 0.9), (5, (50, 50, 90, 88), 0.8)))
    assert score == Score(objects=2, detections=2, located=2, named=1)
    assert (score.recall, score.precision, score.label_accuracy) == (1.0, 1.0, 0.5)


def test_a_duplicate_lowers_precision_and_a_miss_recall() -> None:
    score = Score().plus(TRUE, found((1, (0, 0, 10, 10), 0.9), (1, (0, 0, 10, 9), 0.8)))
    assert (score.recall, score.precision) == (0.5, 0.5)


def test_each_object_takes_one_detection_so_that_most_are_located() -> None:
    crowded = true_boxes([0, 0], [(0, 0, 10, 10), (0, 0, 10, 14)])
    score = Score().plus(crowded, found((0, (0, 0, 10, 10), 0.9), (0, (0, 0, 10, 12), 0.8)))
    assert score.located == 2


def test_counts_add_up_over_images_and_none_is_no_error() -> None:
    empty = true_boxes([], [])
    nothing = Boxes(np.zeros(0, int), np.zeros((0, 4)), np.zeros(0))
    score = Score().plus(TRUE, nothing).plus(empty, nothing)
    assert score == Score(objects=2)
    assert score.precision == 0


def test_above_keeps_the_scores_over_the_threshold() -> None:
    kept = found((1, (0, 0, 1, 1), 0.4), (2, (0, 0, 1, 1), 0.6)).above(0.5)
    assert kept.labels.tolist() == [2]
    assert kept.scores.tolist() == pytest.approx([0.6])
