"""Pure: windows -> figures, and the rule for when a figure counts. Used by `bench.serving.measure` and its report."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from bench.load.plan import OK, Load, Outcome, Span
from bench.statistics import Interval, median, ratio

STABLE_WINDOWS = 3
STABLE_WITHIN = 0.10
NEVER = float("inf")


class Window(NamedTuple):
    """One contender for some seconds: the latencies of its good answers, and what all its answers cost."""

    latencies: list[float]
    seconds: float
    answered: int
    failed: int
    cpu_seconds: float
    generator_cpu_seconds: float
    memory_bytes: int

    @property
    def median(self) -> float:
        """Infinite where nothing was answered, so that a window that failed never looks fast."""
        return median(self.latencies) if self.latencies else NEVER

    @property
    def throughput(self) -> float:
        """Good answers per second."""
        return len(self.latencies) / self.seconds


class Figures(NamedTuple):
    """What the table shows of one contender under one load. `relative` is its speed in times of the reference's."""

    p50: float
    p95: float
    p99: float
    over_reference: float
    relative: Interval
    throughput: float
    cpu_per_request: float
    generator_cpu_per_request: float
    memory_bytes: int
    requests: int
    failed: int
    stable: bool
    windows: int


def window(load: Load, span: Span, outcome: Outcome, cpu_seconds: float, memory_bytes: int) -> Window:
    """Add up a window. CPU is counted over all answers, those of the lead-in too, as it cannot be separated."""
    inside = outcome.counted(load, span)
    last = max((one.ended - outcome.began for one in inside), default=span.end)
    # In an open loop that the server cannot follow, the answers take longer than the window.
    seconds = max(last - span.lead, span.counted) if load.is_open else span.counted
    answered = sum(one.status == OK for one in outcome.sent)
    good = [one.seconds for one in inside if one.status == OK]
    failed = len(outcome.sent) - answered
    return Window(good, seconds, answered, failed, cpu_seconds, outcome.cpu_seconds, memory_bytes)


def stable_end(medians: Sequence[float]) -> int | None:
    """Where the latest three consecutive medians within 10 % of each other end (exclusive), or None."""
    for end in range(len(medians), STABLE_WINDOWS - 1, -1):
        last = medians[end - STABLE_WINDOWS : end]
        if max(last) < NEVER and max(last) <= (1 + STABLE_WITHIN) * min(last):
            return end
    return None


def figures(load: Load, windows: Sequence[Window], reference: Sequence[Window]) -> Figures:
    """The stable windows pooled, or all where none are; comparisons always over the rounds of both."""
    end = stable_end([one.median for one in windows])
    shown = windows if end is None else windows[end - STABLE_WINDOWS : end]
    latencies = [latency for one in shown for latency in one.latencies] or [NEVER]
    answers = max(sum(one.answered + one.failed for one in shown), 1)
    pairs = [(own, other) for own, other in zip(windows, reference, strict=True) if own.latencies and other.latencies]
    # Throughput by throughput; in an open loop, where the clients set it, the reference's median by ours.
    speed: Callable[[Window], float] = (lambda one: 1 / one.median) if load.is_open else (lambda one: one.throughput)
    speeds = [[speed(one) for one in side] for side in zip(*pairs, strict=True)]
    p50, p95, p99 = map(float, np.percentile(latencies, [50, 95, 99], method="higher"))
    return Figures(
        p50,
        p95,
        p99,
        over_reference=median([own.median - other.median for own, other in pairs]) if pairs else NEVER,
        relative=ratio(*speeds) if pairs else Interval(0.0, 0.0, 0.0),
        throughput=median([one.throughput for one in shown]),
        cpu_per_request=sum(one.cpu_seconds for one in shown) / answers,
        generator_cpu_per_request=sum(one.generator_cpu_seconds for one in shown) / answers,
        memory_bytes=max(one.memory_bytes for one in shown),
        requests=sum(one.answered + one.failed for one in windows),
        failed=sum(one.failed for one in windows),
        stable=end is not None,
        windows=len(windows),
    )
