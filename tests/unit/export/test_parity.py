"""The gate must pass what is equal, name what is not, and never pass for want of anything to compare."""

import numpy as np
import pytest
from PIL import Image

from export import parity
from export.samples import Sample
from serve_app.detection.spec import EngineInfo, Pixels, RawOutputs
from serve_app.errors import ConfigurationError
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
    assert check(outputs(), changed(3, box=0.01)).faults  # of a side of 0.08: IoU 0.78
    assert check(outputs(), changed(3, box=0.01), tolerance=0.25).faults == []


def test_exactness_covers_queries_that_no_client_sees() -> None:
    unseen = changed(QUERIES - 1, logit=0.01)
    assert check(outputs(), unseen).faults == []
    assert len(check(outputs(), unseen, exact=True).faults) == 1


@pytest.mark.parametrize(("label", "off", "passes"), [
    (0, 5e-5, True), (0, -2e-4, False), (0, 2e-4, False), (NOTHING, 6e-4, True), (NOTHING, 8e-4, False),
])  # fmt: skip
def test_exact_raw_outputs_are_within_a_ten_thousandth_absolute_plus_relative(
    label: int, off: float, passes: bool
) -> None:
    verdict = check(outputs(), changed(QUERIES - 1, logit=off, label=label), exact=True)
    assert (verdict.faults == []) is passes
    assert verdict.parity.logit_deviation == pytest.approx(abs(off), rel=0.01)


def test_exactness_bounds_scores_however_large_the_logits_are() -> None:
    large = outputs(strength=1.0)
    large.logits[:] += 1000
    off = RawOutputs(large.logits.copy(), large.boxes)
    off.logits[0, 0, 1] += 0.05
    assert parity.EXACT_TOLERANCE == 1e-3
    assert only(large, off).faults == []
    assert len(only(large, off, exact=True).faults) == 1


def test_a_tolerance_narrower_than_exactness_holds() -> None:
    slightly = changed(0, box=1e-4)
    assert check(outputs(), slightly, exact=True).faults == []
    assert len(check(outputs(), slightly, exact=True, tolerance=5e-5).faults) == 1
    verdict = check(outputs(), outputs(), exact=True, tolerance=0)
    assert (verdict.faults, verdict.parity.tolerance) == ([], 0)


def test_ten_detections_that_fall_from_just_above_the_threshold_are_a_fault() -> None:
    verdict = check(scored(0.9, *[0.54] * 10), scored(0.9, *[0.02] * 10))
    assert len(verdict.faults) == 1
    assert verdict.parity.score_deviation == pytest.approx(0.52, abs=1e-3)
    assert check(scored(0.9, *[0.02] * 10), scored(0.9, *[0.54] * 10)).faults


@pytest.mark.parametrize(("before", "after", "passes"), [
    (0.52, 0.48, True), (0.48, 0.52, True), (0.52, 0.46, False), (0.44, 0.52, False), (0.3, 0.1, True),
])  # fmt: skip
def test_a_score_may_cross_the_threshold_by_less_than_the_tolerance(before: float, after: float, passes: bool) -> None:
    verdict = check(scored(0.9, before), scored(0.9, after))
    assert (verdict.faults == []) is passes


def test_one_misplaced_box_among_many_is_a_fault() -> None:
    moved = changed(3, box=0.02, found=10)  # of a side of 0.08: IoU 0.6
    assert "worst IoU 0.6" in check(outputs(found=10), moved).faults[0]


def test_a_fault_says_all_that_was_measured() -> None:
    moved = faint()
    moved.boxes[0, 5, 2] += 0.25
    assert only(faint(), moved).faults == [
        "second: 0 matched, 0 unmatched, score off by 0, box by 0, worst IoU 1, a query by 0.25, logits by 0"
    ]
    fallen = outputs(found=1)
    fallen.logits[0, 0, 2] += 0.5
    verdict = check(outputs(found=2), fallen)
    assert verdict.faults[0].startswith("second: 1 matched, 1 unmatched, score off by 0.0")
    assert verdict.faults[0].endswith("worst IoU 1, a query by 0, logits by 6")


def scored(*scores: float) -> RawOutputs:
    """The first queries see label 1 with these probabilities, the others nothing."""
    raw = outputs(found=len(scores))
    raw.logits[0, : len(scores)] = -30
    raw.logits[0, : len(scores), 1] = np.log(scores)
    raw.logits[0, : len(scores), NOTHING] = np.log1p(-np.asarray(scores))
    return raw


def only(reference: RawOutputs, candidate: RawOutputs, exact: bool = False) -> parity.Verdict:
    """The same on both samples."""
    return parity.check(Engine(reference, reference), Engine(reference, candidate), SPEC, SAMPLES, 0.05, exact=exact)


def faint() -> RawOutputs:
    """Nothing over 0.5, as of a checkpoint that was never trained."""
    raw = outputs(found=0)
    raw.logits[0, :, 0] = np.linspace(1, 3, QUERIES)
    return raw


