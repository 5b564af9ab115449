"""One request through the experiment: draw a backend, carry out the plan, account for it. Called by `http`."""

import asyncio
import time
from collections.abc import Callable, Mapping

from serve_app.backends.protocol import BackendClient, BackendFailure
from serve_app.errors import BackendUnavailable, DeadlineExceeded, ServingError
from serve_app.observability.metrics import RouterMetrics
from serve_app.schemas import Answer, Backend, Call, DetectionResult
from serve_app.settings import TrafficPolicy
from serve_app.traffic import accounting
from serve_app.traffic.accounting import Outcome
from serve_app.traffic.breaker import Breaker
from serve_app.traffic.plan import Attempt, BackendState, Plan, plan
from serve_app.traffic.policy import PolicyInForce
from serve_app.traffic.split import Split


class Dispatcher:
    """Sends the requests of one router replica to the backends. All calls run on one event loop."""

    def __init__(
        self,
        policy: PolicyInForce,
        backends: Mapping[Backend, BackendClient],
        breakers: Mapping[Backend, Breaker],
        metrics: RouterMetrics,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._policy = policy
        self._backends = backends
        self._breakers = breakers
        self._metrics = metrics
        self._clock = clock
        self._split = Split()

    async def detect(self, call: Call) -> Answer:
        """Answer a request from its backend or, if that fails, from the other one, inside the deadline.

        Raises the client's own error (InvalidImage, TooLarge, UnsupportedMediaType), DeadlineExceeded, or the
        assigned backend's error.
        """
        policy = self._policy.current
        assigned = call.forced or self._split.assign(policy, call.key)
        answer: Answer | None = None
        outcome: Outcome = "failed"
        try:
            answer = await self._answer(call, policy, assigned)
            outcome = "ok" if answer.backend == assigned else "rescued"
            return answer
        except ServingError as error:
            outcome = accounting.outcome_of(error, call, policy)
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            # The answer goes out first, and is counted and logged afterwards.
            asyncio.get_running_loop().call_soon(self._account, call, assigned, outcome, answer, self._clock())

    async def _answer(self, call: Call, policy: TrafficPolicy, assigned: Backend) -> Answer:
        states = {name: self._state(name) for name in self._backends}
        planned = plan(assigned, policy, states, self._time_left(call), forced=call.forced is not None)
        failures: list[BackendFailure] = []
        for attempt in planned.attempts:
            if attempt.backend != assigned:
                self._metrics.fallback(assigned, planned.passed_over or failures[-1].reason)
            try:
                return Answer(await self._carry_out(attempt, call, policy), assigned, attempt.backend)
            except BackendFailure as failure:
                failures.append(failure)
        raise error_of(planned, assigned, failures) from (failures[-1] if failures else None)

    def _state(self, name: Backend) -> BackendState:
        breaker = self._breakers[name]
        return BackendState(self._backends[name].is_ready, breaker.is_open, breaker.admits)

    async def _carry_out(self, attempt: Attempt, call: Call, policy: TrafficPolicy) -> DetectionResult:
        breaker = self._breakers[attempt.backend]
        if attempt.is_probe:
            breaker.start_probe(policy.breaker)
        generation = breaker.generation
        seconds = min(attempt.seconds, self._time_left(call))
        try:
            result = await self._backends[attempt.backend].detect(
                call.data, call.options, seconds, may_wait=attempt.may_wait
            )
        except BackendFailure as failure:
            if accounting.is_backends_fault(failure, seconds, policy):
                breaker.failed(generation, policy.breaker)
            raise
        breaker.succeeded(generation, policy.breaker)
        return result

    def _time_left(self, call: Call) -> float:
        left = call.deadline - self._clock()
        if left <= 0:
            raise DeadlineExceeded("the deadline passed before a backend answered")
        return left

    def _account(self, call: Call, assigned: Backend, outcome: Outcome, answer: Answer | None, ended: float) -> None:
        seconds = ended - call.arrived
        accounting.record(self._metrics, call, assigned, outcome, answer, seconds)
        if self._policy.current.log_requests:
            accounting.log(call, assigned, outcome, answer, seconds)


def error_of(planned: Plan, assigned: Backend, failures: list[BackendFailure]) -> ServingError:
    """What the client gets when every attempt of a plan failed: the assigned backend's error, or that time is over."""
    if not failures:  # a breaker is open, and nobody else may be asked
        return BackendUnavailable(f"{assigned} failed repeatedly and is left alone")
    earlier, later = failures[0], failures[-1]
    if len(failures) == 1:
        return later.error
    if later.reason == "timeout":
        return DeadlineExceeded("neither backend answered before the deadline")
    if planned.passed_over:
        return later.error
    if earlier.reason == "timeout":  # its own limit is over, the client's is not
        first, last = (attempt.backend for attempt in planned.attempts)
        return BackendUnavailable(f"{first} did not answer in time, and {last} failed")
    return earlier.error
