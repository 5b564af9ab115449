"""The two rooms of a router: both bounded, slow senders taking nothing from those who could be answered."""

from contextlib import ExitStack

import pytest

from serve_app.errors import Overloaded
from serve_app.http.admission import Admission
from serve_app.settings import TrafficPolicy

POLICY = TrafficPolicy(max_inflight=2, max_uploads=3)


class Refusals:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def refusals() -> Refusals:
    return Refusals()


@pytest.fixture
def admission(refusals: Refusals) -> Admission:
    return Admission(refusals)


def test_the_next_request_over_the_limit_is_refused_and_counted(admission: Admission, refusals: Refusals) -> None:
    with admission.admit(POLICY), admission.admit(POLICY):
        with pytest.raises(Overloaded, match="2 requests are under way, the limit is 2"), admission.admit(POLICY):
            pass
        assert refusals.count == 1
    with admission.admit(POLICY):
        assert refusals.count == 1


def test_bodies_have_a_limit_of_their_own(admission: Admission) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(admission.receive(POLICY))
        with pytest.raises(Overloaded, match="3 bodies"), admission.receive(POLICY):
            pass
        with admission.admit(POLICY):
            pass


def test_no_body_is_received_that_nobody_could_answer(admission: Admission, refusals: Refusals) -> None:
    with admission.admit(POLICY), admission.admit(POLICY):
        with pytest.raises(Overloaded), admission.receive(POLICY):
            pass
        assert refusals.count == 1


def test_a_place_is_given_back_whatever_happens_in_it(admission: Admission) -> None:
    for room in (admission.admit, admission.receive):
        for _ in range(5):
            with pytest.raises(ZeroDivisionError), room(POLICY):
                raise ZeroDivisionError
    with admission.receive(POLICY), admission.admit(POLICY):
        pass