def test_where_nothing_is_detected_all_raw_outputs_are_compared() -> None:
    verdict = only(faint(), faint())
    assert verdict.faults == []
    assert (verdict.parity.detections, verdict.parity.queries) == (0, 2 * QUERIES)
    assert verdict.nothing_found
    assert not check(outputs(), outputs()).nothing_found


@pytest.mark.parametrize(
    ("query", "logit", "box"), [(0, 0, 0.2), (QUERIES - 1, 0, 0.2), (0, 0, -0.06), (QUERIES - 1, 1, 0)]
)
def test_each_of_them_counts(query: int, logit: float, box: float) -> None:
    moved = faint()
    moved.boxes[0, query, 2] += box
    moved.logits[0, query, 2] += 5 * logit
    verdict = only(faint(), moved)
    assert len(verdict.faults) == 1
    assert verdict.nothing_found
    assert max(verdict.parity.score_deviation, verdict.parity.box_deviation) > 0.05


def test_equal_scores_everywhere_are_no_way_out() -> None:
    flat = RawOutputs(np.zeros_like(outputs().logits), outputs().boxes)
    assert only(flat, flat).parity.queries == 2 * QUERIES
    moved = RawOutputs(flat.logits, flat.boxes.copy())
    moved.boxes[0, 5, 0] += 0.1
    assert only(flat, moved).faults
    even = outputs()
    even.logits[0, :4] = -200
    even.logits[0, :4, [1, NOTHING]] = 0  # exactly 0.5, which is not over it
    assert only(even, even).parity.queries == 2 * QUERIES


def test_few_detections_are_compared_with_the_strongest_queries_of_both_sides() -> None:
    weak = faint()
    weak.logits[0, 0] = outputs().logits[0, 0]
    verdict = only(weak, weak)
    assert (verdict.faults, verdict.parity.detections, verdict.parity.queries) == ([], 2, 4)
    weakest, strongest = (RawOutputs(weak.logits.copy(), weak.boxes.copy()) for _ in range(2))
    weakest.boxes[0, 1, 2] += 0.2
    assert only(weak, weakest).faults == []
    strongest.boxes[0, -1, 2] += 0.2
    assert len(only(weak, strongest).faults) == 1
    weakest.logits[0, 1, 0] = 5.5  # below 0.5 still, but now it is one of the strongest
    weakest.logits[0, 1, NOTHING] = 6
    assert len(only(weak, weakest).faults) == 1
    assert len(parity.check(Engine(weak, weakest), Engine(weak, weak), SPEC, SAMPLES, 0.05, exact=False).faults) == 1


def test_a_detector_of_one_query_is_compared_by_it() -> None:
    lone = RawOutputs(outputs().logits[:, :1], outputs().boxes[:, :1])
    assert only(lone, lone).parity.queries == 2


def test_with_enough_detections_no_query_is_compared_by_itself() -> None:
    assert check(outputs(), outputs()).parity.queries == 0
    assert only(outputs(found=2), outputs(found=2)).parity.queries == 0
    assert only(outputs(found=1), outputs(found=1)).parity.queries >= 4


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["logits", "boxes"])
def test_what_is_not_finite_never_passes_and_the_side_is_named(part: str, value: float, exact: bool) -> None:
    broken = outputs()
    getattr(broken, part)[0, -1, 0] = value
    verdict = check(outputs(), broken, exact=exact)
    assert verdict.faults == ["second: the artifact's outputs are not finite"]
    assert np.isinf(verdict.parity.score_deviation)
    with pytest.raises(ConfigurationError, match=r"checkpoint's own outputs for second are not finite.*have diverged"):
        check(broken, outputs(), exact=exact)
    with pytest.raises(ConfigurationError, match="have diverged"):
        check(broken, broken, exact=exact)


def test_an_artifact_that_gives_nothing_finite_at_all_is_refused() -> None:
    broken = RawOutputs(outputs().logits * np.nan, outputs().boxes)
    verdict = parity.check(Engine(outputs(), outputs()), Engine(broken, broken), SPEC, SAMPLES, 0.05, exact=False)
    assert len(verdict.faults) == 2
    assert not verdict.nothing_found


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


@pytest.mark.parametrize(("mild", "worse"), [
    (changed(0, logit=-5.0), outputs(found=3)),  # one without a partner is worse than any deviation
    (changed(QUERIES - 1, logit=0.01), changed(QUERIES - 1, logit=0.02)),  # only logits differ
], ids=["unmatched", "logits"])  # fmt: skip
def test_what_nobody_finds_and_what_nobody_sees_have_their_place_in_the_order(
    mild: RawOutputs, worse: RawOutputs
) -> None:
    for order, names in ((mild, worse), ["second", "first"]), ((worse, mild), ["first", "second"]):
        verdict = parity.check(Engine(outputs(), outputs()), Engine(*order), SPEC, SAMPLES, 0.05, exact=True)
        assert [case.name for case in verdict.cases] == names
        assert [fault.split(":")[0] for fault in verdict.faults] == names


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
