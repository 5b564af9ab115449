"""The breaker: when it opens, whom it lets through while open, and what closes it."""

from collections.abc import Callable

import pytest

from serve_app.settings import BreakerSettings
from serve_app.traffic.breaker import Breaker

SETTINGS = BreakerSettings()


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock)


def is_open(breaker: Breaker) -> bool:
    """Its state, without the type checker's belief that an attribute never changes."""
    return breaker.is_open


def record(breaker: Breaker, results: str, settings: BreakerSettings = SETTINGS) -> None:
    """Record one call per letter: `x` failed, anything else succeeded."""
    for letter in results:
        report: Callable[[int, BreakerSettings], None] = breaker.failed if letter == "x" else breaker.succeeded
        report(breaker.era, settings)


@pytest.mark.parametrize(
    ("results", "is_open"),
    [
        ("", False),
        ("xxxx", False),
        ("xxxxx", True),
        ("xxxx.xxxx", False),
        ("x." * 10, False),  # exactly half of the last 20 is not over 50 %
        ("x." * 9 + "xx", True),  # 11 of 20
        ("x." * 8 + "xx.", False),  # 10 of 19: over half, but no full window yet
        ("." * 30 + "xxxx", False),  # old successes are forgotten, the run is short
        ("." * 30 + "x.x.xx.xxx.xxx.x", True),  # over half of the last 20, longest run 3
    ],
)
def test_it_opens_after_five_in_a_row_or_over_half_of_the_last_twenty(
    breaker: Breaker, results: str, is_open: bool
) -> None:
    record(breaker, results)
    assert breaker.is_open is is_open
    assert breaker.allows(SETTINGS) is not is_open


def test_all_three_numbers_come_from_the_settings(breaker: Breaker, clock: Clock) -> None:
    settings = BreakerSettings(consecutive_failures=2, failure_share=0.1, window=4, probe_interval_s=60)
    record(breaker, "xx", settings)
    assert breaker.is_open
    clock.now += 59
    assert not breaker.allows(settings)
    clock.now += 1
    assert breaker.allows(settings)
    by_share = Breaker(clock)
    record(by_share, "...x", settings)
    assert by_share.is_open


def test_one_probe_an_interval_goes_through(breaker: Breaker, clock: Clock) -> None:
    record(breaker, "xxxxx")
    allowed = []
    for _ in range(10):
        clock.now += 1
        allowed.append(breaker.allows(SETTINGS))
    assert allowed == [False, False, True, False, False, True, False, False, True, False]


def test_a_probe_that_fails_keeps_it_open_and_one_that_succeeds_closes_it(breaker: Breaker, clock: Clock) -> None:
    record(breaker, "xxxxx")
    clock.now += 3
    assert breaker.allows(SETTINGS)
    record(breaker, "x")
    assert is_open(breaker)
    clock.now += 3
    assert breaker.allows(SETTINGS)
    record(breaker, ".")
    assert not is_open(breaker)
    assert all(breaker.allows(SETTINGS) for _ in range(3))


def test_it_closes_with_a_clean_record(breaker: Breaker) -> None:
    record(breaker, "xxxxx.")
    record(breaker, "xxxx")
    assert not is_open(breaker)


def test_calls_from_before_it_opened_are_no_news(breaker: Breaker) -> None:
    early = breaker.era
    record(breaker, "xxxxx")
    breaker.succeeded(early, SETTINGS)
    assert is_open(breaker)
    record(breaker, ".")
    for _ in range(5):
        breaker.failed(early, SETTINGS)
    assert not is_open(breaker)


def test_a_smaller_window_takes_effect_at_once(breaker: Breaker) -> None:
    record(breaker, "." * 20)
    record(breaker, "xx.xx", BreakerSettings(window=5))
    assert breaker.is_open
