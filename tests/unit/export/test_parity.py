"""The gate must pass what is equal, name what is not, and never pass for want of anything to compare."""

import numpy as np
import pytest
from PIL import Image

from export import parity
from export.samples import Sample
from serve_app.detection.spec import EngineInfo, Pixels, RawOutputs
from tests.checkpoints import SPEC

QUERIES, LABELS = SPEC.detection_tokens, len(SPEC.labels)
SAMPLES = [Sample("first", Image.new("RGB", (120, 96))), Sample("second", Image.new("RGB", (96, 120)))]
NOTHING = LABELS  # the last column is "no object"


class Engine:
    """Gives prepared outputs, one for each sample in turn."""

    info = EngineInfo("test", "cpu", "fp32", 1, {})

    def __init__(self, *outputs: RawOutputs) -> None:
        self._outputs = iter(outputs)

    def infer(self, pixels: Pixels) -> RawOutputs:
        return next(self._outputs)


def outputs(found: int = 4, strength: float = 6.0) -> RawOutputs:
    """The first `found` queries see label 1 in separate boxes, the others nothing."""
    logits = np.zeros((1, QUERIES, LABELS + 1), np.float32)
    logits[0, :found, 1] = strength
    logits[0, found:, NOTHING] = strength
    centres = (np.arange(QUERIES, dtype=np.float32) + 0.5) / QUERIES
    boxes = np.stack(
        [centres, centres, np.full_like(centres, 0.08), np.full_like(centres, 0.08)], axis=-1, dtype=np.float32
    )
    return RawOutputs(logits, boxes[None])


def check(reference: RawOutputs, candidate: RawOutputs, exact: bool = False, tolerance: float = 0.05) -> parity.Verdict:
    return parity.check(
        Engine(outputs(), reference), Engine(outputs(), candidate), SPEC, SAMPLES, tolerance, exact=exact
    )


def changed(query: int, logit: float = 0.0, box: float = 0.0, label: int = 1, found: int = 4) -> RawOutputs:
    raw = outputs(found)
    raw.logits[0, query, label] += logit
    raw.boxes[0, query, 0] += box
    return raw


def test_equal_outputs_pass_and_are_counted() -> None:
    verdict = check(outputs(), outputs(), exact=True)
    assert verdict.faults == []
    assert (verdict.parity.images, verdict.parity.detections) == (2, 8)
    assert verdict.parity.threshold == 0.5
    assert verdict.parity.score_deviation == verdict.parity.box_deviation == verdict.parity.logit_deviation == 0


@pytest.mark.parametrize("candidate", [
    changed(0, logit=-5.0), changed(3, box=0.2), outputs(found=5), outputs(found=3),
], ids=["score", "box", "one too many", "one missing"])  # fmt: skip
def test_what_a_client_would_see_is_a_fault_and_names_the_image(candidate: RawOutputs) -> None:
    verdict = check(outputs(), candidate)
    assert len(verdict.faults) == 1
    assert verdict.faults[0].startswith("second:")


def test_small_deviations_pass_unless_exactness_is_asked() -> None:
    slightly = changed(0, box=0.003)
    assert check(outputs(), slightly).faults == []
    assert len(check(outputs(), slightly, exact=True).faults) == 1
    assert len(check(outputs(), slightly, tolerance=0.001).faults) == 1


def test_exactness_covers_queries_that_no_client_sees() -> None:
    unseen = changed(QUERIES - 1, logit=0.01)
    assert check(outputs(), unseen).faults == []
    assert len(check(outputs(), unseen, exact=True).faults) == 1


def test_a_reference_that_finds_nothing_is_compared_query_by_query() -> None:
    weak = outputs(found=0)
    weak.logits[0, :, 0] = np.linspace(1, 3, QUERIES)
    moved = RawOutputs(weak.logits.copy(), weak.boxes.copy())
    moved.boxes[0, -1, 2] += 0.2

    def run(candidate: RawOutputs) -> parity.Verdict:
        return parity.check(Engine(weak, weak), Engine(weak, candidate), SPEC, SAMPLES, 0.05, exact=False)

    assert run(weak).faults == []
    assert run(weak).parity.detections >= parity._LEAST_PER_IMAGE
    assert run(weak).parity.threshold < 0.5
    assert len(run(moved).faults) == 1


def test_the_worst_case_comes_first() -> None:
    verdict = parity.check(
        Engine(outputs(), outputs()),
        Engine(changed(0, box=0.01), changed(0, box=0.02)),
        SPEC,
        SAMPLES,
        0.001,
        exact=False,
    )
    assert [fault.split(":")[0] for fault in verdict.faults] == ["second", "first"]
    assert verdict.parity.box_deviation == pytest.approx(0.02, abs=1e-4)


def test_progress_is_told_after_each_sample() -> None:
    ticks: list[int] = []
    parity.check(
        Engine(outputs(), outputs()),
        Engine(outputs(), outputs()),
        SPEC,
        SAMPLES,
        0.05,
        exact=False,
        tick=lambda: ticks.append(1),
    )
    assert len(ticks) == len(SAMPLES)
