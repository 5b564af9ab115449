"""When requests are due, and which of them a window's figures are made of."""

import pytest

from bench.serving.loads import OK, Load, Sent, Span, arrivals, counted

SPAN = Span(lead=1.0, counted=2.0)


def test_arrivals_are_evenly_spaced_and_end_before_the_window_does() -> None:
    assert arrivals(4, 1.0) == [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize(("rate", "seconds"), [(0.1, 3), (3, 0.7), (49.7, 2.8)])
def test_the_rate_is_kept_to_the_last_request(rate: float, seconds: float) -> None:
    due = arrivals(rate, seconds)
    assert due[-1] < seconds <= due[-1] + 1 / rate + 1e-9


def test_a_closed_loop_counts_what_ended_inside() -> None:
    early, inside, late = Sent(0.0, 0.9, OK), Sent(0.9, 1.5, OK), Sent(2.5, 3.1, OK)
    assert counted(Load.closed(1), SPAN, [early, inside, late]) == [inside]


def test_an_open_loop_counts_what_was_due_inside_however_late_it_was_answered() -> None:
    lead_in, late = Sent(0.9, 1.5, OK), Sent(2.9, 30.0, OK)
    assert counted(Load.open("half", 10), SPAN, [lead_in, late]) == [late]


def test_loads_have_names_for_the_table() -> None:
    assert [Load.closed(1).name, Load.closed(8).name] == ["1 client", "8 clients"]
    assert Load.open("half", 10).is_open
    assert not Load.closed(1).is_open
