"""Real photographs, none of them drawn by this project: both backends must find the same garments in them."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from serve_app.detection.agreement import compare
from serve_app.detection.model.artifact import Precision
from serve_app.detection.pipeline import Pipeline
from serve_app.schemas import DEFAULT_THRESHOLD, DetectionResult, Options
from serve_app.settings import Engine, LimitSettings
from tests.contract.conftest import RUN_HERE, Model, Open, name_of
from training.labels import FOLDER_LABELS

PHOTOS = sorted((Path(__file__).parents[1] / "photos").glob("*/*.jpg"))
Detect = Callable[[tuple[Engine, Precision] | None], list[DetectionResult]]


@pytest.fixture(scope="module")
def detect(models: Callable[[str], Model], opened: Open) -> Detect:
    """The demo checkpoint's answers to all photos, computed once for each engine."""

    @cache
    def answers(pair: tuple[Engine, Precision] | None) -> list[DetectionResult]:
        model = models("demo")
        pipeline = Pipeline(opened(model, pair), model.spec, LimitSettings())
        return [pipeline.detect(photo.read_bytes(), Options(), timeout_s=600) for photo in PHOTOS]

    return answers


@pytest.mark.parametrize("pair", RUN_HERE, ids=name_of)
def test_both_backends_find_the_same(pair: tuple[Engine, Precision], detect: Detect) -> None:
    for photo, one, other in zip(PHOTOS, detect(None), detect(pair), strict=True):
        agreement = compare(one.detections, other.detections, one.image, DEFAULT_THRESHOLD)
        assert agreement.agrees, (photo.parent.name, agreement)


def test_most_garments_are_found_by_name(detect: Detect) -> None:
    found = [{item.label for item in result.detections} for result in detect(None)]
    wanted = [FOLDER_LABELS[photo.parent.name] for photo in PHOTOS]
    assert len(PHOTOS) == 10
    assert sum(label in labels for label, labels in zip(wanted, found, strict=True)) >= 6, found
