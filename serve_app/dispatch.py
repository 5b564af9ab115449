"""One request through the experiment: draw an arm, ask it, fall back once, account for it. Carried by the router."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Literal

from serve_app.backends import BackendClient, BackendFailure
from serve_app.breaker import Breaker
from serve_app.calls import Answer, Call
from serve_app.errors import BackendUnavailable, DeadlineExceeded, InvalidImage, Overloaded, ServingError, TooLarge
from serve_app.metrics import RouterMetrics
from serve_app.schemas import Backend, DetectionResult, other
from serve_app.settings import TrafficPolicy
from serve_app.traffic import BlockAssigner, sticky_assignment

logger = logging.getLogger("ray.serve")

Outcome = Literal["ok", "rescued", "invalid", "overloaded", "failed", "deadline", "cancelled"]
# An arm that is only busy is not broken, and a body that no transport takes is the client's: shutting the arm off
# would move the split instead of shedding load, or let one client close both arms.
_NOT_THE_ARMS_FAULT = {"queue_full", "message_too_large"}


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
            outcome = _outcome(error)
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._account(call, assigned, outcome, answer)

    def _assign(self, policy: TrafficPolicy, key: str | None) -> Backend:
        return sticky_assignment(policy, key) if key else self._blocks.assign(policy)

    async def _answer(self, call: Call, policy: TrafficPolicy, assigned: Backend) -> Answer:
        try:
            if policy.fallback and call.forced is None:
                return await self._answer_or_fall_back(call, policy, assigned)
            self._refuse_if_open(assigned, policy)
            result = await self._ask(assigned, call, policy, _time_left(call), last_resort=True)
            return Answer(result, assigned, assigned)
        except BackendFailure as failure:
            raise failure.error from failure

    async def _answer_or_fall_back(self, call: Call, policy: TrafficPolicy, assigned: Backend) -> Answer:
        rescuer = other(assigned)
        try:
            self._refuse_if_open(assigned, policy)
            self._refuse_if_down(assigned, rescuer)
            # Half of what is left at most, so that the other arm still has a chance.
            timeout_s = min(policy.arm_timeout_s, _time_left(call) / 2)
            return Answer(await self._ask(assigned, call, policy, timeout_s), assigned, assigned)
        except BackendFailure as first:
            self._metrics.fallback(assigned, first.reason)
            # Asked even if its breaker is open, for there is nothing left to lose.
            try:
                result = await self._ask(rescuer, call, policy, _time_left(call), last_resort=True)
                return Answer(result, assigned, rescuer)
            except BackendFailure as second:
                if second.reason == "timeout":
                    raise DeadlineExceeded("neither backend answered before the deadline") from second
                raise first from second

    def _refuse_if_open(self, name: Backend, policy: TrafficPolicy) -> None:
        if not self.breakers[name].allows(policy.breaker):
            raise BackendFailure("breaker_open", BackendUnavailable(f"{name} failed repeatedly and is left alone"))

    def _refuse_if_down(self, name: Backend, rescuer: Backend) -> None:
        # With nobody to take over, waiting for a replica that is being replaced is better than a refusal.
        if not self._backends[name].is_ready and self._backends[rescuer].is_ready:
            raise BackendFailure("unavailable", BackendUnavailable(f"{name} is not available"))

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

    def _account(self, call: Call, assigned: Backend, outcome: Outcome, answer: Answer | None) -> None:
        seconds = time.perf_counter() - call.arrived
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
            logger.info("detect", extra={**fields, "milliseconds": round(seconds * 1e3, 3), "stages": milliseconds})


def _is_the_arms_fault(failure: BackendFailure, timeout_s: float, policy: TrafficPolicy) -> bool:
    if failure.reason == "timeout":
        # A client in a hurry says nothing about the arm: only who had a fair part of the usual time does.
        return timeout_s >= min(policy.arm_timeout_s, policy.deadline_s / 2) / 2
    return failure.reason not in _NOT_THE_ARMS_FAULT


def _time_left(call: Call) -> float:
    left = call.deadline - time.perf_counter()
    if left <= 0:
        raise DeadlineExceeded("the deadline passed before a backend could be asked")
    return left


def _outcome(error: ServingError) -> Outcome:
    match error:
        case InvalidImage() | TooLarge():
            return "invalid"
        case Overloaded():
            return "overloaded"
        case DeadlineExceeded():
            return "deadline"
        case _:
            return "failed"
