"""The room for bodies: bounded, and closed while nobody could answer."""

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


def test_the_next_body_over_the_limit_is_refused_and_counted(admission: Admission, refusals: Refusals) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(admission.receive(POLICY, has_place=True))
        with pytest.raises(Overloaded, match="3 bodies are being received, the limit is 3"):
            stack.enter_context(admission.receive(POLICY, has_place=True))
        assert refusals.count == 1
    with admission.receive(POLICY, has_place=True):
        assert refusals.count == 1


def test_a_body_that_is_received_frees_its_own_place_and_no_other(admission: Admission) -> None:
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(admission.receive(POLICY, has_place=True))
        with admission.receive(POLICY, has_place=True):
            pass
        stack.enter_context(admission.receive(POLICY, has_place=True))
        with pytest.raises(Overloaded, match="3 bodies"), admission.receive(POLICY, has_place=True):
            pass


def test_a_lower_limit_holds_at_once(admission: Admission) -> None:
    lower = TrafficPolicy(max_inflight=2, max_uploads=2)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(admission.receive(POLICY, has_place=True))
        with pytest.raises(Overloaded, match="3 bodies are being received, the limit is 2"):
            stack.enter_context(admission.receive(lower, has_place=True))


def test_no_body_is_received_that_nobody_could_answer(admission: Admission, refusals: Refusals) -> None:
    with pytest.raises(Overloaded, match="under way, the limit is 2"), admission.receive(POLICY, has_place=False):
        pass
    assert refusals.count == 1


def test_a_place_is_given_back_whatever_happens_in_it(admission: Admission) -> None:
    for _ in range(5):
        with pytest.raises(ZeroDivisionError), admission.receive(POLICY, has_place=True):
            raise ZeroDivisionError
    with admission.receive(POLICY, has_place=True):
        pass
