"""What a backend usually takes: how the estimate follows its answers, and which limits follow from it."""

import pytest

from serve_app.settings import TrafficPolicy
from serve_app.traffic.usual import Usual

AUTO = TrafficPolicy()


def after(*answers: float, ahead: int = 0, work_s: float = 0.0) -> Usual:
    """What is known after these answers, in seconds."""
    usual = Usual()
    for seconds in answers:
        usual.answered(seconds, ahead, work_s)
    return usual


def test_while_nothing_is_known_the_limits_are_the_most() -> None:
    usual = Usual()
    assert not usual.is_known
    assert (usual.timeout_s(AUTO, ahead=5), usual.overdue_s(AUTO), usual.least_s) == (10, 5, 0)
    assert usual.fair_s(AUTO, ahead=5) == 0.5
    short = TrafficPolicy(deadline_s=0.4)
    assert (usual.timeout_s(short, 0), usual.overdue_s(short), usual.fair_s(short)) == (0.2, 0.1, 0.1)


def test_the_estimate_is_tcps_of_a_round_trip() -> None:
    usual = after(0.8)
    assert usual.least_s == 0.8
    assert usual.overdue_s(AUTO) == pytest.approx(2 * (0.8 + 4 * 0.4))
    usual.answered(1.6, 0, 0)
    assert usual.least_s == pytest.approx(0.9)  # a mean over about eight
    assert usual.overdue_s(AUTO) == pytest.approx(2 * (0.9 + 4 * (0.4 * 3 / 4 + 0.8 / 4)))
    quicker = after(1.6, 0.8)
    assert quicker.overdue_s(AUTO) == pytest.approx(2 * (1.5 + 4 * (0.8 * 3 / 4 + 0.8 / 4)))


def test_steady_answers_leave_four_times_the_mean() -> None:
    usual = after(*[0.4] * 60)
    assert usual.timeout_s(AUTO, 0) == pytest.approx(1.6, rel=0.01)
    assert usual.overdue_s(AUTO) == pytest.approx(0.8, rel=0.01)
    assert usual.fair_s(AUTO) == pytest.approx(0.8, rel=0.01)


def test_quick_answers_leave_a_floor() -> None:
    usual = after(*[0.001] * 60)
    assert (usual.timeout_s(AUTO, 0), usual.overdue_s(AUTO), usual.fair_s(AUTO)) == (1, 0.5, 0.5)


def test_slow_answers_meet_the_most_that_a_call_may_take() -> None:
    usual = after(*[20.0] * 100)
    assert usual.timeout_s(AUTO, 0) == 10
    assert usual.timeout_s(TrafficPolicy(deadline_s=8), 0) == 4
    assert usual.overdue_s(AUTO) == pytest.approx(40, rel=0.01)
    assert usual.fair_s(AUTO) == 5  # cut off at 10 s each time, they count


def test_a_backend_that_becomes_slower_is_followed_within_one_answer() -> None:
    usual = after(*[0.1] * 60, 2.0)
    assert usual.timeout_s(AUTO, 0) > 2 * 2.0


def test_a_call_waits_for_those_ahead_of_it_too() -> None:
    usual = after(*[0.4] * 60)
    assert usual.timeout_s(AUTO, ahead=3) == pytest.approx(4 * 1.6, rel=0.01)
    assert usual.fair_s(AUTO, ahead=3) == pytest.approx(4 * 0.8, rel=0.01)
    assert usual.fair_s(AUTO, ahead=11) == pytest.approx(12 * 0.8, rel=0.01)  # the most is for one image
    assert after(*[20.0] * 100).fair_s(AUTO, ahead=1) == 2 * 5
    assert after(*[4.0] * 60, ahead=9).least_s == pytest.approx(0.4)


def test_an_image_takes_at_least_its_work_however_many_run_side_by_side() -> None:
    assert after(1.0, ahead=9, work_s=0.7).least_s == 0.7


def test_a_number_is_exact() -> None:
    ten, tenth = TrafficPolicy(arm_timeout_s=10), TrafficPolicy(arm_timeout_s=0.1)
    for usual in (Usual(), after(*[0.4] * 60)):
        assert [usual.timeout_s(policy, ahead=3) for policy in (ten, tenth)] == [10, 0.1]
    usual = after(*[0.4] * 60)
    assert usual.overdue_s(ten) == pytest.approx(0.8, rel=0.01)
    assert usual.fair_s(ten) == pytest.approx(0.8, rel=0.01)
    assert usual.fair_s(ten, ahead=11) == 5  # at most half of the number
    assert usual.fair_s(tenth) == 0.05
