"""The plan of a request as a table: who is asked, for how many of 20 seconds, waiting or not, as a probe or not."""

from typing import Any

import pytest

from serve_app.backends.protocol import Reason
from serve_app.schemas import Backend
from serve_app.settings import TrafficPolicy
from serve_app.traffic.plan import Attempt, BackendState, Plan, plan

READY = BackendState()
DOWN = BackendState(is_ready=False)
OPEN = BackendState(is_open=True, admits=False)  # its breaker is open
PROBE = BackendState(is_open=True, admits=True)  # its breaker is open, and a probe is due
DOWN_AND_OPEN = BackendState(is_ready=False, is_open=True, admits=False)
FULL = BackendState(has_place=False)  # busy: a place becomes free with the next answer
STUCK = BackendState(has_place=False, answers=False)  # calls that do not come back hold its places
NEW = BackendState(answers=False)  # it has not answered yet
SLOW = BackendState(timeout_s=30.0)  # its own estimate is over the limit
QUICK = BackendState(timeout_s=1.5)
DOWN_AND_QUICK = BackendState(is_ready=False, timeout_s=1.5)
DOWN_AND_PROBE = BackendState(is_ready=False, is_open=True, admits=True)

LEFT = 20.0
LIMIT = 4.0  # arm_timeout_s

#        own state       other's state   first   seconds  may_wait  is_probe  passed_over
TABLE = [
    (READY,          READY,          "own",   LIMIT,   False, False, None),
    (READY,          DOWN,           "own",   LEFT,    True,  False, None),
    (READY,          OPEN,           "own",   LEFT / 2, False, False, None),
    (READY,          PROBE,          "own",   LEFT / 2, False, False, None),
    (READY,          DOWN_AND_OPEN,  "own",   LEFT,    True,  False, None),
    (DOWN,           READY,          "other", LEFT,    True,  False, "unavailable"),
    (DOWN,           DOWN,           "own",   LIMIT,   True,  False, None),
    (DOWN,           OPEN,           "other", LEFT,    True,  False, "unavailable"),
    (DOWN,           PROBE,          "other", LEFT,    True,  False, "unavailable"),
    (DOWN,           DOWN_AND_OPEN,  "own",   LEFT / 2, True,  False, None),
    (OPEN,           READY,          "other", LEFT / 2, False, False, "breaker_open"),
    (OPEN,           DOWN,           "other", LEFT / 2, False, False, "breaker_open"),
    (OPEN,           OPEN,           "other", LIMIT,   False, False, "breaker_open"),
    (PROBE,          READY,          "own",   LIMIT,   False, True,  None),
    (PROBE,          DOWN,           "own",   LEFT,    True,  True,  None),
    (PROBE,          OPEN,           "own",   LIMIT,   False, True,  None),
    (PROBE,          PROBE,          "own",   LIMIT,   False, True,  None),
    (DOWN_AND_OPEN,  READY,          "other", LEFT,    True,  False, "unavailable"),
    (DOWN_AND_OPEN,  DOWN,           "other", LEFT / 2, True,  False, "breaker_open"),
    (DOWN_AND_PROBE, READY,          "other", LEFT,    True,  False, "unavailable"),
    (DOWN_AND_PROBE, DOWN,           "own",   LIMIT,   True,  True,  None),
    (STUCK,          READY,          "other", LEFT / 2, False, False, "timeout"),
    (STUCK,          DOWN,           "other", LEFT / 2, False, False, "timeout"),
    (READY,          STUCK,          "own",   LEFT / 2, False, False, None),
    (READY,          FULL,           "own",   LIMIT,   False, False, None),
    (NEW,            READY,          "own",   LIMIT,   False, False, None),
    (QUICK,          READY,          "own",   1.5,     False, False, None),
    (SLOW,           READY,          "own",   LIMIT,   False, False, None),
    (DOWN_AND_QUICK, DOWN,           "own",   LIMIT,   True,  False, None),
]  # fmt: skip


@pytest.mark.parametrize("assigned", ["torch", "onnx"])
@pytest.mark.parametrize(("own", "others", "first", "seconds", "may_wait", "is_probe", "passed_over"), TABLE)
def test_the_first_attempt(
    assigned: Backend,
    own: BackendState,
    others: BackendState,
    first: str,
    seconds: float,
    may_wait: bool,
    is_probe: bool,
    passed_over: Reason | None,
) -> None:
    rescuer: Backend = "onnx" if assigned == "torch" else "torch"
    policy = TrafficPolicy(onnx_fraction=0.5, arm_timeout_s=LIMIT)
    order = (assigned, rescuer) if first == "own" else (rescuer, assigned)
    assert plan(assigned, policy, {assigned: own, rescuer: others}, LEFT) == Plan(
        (Attempt(order[0], seconds, may_wait, is_probe), Attempt(order[1], LEFT)), passed_over
    )


