"""The breaker: when it opens, whom it lets through while open, and what closes it."""

import pytest

from serve_app.settings import BreakerSettings
from serve_app.traffic.breaker import Breaker, Trial
from tests.unit.virtual_time import VirtualClock

SETTINGS = BreakerSettings()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def breaker(clock: VirtualClock) -> Breaker:
    return Breaker(clock)


def admits(breaker: Breaker) -> bool:
    """Whether a call may go there, without the type checker's belief that an attribute never changes."""
    return breaker.admits


def is_open(breaker: Breaker) -> bool:
    """Its state, likewise."""
    return breaker.is_open


def end(trial: Trial, result: str) -> None:
    """End a call: `x` failed, `.` answered, ` ` said nothing."""
    if result == "x":
        trial.failed()
    elif result == ".":
        trial.answered()
    trial.end()


def record(breaker: Breaker, results: str, settings: BreakerSettings = SETTINGS) -> None:
    """Record one call per letter."""
    for result in results:
        end(breaker.begin(settings), result)


def probe(breaker: Breaker, result: str, settings: BreakerSettings = SETTINGS) -> None:
    """Send the probe that is due."""
    assert admits(breaker)
    end(breaker.begin(settings, is_probe=True), result)


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
    assert admits(breaker) is not is_open


def test_all_three_numbers_come_from_the_settings(breaker: Breaker, clock: VirtualClock) -> None:
    settings = BreakerSettings(consecutive_failures=2, failure_share=0.1, window=4, probe_interval_s=60)
    record(breaker, "xx", settings)
    assert is_open(breaker)
    clock.advance(59)
    assert not admits(breaker)
    clock.advance(1)
    assert admits(breaker)
    by_share = Breaker(clock)
    record(by_share, "...x", settings)
    assert by_share.is_open


def test_one_probe_an_interval_goes_through(breaker: Breaker, clock: VirtualClock) -> None:
    record(breaker, "xxxxx")
    allowed = []
    for _ in range(10):
        clock.advance(1)
        allowed.append(admits(breaker))
        if allowed[-1]:
            probe(breaker, "x")
    assert allowed == [False, False, True, False, False, True, False, False, True, False]


def test_a_failed_probe_keeps_it_open_and_a_successful_one_closes_it(breaker: Breaker, clock: VirtualClock) -> None:
    record(breaker, "xxxxx")
    clock.advance(3)
    probe(breaker, "x")
    assert is_open(breaker)
    assert not admits(breaker)
    clock.advance(3)
    probe(breaker, ".")
    assert not is_open(breaker)
    assert admits(breaker)


def test_a_probe_that_said_nothing_is_given_back(breaker: Breaker, clock: VirtualClock) -> None:
    record(breaker, "xxxxx")
    clock.advance(3)
    for _ in range(30):
        probe(breaker, " ")
    assert is_open(breaker)
    probe(breaker, ".")
    assert not is_open(breaker)


def test_one_probe_at_a_time_however_long_it_lasts(breaker: Breaker, clock: VirtualClock) -> None:
    record(breaker, "xxxxx")
    clock.advance(3)
    under_way = breaker.begin(SETTINGS, is_probe=True)
    clock.advance(60)
    assert not admits(breaker)
    end(under_way, "x")
    assert admits(breaker)  # its interval is long over


def test_a_call_that_is_no_probe_ends_none(breaker: Breaker, clock: VirtualClock) -> None:
    record(breaker, "xxxxx")
    clock.advance(3)
    last_resort, under_way = breaker.begin(SETTINGS), breaker.begin(SETTINGS, is_probe=True)
    end(last_resort, " ")
    assert not admits(breaker)
    end(under_way, " ")
    assert admits(breaker)


def test_a_probe_from_before_it_opened_again_ends_no_later_one(breaker: Breaker, clock: VirtualClock) -> None:
    record(breaker, "xxxxx")
    clock.advance(3)
    early = breaker.begin(SETTINGS, is_probe=True)
    record(breaker, ".xxxxx")  # a last resort closed it meanwhile
    clock.advance(3)
    assert admits(breaker)
    later = breaker.begin(SETTINGS, is_probe=True)
    end(early, " ")
    assert not admits(breaker)
    end(later, ".")
    assert not is_open(breaker)


def test_a_call_fails_once(breaker: Breaker) -> None:
    for _ in range(4):
        trial = breaker.begin(SETTINGS)
        trial.failed()  # overdue
        end(trial, "x")
    assert not is_open(breaker)
    assert not breaker.begin(SETTINGS).has_failed


def test_a_late_answer_is_an_answer(breaker: Breaker) -> None:
    record(breaker, "xxxx")
    late = breaker.begin(SETTINGS)
    record(breaker, ".xxx")
    late.failed()
    end(late, ".")
    record(breaker, "xxxx")
    assert not is_open(breaker)


def test_it_closes_with_a_clean_record(breaker: Breaker) -> None:
    record(breaker, "xxxxx.")
    record(breaker, "xxxx")
    assert not is_open(breaker)


def test_nor_does_the_window_remember_what_opened_it(breaker: Breaker) -> None:
    record(breaker, "x." * 9 + "xx")
    assert is_open(breaker)
    record(breaker, ".x")  # with the 18 before them, they would be over half again
    assert not is_open(breaker)


def test_calls_from_before_it_opened_are_no_news(breaker: Breaker) -> None:
    early = [breaker.begin(SETTINGS) for _ in range(6)]
    record(breaker, "xxxxx")
    end(early.pop(), ".")
    assert is_open(breaker)
    record(breaker, ".")
    for trial in early:
        end(trial, "x")
    assert not is_open(breaker)


def test_a_shorter_run_takes_effect_at_once(breaker: Breaker) -> None:
    record(breaker, "xxxx")
    record(breaker, "x", BreakerSettings(consecutive_failures=2))
    assert breaker.is_open


def test_a_smaller_window_takes_effect_at_once(breaker: Breaker) -> None:
    record(breaker, "." * 20)
    record(breaker, "xx.xx", BreakerSettings(window=5))
    assert breaker.is_open
