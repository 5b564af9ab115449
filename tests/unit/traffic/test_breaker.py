"""The breaker: when it opens, whom it lets through while open, and what closes it."""

from collections.abc import Callable

import pytest

from serve_app.settings import BreakerSettings
from serve_app.traffic.breaker import Breaker
from tests.unit.virtual_time import VirtualClock

SETTINGS = BreakerSettings()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def breaker(clock: VirtualClock) -> Breaker:
    return Breaker(clock)


def goes_through(breaker: Breaker, settings: BreakerSettings = SETTINGS) -> bool:
    """Whether a call goes to the backend now, as the dispatcher decides it. An open breaker's probe is then used up."""
    if not breaker.admits:
        return False
    if breaker.is_open:
        breaker.start_probe(settings)
    return True


def is_open(breaker: Breaker) -> bool:
    """Its state, without the type checker's belief that an attribute never changes."""
    return breaker.is_open


def record(breaker: Breaker, results: str, settings: BreakerSettings = SETTINGS) -> None:
    """Record one call per letter: `x` failed, anything else succeeded."""
    for letter in results:
        report: Callable[[int, BreakerSettings], None] = breaker.failed if letter == "x" else breaker.succeeded
        report(breaker.generation, settings)


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
    assert goes_through(breaker, SETTINGS) is not is_open


def test_all_three_numbers_come_from_the_settings(breaker: Breaker, clock: VirtualClock) -> None:
    settings = BreakerSettings(consecutive_failures=2, failure_share=0.1, window=4, probe_interval_s=60)
    record(breaker, "xx", settings)
    assert breaker.is_open
    clock.advance(59)
    assert not goes_through(breaker, settings)
    clock.advance(1)
    assert goes_through(breaker, settings)
    by_share = Breaker(clock)
    record(by_share, "...x", settings)
    assert by_share.is_open


def test_one_probe_an_interval_goes_through(breaker: Breaker, clock: VirtualClock) -> None:
    record(breaker, "xxxxx")
    allowed = []
    for _ in range(10):
        clock.advance(1)
        allowed.append(goes_through(breaker, SETTINGS))
    assert allowed == [False, False, True, False, False, True, False, False, True, False]


def test_a_failed_probe_keeps_it_open_and_a_successful_one_closes_it(breaker: Breaker, clock: VirtualClock) -> None:
    record(breaker, "xxxxx")
    clock.advance(3)
    assert goes_through(breaker, SETTINGS)
    record(breaker, "x")
    assert is_open(breaker)
    clock.advance(3)
    assert goes_through(breaker, SETTINGS)
    record(breaker, ".")
    assert not is_open(breaker)
    assert all(goes_through(breaker, SETTINGS) for _ in range(3))


def test_it_closes_with_a_clean_record(breaker: Breaker) -> None:
    record(breaker, "xxxxx.")
    record(breaker, "xxxx")
    assert not is_open(breaker)


def test_calls_from_before_it_opened_are_no_news(breaker: Breaker) -> None:
    early = breaker.generation
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
