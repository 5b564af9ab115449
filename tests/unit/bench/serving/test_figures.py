"""Windows become figures, and unstable ones say so."""

import pytest

from bench.load.plan import NO_ANSWER, OK, Load, Outcome, Sent, Span
from bench.serving.figures import Window, figures, stable_end, window

CLOSED, OPEN = Load.closed(2), Load.open("half", 10)
SPAN = Span(lead=1.0, counted=2.0)


def of(median: float, count: int = 10, failed: int = 0) -> Window:
    return Window([median] * count, 2.0, count, failed, 0.5, 0.01, 100)


@pytest.mark.parametrize(
    ("medians", "end"),
    [
        ([1.0, 1.0], None),
        ([1.0, 1.05, 1.1], 3),
        ([1.0, 1.05, 1.2], None),
        ([2.0, 1.0, 1.05, 1.1], 4),
        ([1.0, 1.0, 1.0, 2.0], 3),
        ([1.0, 1.0, 1.0, 1.1, 1.1], 5),
        ([float("inf")] * 3, None),
    ],
)
def test_stable_are_three_consecutive_windows_within_ten_per_cent(medians: list[float], end: int | None) -> None:
    assert stable_end(medians) == end


def test_figures_are_of_the_stable_windows_only() -> None:
    found = figures(CLOSED, [of(9.0), of(1.0), of(1.0), of(1.0)], [of(1.0)] * 4)
    assert found.stable
    assert (found.p50, found.p99) == (1.0, 1.0)
    assert found.windows == 4


def test_figures_without_stable_windows_are_of_all_and_marked() -> None:
    found = figures(CLOSED, [of(1.0), of(2.0), of(4.0)], [of(1.0)] * 3)
    assert not found.stable
    assert (found.p50, found.p95) == (2.0, 4.0)


def test_a_ratio_is_taken_within_rounds() -> None:
    """Both were hit by the same slow round, which must not widen the interval."""
    own = [of(1.0, count=20), of(4.0, count=5), of(1.0, count=20)]
    reference = [of(0.5, count=40), of(2.0, count=10), of(0.5, count=40)]
    found = figures(CLOSED, own, reference)
    assert found.relative == (0.5, 0.5, 0.5)
    assert found.over_reference == 0.5


def test_under_a_fixed_rate_the_ratio_is_of_the_medians() -> None:
    assert figures(OPEN, [of(2.0)] * 3, [of(1.0)] * 3).relative.value == 0.5


def test_percentiles_are_latencies_that_occurred() -> None:
    measured = Window([0.01 * number for number in range(1, 101)], 2.0, 100, 0, 0.5, 0.01, 100)
    found = figures(CLOSED, [measured] * 3, [measured] * 3)
    assert (found.p50, found.p95, found.p99) == pytest.approx((0.51, 0.96, 1.0))


def test_cost_goes_by_every_answer_and_failures_are_counted() -> None:
    found = figures(CLOSED, [of(1.0, count=8, failed=2)] * 3, [of(1.0)] * 3)
    assert found.cpu_per_request == pytest.approx(0.05)
    assert (found.requests, found.failed) == (30, 6)


def test_a_contender_that_answers_nothing_has_no_good_figure() -> None:
    found = figures(CLOSED, [of(1.0, count=0, failed=5)] * 3, [of(1.0)] * 3)
    assert not found.stable
    assert found.p50 == float("inf")
    assert found.relative.value == 0
    assert found.failed == 15


def test_a_window_leaves_out_its_lead_in_and_failed_requests() -> None:
    sent = [Sent(100.0, 100.5, OK), Sent(101.0, 101.5, OK), Sent(101.5, 101.6, 503), Sent(101.6, 101.7, NO_ANSWER)]
    found = window(CLOSED, SPAN, Outcome(100.0, sent, 0.01), cpu_seconds=0.5, memory_bytes=100)
    assert found.latencies == [0.5]
    assert (found.answered, found.failed) == (2, 2)
    assert found.throughput == 0.5


def test_an_overrun_open_window_has_the_throughput_that_the_server_managed() -> None:
    sent = [Sent(101.0, 103.0, OK), Sent(102.0, 105.0, OK)]
    found = window(OPEN, SPAN, Outcome(100.0, sent, 0.01), cpu_seconds=0.5, memory_bytes=100)
    assert found.latencies == [2.0, 3.0]
    assert found.throughput == 2 / 4