@pytest.mark.parametrize("left", [0.5, 2.0, 7.9])
def test_the_first_of_two_has_at_most_half_of_the_time(left: float) -> None:
    planned = plan("onnx", TrafficPolicy(arm_timeout_s=LIMIT), {"torch": READY, "onnx": READY}, left)
    assert planned.attempts[0].seconds == left / 2


@pytest.mark.parametrize("assigned", ["torch", "onnx"])
@pytest.mark.parametrize("others", [READY, DOWN, OPEN, PROBE, STUCK])
def test_a_full_queue_is_busy_and_not_broken(assigned: Backend, others: BackendState) -> None:
    rescuer: Backend = "onnx" if assigned == "torch" else "torch"
    states: dict[Backend, BackendState] = {assigned: FULL, rescuer: others}
    assert plan(assigned, TrafficPolicy(onnx_fraction=0.5), states, LEFT) == Plan((), "queue_full")


@pytest.mark.parametrize("own", [OPEN, STUCK, DOWN])
def test_nobody_is_asked_where_the_only_one_who_could_answer_is_full(own: BackendState) -> None:
    states: dict[Backend, BackendState] = {"onnx": own, "torch": FULL}
    assert plan("onnx", TrafficPolicy(onnx_fraction=0.5), states, LEFT) == Plan((), "queue_full")


#        fallback  onnx_fraction  weights differ  may Torch answer for ONNX, ONNX for Torch
WHO_RESCUES = [
    (True,     0.0, False, True,  False),
    (True,     0.001, False, True, True),
    (True,     1.0, False, True,  True),
    ("always", 0.0, False, True,  True),
    ("always", 0.1, False, True,  True),
    (False,    0.0, False, False, False),
    (False,    0.5, False, False, False),
    (True,     0.5, True,  True,  False),
    ("always", 0.5, True,  True,  False),
]  # fmt: skip


@pytest.mark.parametrize("own", [READY, DOWN, PROBE, DOWN_AND_PROBE])
@pytest.mark.parametrize(("fallback", "fraction", "differ", "torch_rescues", "onnx_rescues"), WHO_RESCUES)
def test_who_may_answer_for_whom(
    own: BackendState, fallback: Any, fraction: float, differ: bool, torch_rescues: bool, onnx_rescues: bool
) -> None:
    policy = TrafficPolicy(fallback=fallback, onnx_fraction=fraction)

    def asked(assigned: Backend, states: dict[Backend, BackendState]) -> set[Backend]:
        return {attempt.backend for attempt in plan(assigned, policy, states, LEFT).attempts}

    ready = READY._replace(is_barred=differ)
    assert asked("onnx", {"onnx": own, "torch": READY}) == ({"onnx", "torch"} if torch_rescues else {"onnx"})
    assert asked("torch", {"torch": own, "onnx": ready}) == ({"onnx", "torch"} if onnx_rescues else {"torch"})


# Why nobody else may answer: it is forced, there is no fallback, or ONNX has no share.
ALONE = [
    ("onnx", 0.5, True, True),
    ("onnx", 0.5, False, True),
    ("onnx", 0.5, False, False),
    ("torch", 0.0, True, False),
]


@pytest.mark.parametrize(("assigned", "fraction", "fallback", "forced"), ALONE)
class TestWithNobodyElse:
    def plan(self, own: BackendState, others: BackendState, assigned: Backend, *how: Any) -> Plan:
        fraction, fallback, forced = how
        rescuer: Backend = "onnx" if assigned == "torch" else "torch"
        policy = TrafficPolicy(onnx_fraction=fraction, fallback=fallback)
        return plan(assigned, policy, {assigned: own, rescuer: others}, LEFT, forced)

    @pytest.mark.parametrize("own", [READY, DOWN, PROBE, DOWN_AND_PROBE, DOWN_AND_OPEN, QUICK])
    @pytest.mark.parametrize("others", [READY, DOWN, OPEN])
    def test_the_assigned_backend_has_all_the_time(
        self, own: BackendState, others: BackendState, assigned: Backend, fraction: float, fallback: bool, forced: bool
    ) -> None:
        planned = self.plan(own, others, assigned, fraction, fallback, forced)
        assert planned == Plan((Attempt(assigned, LEFT, may_wait=True, is_probe=own.is_open and own.admits),))

    def test_an_open_breaker_leaves_no_attempt(
        self, assigned: Backend, fraction: float, fallback: bool, forced: bool
    ) -> None:
        assert self.plan(OPEN, READY, assigned, fraction, fallback, forced) == Plan((), "breaker_open")

    @pytest.mark.parametrize("own", [FULL, STUCK])
    def test_nor_do_places_that_are_taken(
        self, own: BackendState, assigned: Backend, fraction: float, fallback: bool, forced: bool
    ) -> None:
        assert self.plan(own, READY, assigned, fraction, fallback, forced) == Plan((), "queue_full")
