"""What goes over the wire, when requests are due, and which of them a window's figures are made of."""

import pytest

from bench.load.plan import NO_ANSWER, OK, Answer, Load, Outcome, Sent, Span, arrivals

SPAN = Span(lead=1.0, counted=2.0)
PROBLEM = {"content-type": "application/problem+json", "retry-after": "1"}


def counted(load: Load, *sent: Sent) -> list[Sent]:
    """Of a window that began at 100 s."""
    return Outcome(100.0, sent, 0.0).counted(load, SPAN)


def test_arrivals_are_evenly_spaced_and_end_before_the_window_does() -> None:
    assert arrivals(4, 1.0) == [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize(("rate", "seconds"), [(0.1, 3), (3, 0.7), (49.7, 2.8)])
def test_the_rate_is_kept_to_the_last_request(rate: float, seconds: float) -> None:
    due = arrivals(rate, seconds)
    assert due[-1] < seconds <= due[-1] + 1 / rate + 1e-9


def test_a_closed_loop_counts_what_ended_inside() -> None:
    early, inside, late = Sent(100.0, 100.9, OK), Sent(100.9, 101.5, OK), Sent(102.5, 103.1, OK)
    assert counted(Load.closed(1), early, inside, late) == [inside]


def test_an_open_loop_counts_what_was_due_inside_however_late_it_was_answered() -> None:
    lead_in, late = Sent(100.9, 101.5, OK), Sent(102.9, 130.0, OK)
    assert counted(Load.open("half", 10), lead_in, late) == [late]


def test_loads_have_names_for_the_table() -> None:
    assert [Load.closed(1).name, Load.closed(8).name] == ["1 client", "8 clients"]
    assert Load.open("half", 10).is_open
    assert not Load.closed(1).is_open


def test_a_record_says_who_answered() -> None:
    sent = Sent.read(1.0, 1.5, Answer(200, {}, b'{"assigned": "onnx", "backend": "torch"}'))
    assert sent == Sent(1.0, 1.5, 200, "onnx", "torch")
    assert sent.seconds == 0.5


def test_a_refusal_is_documented_if_it_is_a_problem_with_a_code() -> None:
    refused = Sent.read(0, 1, Answer(503, PROBLEM, b'{"code": "overloaded"}'))
    assert (refused.problem, refused.retry_after) == (True, True)
    assert not Sent.read(0, 1, Answer(503, PROBLEM, b"{}")).problem
    assert not Sent.read(0, 1, Answer(503, {}, b'{"code": "overloaded"}')).problem


@pytest.mark.parametrize("body", [b"", b"Internal Server Error", b"[1]", b"\xff"])
def test_an_answer_that_is_no_json_object_has_no_backend(body: bytes) -> None:
    assert Sent.read(0, 1, Answer(500, {}, body)) == Sent(0, 1, 500)


def test_no_answer_is_status_0() -> None:
    assert Sent.read(0, 1, Answer()).status == NO_ANSWER
