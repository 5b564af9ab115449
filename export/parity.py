"""The gate: compares the artifact's detections with the checkpoint's. Called by `export.write` and the benchmarks."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.samples import Sample
from serve_app.detection import processing
from serve_app.detection.agreement import Agreement, compare
from serve_app.detection.model.artifact import Parity
from serve_app.detection.spec import Detector, ModelSpec, RawOutputs
from serve_app.errors import ConfigurationError
from serve_app.schemas import DEFAULT_THRESHOLD, ImageSize

Scores = NDArray[np.float32]

EXACT_TOLERANCE = 1e-3  # bound of scores and boxes in fp32
EXACT_LOGITS = 1e-4  # bound of raw outputs in fp32, absolute plus relative
_LEAST_PER_IMAGE = 2  # detections on average; with fewer, raw outputs are compared too


class RawDeviation(NamedTuple):
    """Raw outputs compared query by query: how many, and the largest deviation of a score and of a box."""

    queries: int
    score: float
    box: float


class Case(NamedTuple):
    """The comparison of both engines on one sample. `logits` is the largest difference of all raw logits."""

    name: str
    agreement: Agreement
    raw: RawDeviation
    logits: float

    @property
    def score(self) -> float:
        """The largest deviation of a score, of detections and of the queries compared."""
        return max(self.agreement.score_deviation, self.raw.score)

    @property
    def box(self) -> float:
        """The largest deviation of a box, relative to the image's side."""
        return max(self.agreement.box_deviation, self.raw.box)

    @property
    def deviation(self) -> float:
        """The largest deviation of a score or a box; infinite where a detection has no partner."""
        return math.inf if self.agreement.unmatched else max(self.score, self.box)

    def __str__(self) -> str:
        found = self.agreement
        if math.isinf(self.logits):
            return f"{self.name}: the artifact's outputs are not finite"
        return (
            f"{self.name}: {found.matched} matched, {found.unmatched} unmatched, score off by "
            f"{found.score_deviation:.2g}, box by {found.box_deviation:.2g}, worst IoU {found.iou:.3g}, a query by "
            f"{max(self.raw.score, self.raw.box):.2g}, logits by {self.logits:.2g}"
        )


class Verdict(NamedTuple):
    """The result: `cases` in order of their deviation, largest first; `faults` is empty if the artifact passed."""

    cases: list[Case]
    faults: list[str]
    parity: Parity

    @property
    def nothing_found(self) -> bool:
        """Whether neither engine detected anything, so that only raw outputs were compared."""
        found = sum(case.agreement.matched + case.agreement.unmatched for case in self.cases)
        return self.parity.queries > 0 and not found


class _Run(NamedTuple):
    sample: Sample
    reference: RawOutputs
    candidate: RawOutputs


def check(
    reference: Detector,
    candidate: Detector,
    spec: ModelSpec,
    samples: Sequence[Sample],
    tolerance: float,
    exact: bool,
    tick: Callable[[], None] = lambda: None,
) -> Verdict:
    """Run both engines on every sample and compare the detections that a client would get.

    Where there are too few of them, the raw outputs of the queries with the best scores are compared one by one as
    well, and where there is none, those of all queries; otherwise an artifact could pass because there is nothing to
    compare. `exact` applies the narrower bounds of fp32, to all raw outputs. `tick` is called after each sample.

    Raises ConfigurationError when the reference's own outputs are not finite.
    """
    runs = []
    for sample in samples:
        pixels = processing.prepare(sample.image, spec)
        runs.append(_Run(sample, reference.infer(pixels), candidate.infer(pixels)))
        if not _finite(runs[-1].reference):
            raise ConfigurationError(
                f"the checkpoint's own outputs for {sample.name} are not finite, so there is nothing to compare: its "
                "weights have diverged; name a checkpoint from before that"
            )
        tick()
    allowed = min(tolerance, EXACT_TOLERANCE) if exact else tolerance
    least = _least_score([run for run in runs if _finite(run.candidate)])
    pairs = [(_compare(run, spec, allowed, least), run) for run in runs]
    pairs.sort(key=lambda pair: (pair[0].deviation, pair[0].logits), reverse=True)
    faults = [
        str(case)
        for case, run in pairs
        if not case.agreement.agrees or case.deviation > allowed or (exact and not _close(run))
    ]
    cases = [case for case, _ in pairs]
    return Verdict(cases, faults, _summary(cases, tolerance))


def _finite(raw: RawOutputs) -> bool:
    return bool(np.isfinite(raw.logits).all() and np.isfinite(raw.boxes).all())


def _least_score(runs: Sequence[_Run]) -> float:
    """The score from which on queries are compared one by one: infinity for none of them, 0 for all."""
    scores = np.sort(np.concatenate([_best_scores(run.reference) for run in runs] or [np.zeros(0, np.float32)]))[::-1]
    found = int((scores > DEFAULT_THRESHOLD).sum())
    if found >= _LEAST_PER_IMAGE * len(runs):
        return math.inf
    return float(scores[min(_LEAST_PER_IMAGE * len(runs), len(scores)) - 1]) if found else 0.0


def _compare(run: _Run, spec: ModelSpec, tolerance: float, least: float) -> Case:
    if not _finite(run.candidate):
        nothing = Agreement(False, 0, 0, 0.0, 0.0, math.inf, math.inf)
        return Case(run.sample.name, nothing, RawDeviation(0, math.inf, math.inf), math.inf)
    size = ImageSize(width=run.sample.image.width, height=run.sample.image.height)
    # Down to any score, so that a detection which has fallen is found again and measured
    found = [processing.finish(raw, spec, size, 0.0, spec.detection_tokens) for raw in (run.reference, run.candidate)]
    return Case(
        name=run.sample.name,
        agreement=compare(found[0], found[1], size, DEFAULT_THRESHOLD, tolerance, floors=(0.0, 0.0)),
        raw=_compare_queries(run, least),
        logits=float(np.abs(run.reference.logits - run.candidate.logits).max()),
    )


def _compare_queries(run: _Run, least: float) -> RawDeviation:
    chosen = np.maximum(_best_scores(run.reference), _best_scores(run.candidate)) >= least
    scores = np.abs(processing.label_scores(run.reference) - processing.label_scores(run.candidate))[chosen]
    boxes = np.abs(run.reference.boxes[0] - run.candidate.boxes[0])[chosen]
    return RawDeviation(int(chosen.sum()), float(scores.max(initial=0)), float(boxes.max(initial=0)))


def _best_scores(raw: RawOutputs) -> Scores:
    best: Scores = processing.label_scores(raw).max(axis=-1)
    return best


def _close(run: _Run) -> bool:
    pairs = zip(run.reference, run.candidate, strict=True)
    return all(np.allclose(one, two, rtol=EXACT_LOGITS, atol=EXACT_LOGITS) for one, two in pairs)


def _summary(cases: Sequence[Case], tolerance: float) -> Parity:
    return Parity(
        images=len(cases),
        detections=sum(case.agreement.matched for case in cases),
        queries=sum(case.raw.queries for case in cases),
        threshold=DEFAULT_THRESHOLD,
        score_deviation=max(case.score for case in cases),
        box_deviation=max(case.box for case in cases),
        logit_deviation=max(case.logits for case in cases),
        tolerance=tolerance,
    )
