"""One request through the experiment: draw an arm, ask it, fall back once, account for it. Carried by the router."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Literal

from serve_app.backends.client import BackendClient, BackendFailure
from serve_app.calls import Answer, Call
from serve_app.errors import BackendUnavailable, DeadlineExceeded, InvalidImage, Overloaded, ServingError, TooLarge
from serve_app.observability.metrics import RouterMetrics
from serve_app.schemas import Backend, DetectionResult, other
from serve_app.settings import TrafficPolicy
from serve_app.traffic.breaker import Breaker
from serve_app.traffic.split import BlockAssigner, sticky_assignment

logger = logging.getLogger("ray.serve")

Outcome = Literal["ok", "rescued", "invalid", "overloaded", "failed", "deadline", "hurried", "cancelled"]
# An arm that is only busy is not broken, and a body that no transport takes is the client's: shutting the arm off
# would move the split instead of shedding load, or let one client close both arms.
_NOT_THE_ARMS_FAULT = {"queue_full", "message_too_large"}
# What Ray would otherwise do with each line: look up a dozen ids of its own, and send a copy around the cluster.
_THIN = {"skip_context_filter": True, "log_to_stderr": False}


class Dispatcher:
    """The experiment of one router replica. All calls run on one event loop."""

    def __init__(self, backends: Mapping[Backend, BackendClient], metrics: RouterMetrics) -> None:
        self.policy = TrafficPolicy()
        self.breakers: dict[Backend, Breaker] = {name: Breaker() for name in backends}
        self._backends = backends
        self._metrics = metrics
        self._blocks = BlockAssigner()

    async def detect(self, call: Call) -> Answer:
        """Answer a request from its arm or, if that fails, from the other one, inside the deadline.

        Raises the client's own error (InvalidImage, TooLarge), DeadlineExceeded, or the assigned arm's error.
        """
        policy = self.policy
        assigned = call.forced or self._assign(policy, call.key)
        answer: Answer | None = None
        outcome: Outcome = "failed"
        try:
            answer = await self._answer(call, policy, assigned)
            outcome = "ok" if answer.backend == assigned else "rescued"
            return answer
        except ServingError as error:
            outcome = _outcome(error, call, policy)
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            # The answer goes out first, and is then counted and logged.
            seconds = time.perf_counter() - call.arrived
            asyncio.get_running_loop().call_soon(self._account, call, assigned, outcome, answer, seconds)

    def _assign(self, policy: TrafficPolicy, key: str | None) -> Backend:
        return sticky_assignment(policy, key) if key else self._blocks.assign(policy)

    async def _answer(self, call: Call, policy: TrafficPolicy, assigned: Backend) -> Answer:
        try:
            if policy.fallback and call.forced is None:
                return await self._answer_or_fall_back(call, policy, assigned)
            if not self.breakers[assigned].allows(policy.breaker):
                raise _left_alone(assigned)
            result = await self._ask(assigned, call, policy, _time_left(call), last_resort=True)
            return Answer(result, assigned, assigned)
        except BackendFailure as failure:
            raise failure.error from failure

    async def _answer_or_fall_back(self, call: Call, policy: TrafficPolicy, assigned: Backend) -> Answer:
        rescuer = other(assigned)
        refusal = self._refusal(assigned, rescuer, policy)
        # An arm that was only passed over is still there if the rescuer fails: there is nothing left to lose then.
        first, last = (rescuer, assigned) if refusal else (assigned, rescuer)
        if refusal:
            self._metrics.fallback(assigned, refusal.reason)
        timeout_s = self._time_for(first, last, call, policy)
        alone = not self._backends[last].is_ready
        try:
            return Answer(await self._ask(first, call, policy, timeout_s, last_resort=alone), assigned, first)
        except BackendFailure as earlier:
            if not refusal:
                self._metrics.fallback(assigned, earlier.reason)
            try:
                result = await self._ask(last, call, policy, _time_left(call), last_resort=True)
                return Answer(result, assigned, last)
            except BackendFailure as later:
                if later.reason == "timeout":
                    raise DeadlineExceeded("neither backend answered before the deadline") from later
                if earlier.reason == "timeout" and not refusal:  # its own limit is over, the client's is not
                    raise BackendUnavailable(f"{first} did not answer in time, and {last} failed") from later
                raise (later if refusal else earlier) from later

    def _time_for(self, first: Backend, last: Backend, call: Call, policy: TrafficPolicy) -> float:
        """Seconds for the arm that is asked first: some are left for the other one, as long as there is one."""
        left = _time_left(call)
        if self._backends[first].is_ready and not self._backends[last].is_ready:
            return left
        if self.breakers[last].is_open and not self.breakers[first].is_open:
            return left / 2  # a slow answer is better than an arm that fails; but that one may be back
        return min(policy.arm_timeout_s, left / 2)

    def _refusal(self, assigned: Backend, rescuer: Backend, policy: TrafficPolicy) -> BackendFailure | None:
        """Why the assigned arm is passed over, if it is."""
        # With nobody to take over, waiting for a replica that is being replaced is better than a refusal.
        if not self._backends[assigned].is_ready and self._backends[rescuer].is_ready:
            return BackendFailure("unavailable", BackendUnavailable(f"{assigned} is not available"))
        # Asked last: a probe that is let through must reach its arm, or the arm, once back, waits for the next one.
        if not self.breakers[assigned].allows(policy.breaker):
            return _left_alone(assigned)
        return None

    async def _ask(
        self, name: Backend, call: Call, policy: TrafficPolicy, timeout_s: float, last_resort: bool = False
    ) -> DetectionResult:
        breaker = self.breakers[name]
        era = breaker.era
        try:
            result = await self._backends[name].detect(call.data, call.options, timeout_s, last_resort=last_resort)
        except BackendFailure as failure:
            if _is_the_arms_fault(failure, timeout_s, policy):
                breaker.failed(era, policy.breaker)
            raise
        breaker.succeeded(era, policy.breaker)
        return result

    def _account(self, call: Call, assigned: Backend, outcome: Outcome, answer: Answer | None, seconds: float) -> None:
        backend = answer.backend if answer else assigned
        stages = answer.result.stages if answer else {}
        if call.forced is None:
            self._metrics.request(assigned, backend, outcome)
            if answer is not None:
                self._metrics.answered(assigned, seconds)
                self._metrics.stages(backend, stages)
        if self.policy.log_requests:
            fields = {"assigned": assigned, "backend": backend, "outcome": outcome, "forced": call.forced is not None}
            milliseconds = {stage: round(value * 1e3, 3) for stage, value in stages.items()}
            extra = {"request_id": call.request_id, "milliseconds": round(seconds * 1e3, 3), "stages": milliseconds}
            logger.info("detect", extra=fields | extra | _THIN)


def _left_alone(name: Backend) -> BackendFailure:
    return BackendFailure("breaker_open", BackendUnavailable(f"{name} failed repeatedly and is left alone"))


def _is_the_arms_fault(failure: BackendFailure, timeout_s: float, policy: TrafficPolicy) -> bool:
    if failure.reason == "timeout":
        return timeout_s >= _fair_time(policy)
    return failure.reason not in _NOT_THE_ARMS_FAULT


def _fair_time(policy: TrafficPolicy) -> float:
    """Seconds below which a time-out says nothing about the arm: the client was in a hurry."""
    return min(policy.arm_timeout_s, policy.deadline_s / 2) / 2


def _time_left(call: Call) -> float:
    left = call.deadline - time.perf_counter()
    if left <= 0:
        raise DeadlineExceeded("the deadline passed before a backend answered")
    return left


def _outcome(error: ServingError, call: Call, policy: TrafficPolicy) -> Outcome:
    match error:
        case InvalidImage() | TooLarge():
            return "invalid"
        case Overloaded():
            return "overloaded"
        case DeadlineExceeded():
            return "deadline" if call.deadline - call.arrived >= _fair_time(policy) else "hurried"
        case _:
            return "failed"
