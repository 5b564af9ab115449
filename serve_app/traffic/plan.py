"""Who is asked for one request, in which order and for how long. Pure; called by `traffic.dispatch`."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from serve_app.backends.protocol import Reason
from serve_app.schemas import Backend, other
from serve_app.settings import TrafficPolicy


class BackendState(NamedTuple):
    """What the router knows of a backend when a request arrives.

    `is_open` is its breaker's state. `admits` says whether a call may go there now: the breaker is closed, or a probe
    is due. `answers` is false while a call to it is overdue, and before its first answer. `is_barred`: its weights
    differ. `timeout_s` is what the next call is given before the other backend is asked.
    """

    is_ready: bool = True
    is_open: bool = False
    admits: bool = True
    has_place: bool = True
    answers: bool = True
    is_barred: bool = False
    timeout_s: float = math.inf

    @property
    def is_stuck(self) -> bool:
        """Whether calls that do not come back hold its places: it is broken. With answers it would only be busy."""
        return not self.has_place and not self.answers


class Attempt(NamedTuple):
    """One call to a backend: at most `seconds` long.

    `may_wait` lets it wait for a replica that is being replaced. `is_probe` tests whether an open breaker can close.
    """

    backend: Backend
    seconds: float
    may_wait: bool = True
    is_probe: bool = False


class Plan(NamedTuple):
    """The attempts in order. The first success answers. `passed_over` is why the assigned backend is not first.

    Without attempts, it is why nobody is asked: `breaker_open`, or `queue_full` where no place is free.
    """

    attempts: tuple[Attempt, ...]
    passed_over: Reason | None = None


def plan(
    assigned: Backend,
    policy: TrafficPolicy,
    states: Mapping[Backend, BackendState],
    time_left_s: float,
    forced: bool = False,
) -> Plan:
    """Plan one request. It stays with the assigned backend if it is forced or the other one may not answer for it."""
    own, rescuer = states[assigned], states[other(assigned)]
    if forced or not _may_rescue(other(assigned), rescuer, policy):
        return _alone(assigned, own, time_left_s)
    passed_over = _why_passed_over(own, rescuer)
    first, last = (assigned, other(assigned)) if passed_over is None else (other(assigned), assigned)
    if not states[first].has_place:
        return Plan((), "queue_full")
    attempts = (
        Attempt(
            first,
            _seconds_for_first(states[first], states[last], policy, time_left_s),
            may_wait=not states[last].is_ready,  # there is nobody to leave for
            is_probe=passed_over is None and own.is_open,
        ),
        # Also a backend that was passed over is asked in the end: its replica may be back by then.
        Attempt(last, time_left_s),
    )
    return Plan(attempts, passed_over)


def _may_rescue(name: Backend, state: BackendState, policy: TrafficPolicy) -> bool:
    """Torch, the incumbent, answers for ONNX at any share. ONNX at share 0 answers for nobody, unless told `always`."""
    if not policy.fallback or state.is_barred:
        return False
    return name == "torch" or policy.fallback == "always" or policy.onnx_fraction > 0


def _alone(assigned: Backend, own: BackendState, time_left_s: float) -> Plan:
    # While it is down, its breaker tells of a replica that is gone: the request waits for the next one.
    if own.is_ready and not own.admits:
        return Plan((), "breaker_open")
    if not own.has_place:
        return Plan((), "queue_full")
    return Plan((Attempt(assigned, time_left_s, is_probe=own.is_open and own.admits),))


def _why_passed_over(own: BackendState, rescuer: BackendState) -> Reason | None:
    # If neither is ready, waiting for a replica that is being replaced beats a refusal.
    if not own.is_ready and rescuer.is_ready:
        return "unavailable"
    if not own.admits:
        return "breaker_open"
    return "timeout" if own.is_stuck else None


def _seconds_for_first(first: BackendState, last: BackendState, policy: TrafficPolicy, time_left_s: float) -> float:
    """Some time is kept for the second attempt, as long as it can be expected to help."""
    if first.is_ready and not last.is_ready:
        return time_left_s
    if (last.is_open or last.is_stuck) and not first.is_open:
        return time_left_s / 2  # a slow answer beats a backend that keeps failing, but that one may be back
    # What a backend usually takes is no measure of the wait for its next replica.
    timeout_s = first.timeout_s if first.is_ready else policy.longest_attempt_s
    return min(timeout_s, policy.longest_attempt_s, time_left_s / 2)
