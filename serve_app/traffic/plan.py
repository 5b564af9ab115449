"""Who is asked for one request, in which order and for how long. Pure; called by `traffic.dispatch`."""

from collections.abc import Mapping
from typing import NamedTuple

from serve_app.backends.protocol import Reason
from serve_app.schemas import Backend, other
from serve_app.settings import TrafficPolicy


class BackendState(NamedTuple):
    """What the router knows of a backend when a request arrives.

    `is_open` is its breaker's state. `admits` says whether a call may go there now: the breaker is closed, or a probe
    is due.
    """

    is_ready: bool = True
    is_open: bool = False
    admits: bool = True


class Attempt(NamedTuple):
    """One call to a backend: at most `seconds` long.

    `may_wait` lets it wait for a replica that is being replaced. `is_probe` tests whether an open breaker can close.
    """

    backend: Backend
    seconds: float
    may_wait: bool = True
    is_probe: bool = False


class Plan(NamedTuple):
    """The attempts in order. The first success answers. `passed_over` is why the assigned backend is not first."""

    attempts: tuple[Attempt, ...]
    passed_over: Reason | None = None


def plan(
    assigned: Backend,
    policy: TrafficPolicy,
    states: Mapping[Backend, BackendState],
    time_left_s: float,
    forced: bool = False,
) -> Plan:
    """Plan one request. A forced request, and any request without `fallback`, stays with the assigned backend."""
    own = states[assigned]
    if forced or not policy.fallback:
        if not own.admits:
            return Plan((), "breaker_open")
        return Plan((Attempt(assigned, time_left_s, is_probe=own.is_open),))
    passed_over = _why_passed_over(own, states[other(assigned)])
    first, last = (assigned, other(assigned)) if passed_over is None else (other(assigned), assigned)
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


def _why_passed_over(own: BackendState, rescuer: BackendState) -> Reason | None:
    # If neither is ready, waiting for a replica that is being replaced beats a refusal.
    if not own.is_ready and rescuer.is_ready:
        return "unavailable"
    return None if own.admits else "breaker_open"


def _seconds_for_first(first: BackendState, last: BackendState, policy: TrafficPolicy, time_left_s: float) -> float:
    """Some time is kept for the second attempt, as long as it can be expected to help."""
    if first.is_ready and not last.is_ready:
        return time_left_s
    if last.is_open and not first.is_open:
        return time_left_s / 2  # a slow answer beats a backend that keeps failing, but that one may be back
    return min(policy.arm_timeout_s, time_left_s / 2)
