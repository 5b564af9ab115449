"""The plan of a request as a table: who is asked, for how many of 20 seconds, waiting or not, as a probe or not."""

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
    policy = TrafficPolicy(arm_timeout_s=LIMIT)
    order = (assigned, rescuer) if first == "own" else (rescuer, assigned)
    assert plan(assigned, policy, {assigned: own, rescuer: others}, LEFT) == Plan(
        (Attempt(order[0], seconds, may_wait, is_probe), Attempt(order[1], LEFT)), passed_over
    )


@pytest.mark.parametrize("left", [0.5, 2.0, 7.9])
def test_the_first_of_two_has_at_most_half_of_the_time(left: float) -> None:
    planned = plan("onnx", TrafficPolicy(arm_timeout_s=LIMIT), {"torch": READY, "onnx": READY}, left)
    assert planned.attempts[0].seconds == left / 2


@pytest.mark.parametrize(("forced", "fallback"), [(True, True), (True, False), (False, False)])
@pytest.mark.parametrize("state", [READY, DOWN, PROBE, DOWN_AND_PROBE])
@pytest.mark.parametrize("others", [READY, DOWN, OPEN])
def test_with_nobody_to_fall_back_to_the_assigned_backend_has_all_the_time(
    forced: bool, fallback: bool, state: BackendState, others: BackendState
) -> None:
    planned = plan("onnx", TrafficPolicy(fallback=fallback), {"torch": others, "onnx": state}, LEFT, forced)
    assert planned == Plan((Attempt("onnx", LEFT, may_wait=True, is_probe=state.is_open),))


@pytest.mark.parametrize(("forced", "fallback"), [(True, True), (False, False)])
def test_with_nobody_to_fall_back_to_an_open_breaker_leaves_no_attempt(forced: bool, fallback: bool) -> None:
    states: dict[Backend, BackendState] = {"torch": READY, "onnx": OPEN}
    planned = plan("onnx", TrafficPolicy(fallback=fallback), states, LEFT, forced)
    assert planned == Plan((), "breaker_open")
