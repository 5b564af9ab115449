"""The gate: compares the artifact's detections with the checkpoint's. Called by `export.write` and the benchmarks."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.samples import Sample
from serve_app.detection import processing
from serve_app.detection.agreement import Agreement, compare
from serve_app.detection.model.artifact import Parity
from serve_app.detection.spec import Detector, ModelSpec, RawOutputs
from serve_app.schemas import DEFAULT_THRESHOLD, ImageSize

Scores = NDArray[np.float32]

EXACT_TOLERANCE = 1e-3  # bound of scores and boxes in fp32
EXACT_LOGITS = 1e-4  # bound of raw outputs in fp32, absolute plus relative
_LEAST_PER_IMAGE = 2  # detections on average; with fewer, the threshold of the comparison is lowered


class Case(NamedTuple):
    """The comparison of both engines on one sample.

    `queries` is the largest deviation of a score or a box, query by query, among the reference's queries over the
    threshold. `logits` is the largest difference of all raw logits.
    """

    name: str
    agreement: Agreement
    queries: float
    logits: float

    @property
    def deviation(self) -> float:
        """The largest deviation of a score or a box; infinite where a detection has no partner."""
        if self.agreement.unmatched:
            return float("inf")
        return max(self.agreement.score_deviation, self.agreement.box_deviation, self.queries)

    def __str__(self) -> str:
        found = self.agreement
        return (
            f"{self.name}: {found.matched} matched, {found.unmatched} unmatched, score off by "
            f"{found.score_deviation:.2g}, box by {found.box_deviation:.2g}, a query by {self.queries:.2g}, "
            f"logits by {self.logits:.2g}"
        )


class Verdict(NamedTuple):
    """The result: `cases` in order of their deviation, largest first; `faults` is empty if the artifact passed."""

    cases: list[Case]
    faults: list[str]
    parity: Parity


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

    Where the reference finds too few above the service's threshold, a lower one is used, and the queries over it are
    compared one by one; otherwise an artifact could pass because there is nothing to compare. `exact` applies the
    narrower bounds of fp32, to the raw outputs too. `tick` is called after each sample.
    """
    runs = []
    for sample in samples:
        pixels = processing.prepare(sample.image, spec)
        runs.append(_Run(sample, reference.infer(pixels), candidate.infer(pixels)))
        tick()
    threshold = _comparison_threshold(runs)
    allowed = min(tolerance, EXACT_TOLERANCE) if exact else tolerance
    pairs = [(_compare(run, spec, threshold, allowed), run) for run in runs]
    pairs.sort(key=lambda pair: (pair[0].deviation, pair[0].logits), reverse=True)
    faults = [
        str(case)
        for case, run in pairs
        if not case.agreement.agrees
        or (threshold < DEFAULT_THRESHOLD and case.queries > allowed)
        or (exact and not _close(run))
    ]
    cases = [case for case, _ in pairs]
    return Verdict(cases, faults, _summary(cases, threshold, tolerance))


def _comparison_threshold(runs: Sequence[_Run]) -> float:
    scores = np.sort(np.concatenate([_scores(run.reference).max(axis=-1) for run in runs]))[::-1]
    wanted = min(_LEAST_PER_IMAGE * len(runs), len(scores) - 1)
    return float(min(DEFAULT_THRESHOLD, scores[wanted]))


def _compare(run: _Run, spec: ModelSpec, threshold: float, tolerance: float) -> Case:
    size = ImageSize(width=run.sample.image.width, height=run.sample.image.height)
    found = [
        processing.finish(raw, spec, size, threshold, spec.detection_tokens) for raw in (run.reference, run.candidate)
    ]
    return Case(
        name=run.sample.name,
        agreement=compare(found[0], found[1], size, threshold, tolerance),
        queries=_query_deviation(run, threshold),
        logits=float(np.abs(run.reference.logits - run.candidate.logits).max()),
    )


def _query_deviation(run: _Run, threshold: float) -> float:
    scores, others = _scores(run.reference), _scores(run.candidate)
    over = scores.max(axis=-1) > threshold
    if not over.any():
        return 0.0
    boxes = np.abs(run.reference.boxes[0] - run.candidate.boxes[0])[over]
    return float(max(np.abs(scores - others)[over].max(), boxes.max()))


def _scores(raw: RawOutputs) -> Scores:
    """Probability of each label other than "no object", as (queries, labels), for a batch of one image."""
    exponents = np.exp(raw.logits[0] - raw.logits[0].max(axis=-1, keepdims=True))
    probabilities: Scores = exponents / exponents.sum(axis=-1, keepdims=True)
    return probabilities[:, :-1]


def _close(run: _Run) -> bool:
    pairs = zip(run.reference, run.candidate, strict=True)
    return all(np.allclose(one, two, rtol=EXACT_LOGITS, atol=EXACT_LOGITS) for one, two in pairs)


def _summary(cases: Sequence[Case], threshold: float, tolerance: float) -> Parity:
    return Parity(
        images=len(cases),
        detections=sum(case.agreement.matched for case in cases),
        threshold=threshold,
        score_deviation=max(case.agreement.score_deviation for case in cases),
        box_deviation=max(case.agreement.box_deviation for case in cases),
        logit_deviation=max(case.logits for case in cases),
        tolerance=tolerance,
    )
