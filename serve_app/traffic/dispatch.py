"""One request through the experiment: draw a backend, carry out the plan, account for it. Called by `http`."""

import asyncio
import time
from collections.abc import Callable, Mapping

from serve_app.backends.protocol import BackendFailure
from serve_app.errors import BackendUnavailable, DeadlineExceeded, Overloaded, ServingError
from serve_app.observability.metrics import RouterMetrics
from serve_app.schemas import Answer, Backend, Call
from serve_app.settings import TrafficPolicy
from serve_app.traffic import accounting
from serve_app.traffic.accounting import Outcome
from serve_app.traffic.lane import Lane
from serve_app.traffic.plan import Plan, plan
from serve_app.traffic.policy import PolicyInForce
from serve_app.traffic.split import Split
from serve_app.traffic.weights import why_barred


class Dispatcher:
    """Sends the requests of one router replica to the backends. All calls run on one event loop."""

    def __init__(
        self,
        policy: PolicyInForce,
        lanes: Mapping[Backend, Lane],
        metrics: RouterMetrics,
        clock: Callable[[], float] = time.perf_counter,
        split: Split | None = None,
    ) -> None:
        self._policy = policy
        self._lanes = lanes
        self._metrics = metrics
        self._clock = clock
        self._split = split or Split()

    @property
    def barred(self) -> str | None:
        """Why ONNX carries no traffic whatever its share, with the remedy; or None."""
        torch, onnx = (self._lanes[name].client.fingerprints for name in ("torch", "onnx"))
        return why_barred(self._policy.current, torch, onnx)

    def has_place(self, key: str | None, forced: Backend | None) -> bool:
        """Whether a request would find a place now at one of the backends that it may be assigned to."""
        policy, barred = self._policy.current, self.barred
        possible: set[Backend] = {forced or "torch"} if forced or barred else self._split.possible(policy, key)
        plans = (self._plan(name, policy, barred, policy.deadline_s, forced is not None) for name in possible)
        return any(planned.passed_over != "queue_full" for planned in plans)

    async def detect(self, call: Call) -> Answer:
        """Answer a request from its backend or, if that fails, from the other one, inside the deadline.

        Raises RefusedImage, DeadlineExceeded, or the assigned backend's error.
        """
        policy, barred = self._policy.current, self.barred
        assigned = call.forced or ("torch" if barred else self._split.assign(policy, call.key))
        fair_s = self._lanes[assigned].usual.fair_s(policy)
        answer: Answer | None = None
        outcome: Outcome = "failed"
        try:
            answer = await self._answer(call, policy, barred, assigned)
            outcome = "ok" if answer.backend == assigned else "rescued"
            return answer
        except ServingError as error:
            outcome = accounting.outcome_of(error, call, fair_s)
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            # The answer goes out first, and is counted and logged afterwards.
            asyncio.get_running_loop().call_soon(self._account, call, assigned, outcome, answer, self._clock())

    async def _answer(self, call: Call, policy: TrafficPolicy, barred: str | None, assigned: Backend) -> Answer:
        if barred and assigned == "onnx":  # somebody insists on it
            raise BackendUnavailable(barred)
        planned = self._plan(assigned, policy, barred, self._time_left(call), call.forced is not None)
        failures: list[BackendFailure] = []
        for attempt in planned.attempts:
            if attempt.backend != assigned:
                self._metrics.fallback(assigned, planned.passed_over or failures[-1].reason)
            seconds = min(attempt.seconds, self._time_left(call))
            try:
                result = await self._lanes[attempt.backend].detect(attempt._replace(seconds=seconds), call, policy)
                return Answer(result, assigned, attempt.backend)
            except BackendFailure as failure:
                failures.append(failure)
        raise error_of(planned, assigned, failures) from (failures[-1] if failures else None)

    def _plan(
        self, assigned: Backend, policy: TrafficPolicy, barred: str | None, time_left_s: float, forced: bool
    ) -> Plan:
        states = {name: lane.state(policy, time_left_s) for name, lane in self._lanes.items()}
        if barred:
            states["onnx"] = states["onnx"]._replace(is_barred=True)
        return plan(assigned, policy, states, time_left_s, forced)

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
    if not failures and planned.passed_over == "queue_full":
        return Overloaded(f"every place of {assigned} is taken (max_inflight)")
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
