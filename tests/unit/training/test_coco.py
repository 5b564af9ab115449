"""mAP through pycocotools: 1 for perfect detections, 0 for none, less for wrong labels."""

import numpy as np
import pytest

from training.coco import mean_precision
from training.scoring import Boxes, true_boxes

TRUE = true_boxes([1, 2], [(0, 0, 40, 40), (50, 50, 90, 90)])
NOTHING = Boxes(np.zeros(0, int), np.zeros((0, 4)), np.zeros(0))


def test_perfect_detections_score_one(capsys: pytest.CaptureFixture[str]) -> None:
    result = mean_precision([(TRUE, TRUE), (TRUE, TRUE)])
    assert result.overall == pytest.approx(1)
    assert result.at_half == pytest.approx(1)
    assert capsys.readouterr().out == ""


def test_no_detections_at_all_score_zero() -> None:
    assert mean_precision([(TRUE, NOTHING)]).overall == 0


def test_a_wrong_label_costs_its_category() -> None:
    swapped = TRUE._replace(labels=np.asarray([1, 3]))
    assert mean_precision([(TRUE, swapped)]).at_half == pytest.approx(0.5)
