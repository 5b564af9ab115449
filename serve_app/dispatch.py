"""One request through the experiment: draw an arm, ask it, fall back once, account for it. Carried by the router."""

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
# An arm that is only busy is not broken: shutting it off would move the split instead of shedding load.
_NOT_THE_ARMS_FAULT = {"queue_full", "breaker_open"}


class Dispatcher:
    """The experiment of one router replica. All calls run on one event loop."""

    def __init__(self, backends: Mapping[Backend, BackendClient], metrics: RouterMetrics) -> None:
        self.policy = TrafficPolicy()
        self.breakers: dict[Backend, Breaker] = {name: Breaker() for name in backends}
        self._backends = backends
        self._metrics = metrics
        self._blocks = BlockAssigner()
        self._inflight = 0

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Hold one of the router's places, or raise Overloaded at once."""
        if self._inflight >= self.policy.max_inflight:
            raise Overloaded(f"{self._inflight} requests are under way, the limit is {self.policy.max_inflight}")
        self._inflight += 1
        try:
            yield
        finally:
            self._inflight -= 1

    async def detect(self, call: Call) -> Answer:
        """Answer a request from its arm or, if that fails, from the other one, inside the deadline.

        Raises the client's own error (InvalidImage, TooLarge), DeadlineExceeded, or the assigned arm's error.
        """
        policy = self.policy
        assigned = call.forced or self._assign(policy, call.key)
        backend: Backend = assigned
        outcome: Outcome = "failed"
        result: DetectionResult | None = None
        try:
            result, backend = await self._ask_in_turn(call, policy, assigned)
            outcome = "ok" if backend == assigned else "rescued"
            return Answer(result, assigned, backend)
        except ServingError as error:
            outcome = _outcome(error)
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._account(call, assigned, backend, outcome, result)

    def _assign(self, policy: TrafficPolicy, key: str | None) -> Backend:
        return sticky_assignment(policy, key) if key else self._blocks.assign(policy)

    async def _ask_in_turn(
        self, call: Call, policy: TrafficPolicy, assigned: Backend
    ) -> tuple[DetectionResult, Backend]:
        deadline = call.arrived + min(policy.deadline_s, call.timeout_s or policy.deadline_s)
        may_fall_back = policy.fallback and call.forced is None
        try:
            return await self._ask(
                assigned, call, policy, self._first_timeout(policy, deadline, may_fall_back)
            ), assigned
        except BackendFailure as first:
            if not may_fall_back:
                raise first.error from first
            self._metrics.fallback(assigned, first.reason)
            try:
                return await self._ask(other(assigned), call, policy, _time_left(deadline)), other(assigned)
            except BackendFailure as second:
                if time.perf_counter() >= deadline:
                    raise DeadlineExceeded("neither backend answered before the deadline") from second
                raise first.error from second

    @staticmethod
    def _first_timeout(policy: TrafficPolicy, deadline: float, may_fall_back: bool) -> float:
        left = _time_left(deadline)
        # Half of what is left at most, so that the other arm still has a chance.
        return min(policy.arm_timeout_s, left / 2) if may_fall_back else left

    async def _ask(self, name: Backend, call: Call, policy: TrafficPolicy, timeout_s: float) -> DetectionResult:
        breaker = self.breakers[name]
        if not breaker.allows(policy.breaker):
            raise BackendFailure("breaker_open", BackendUnavailable(f"{name} failed repeatedly and is left alone"))
        try:
            result = await self._backends[name].detect(call.data, call.options, timeout_s)
        except BackendFailure as failure:
            if failure.reason not in _NOT_THE_ARMS_FAULT:
                breaker.failed(policy.breaker)
            raise
        breaker.succeeded(policy.breaker)
        return result

    def _account(
        self, call: Call, assigned: Backend, backend: Backend, outcome: Outcome, result: DetectionResult | None
    ) -> None:
        seconds = time.perf_counter() - call.arrived
        if call.forced is None:
            self._metrics.request(assigned, backend, outcome)
            if result is not None:
                self._metrics.answered(assigned, seconds)
                self._metrics.stages(backend, result.stages)
        if self.policy.log_requests:
            stages = {stage: round(value * 1e3, 3) for stage, value in result.stages.items()} if result else {}
            fields = {"assigned": assigned, "backend": backend, "outcome": outcome, "forced": call.forced is not None}
            logger.info("detect", extra={**fields, "milliseconds": round(seconds * 1e3, 3), "stages": stages})


def _time_left(deadline: float) -> float:
    left = deadline - time.perf_counter()
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
