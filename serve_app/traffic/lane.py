"""The way to one backend: its places, its breaker, and what it usually takes. Used by `traffic.dispatch`."""

import asyncio
import time
from collections.abc import Callable

from serve_app.backends.protocol import BackendClient, BackendFailure
from serve_app.errors import Overloaded, RefusedImage
from serve_app.schemas import Call, DetectionResult
from serve_app.settings import TrafficPolicy
from serve_app.traffic.breaker import Breaker, Trial
from serve_app.traffic.plan import Attempt, BackendState
from serve_app.traffic.usual import Usual

# A full queue means busy, not broken: leaving the backend alone would move the split instead of shedding load. A body
# that is too large for the transport is the client's: it could open the breakers of both backends.
_NEVER_THE_BACKENDS_FAULT = {"queue_full", "message_too_large"}
_ASLEEP_S = 0.1  # a timer that fires so late tells of a router that got no processor time, and heard nobody
_SHORTEST_TIMER_S = 0.001


class Lane:
    """The calls of one router replica to one backend, at most `max_inflight` at once.

    A call is overdue once the backend has answered nobody for `Usual.overdue_s`, counted from the call's begin. A queue
    that moves makes no call overdue, however long it is.
    """

    def __init__(self, client: BackendClient, breaker: Breaker, clock: Callable[[], float] = time.perf_counter) -> None:
        self.client, self.breaker, self.usual = client, breaker, Usual()
        self._clock = clock
        self._under_way: dict[Trial, asyncio.TimerHandle] = {}
        self._heard = 0.0  # when the backend last answered, or began to have work
        self._probe_factor = 1.0

    def state(self, policy: TrafficPolicy, time_left_s: float) -> BackendState:
        """What a request needs to know that arrives now and may take `time_left_s` seconds."""
        timeout_s = self.timeout_s(policy)
        # A client too hurried for any answer would use up the probe and learn nothing.
        in_time = min(timeout_s, time_left_s / 2) >= self.usual.least_s
        return BackendState(
            is_ready=self.client.is_ready,
            is_open=self.breaker.is_open,
            admits=self.breaker.admits and (in_time or not self.breaker.is_open),
            has_place=len(self._under_way) < policy.max_inflight,
            answers=self.usual.is_known and not any(trial.has_failed for trial in self._under_way),
            timeout_s=timeout_s,
        )

    def timeout_s(self, policy: TrafficPolicy) -> float:
        """The time for the next call before the other backend is asked."""
        timeout_s = self.usual.timeout_s(policy, self._ahead(policy))
        if self.breaker.is_open:  # each probe that was cut off doubles the next: the backend may have become slower
            timeout_s *= self._probe_factor
        return min(timeout_s, policy.longest_attempt_s)

    async def detect(self, attempt: Attempt, call: Call, policy: TrafficPolicy) -> DetectionResult:
        """Make one call and learn from its end. Raises what BackendClient.detect does, queue_full without a place."""
        if len(self._under_way) >= policy.max_inflight:
            raise BackendFailure("queue_full", Overloaded(f"every place at {self.client.name} is taken (max_inflight)"))
        ahead, was_ready, began = len(self._under_way), self.client.is_ready, self._clock()
        fair_s = self.usual.fair_s(policy, self._ahead(policy))
        if not ahead:
            self._heard = began
        trial = self.breaker.begin(policy.breaker, attempt.is_probe)
        self._look_again(trial, began, policy, self.usual.overdue_s(policy))
        try:
            result = await self.client.detect(call.data, call.options, attempt.seconds, may_wait=attempt.may_wait)
        except BackendFailure as failure:
            if failure.reason == "timeout":
                self._timed_out(trial, is_fair=attempt.seconds >= fair_s)
            elif failure.reason not in _NEVER_THE_BACKENDS_FAULT:
                trial.failed()
            raise
        except RefusedImage:  # however long it took to find out: neither works the engine, nor does it fail
            trial.has_failed = False
            raise
        else:
            trial.answered()
            self._heard, self._probe_factor = self._clock(), 1.0
            if was_ready:  # else most of the time was the wait for a replica
                work_s = sum(value for stage, value in result.stages.items() if stage != "queue")
                self.usual.answered(self._heard - began, ahead, work_s)
            return result
        finally:
            self._under_way.pop(trial).cancel()
            trial.end()

    def _ahead(self, policy: TrafficPolicy) -> int:
        """How many calls the next one has to wait for: none of those that a silent backend holds."""
        silent_s = self._clock() - self._heard
        return 0 if silent_s >= self.usual.overdue_s(policy) else len(self._under_way)

    def _look_again(self, trial: Trial, began: float, policy: TrafficPolicy, after_s: float) -> None:
        """Look after that time whether a call is overdue."""
        loop = asyncio.get_running_loop()
        due = loop.time() + max(after_s, _SHORTEST_TIMER_S)
        self._under_way[trial] = loop.call_at(due, self._look, trial, began, policy, due)

    def _look(self, trial: Trial, began: float, policy: TrafficPolicy, due: float) -> None:
        now = self._clock()
        slept = asyncio.get_running_loop().time() - due > _ASLEEP_S
        if slept or not self.client.is_ready:  # to wait for the next replica says nothing about it
            self._heard = now
        left_s = max(began, self._heard) + self.usual.overdue_s(policy) - now
        if left_s > 0:
            self._look_again(trial, began, policy, left_s)
        else:
            trial.failed()

    def _timed_out(self, trial: Trial, is_fair: bool) -> None:
        if not self.client.is_ready:
            return
        if trial.is_probe:  # spent, also by a client in a hurry: the next one would fare no better
            self._probe_factor *= 2
            trial.failed()
        elif is_fair:
            trial.failed()
