"""The way to one backend: its places, its breaker, and what it usually takes. Used by `traffic.dispatch`."""

import asyncio
import time
from collections.abc import Callable

from serve_app.backends.protocol import BackendClient, BackendFailure
from serve_app.errors import Overloaded
from serve_app.schemas import Call, DetectionResult
from serve_app.settings import TrafficPolicy
from serve_app.traffic.breaker import Breaker, Trial
from serve_app.traffic.plan import Attempt, BackendState
from serve_app.traffic.usual import Usual

# A full queue means busy, not broken: leaving the backend alone would move the split instead of shedding load. A body
# that is too large for the transport is the client's: it could open the breakers of both backends.
_NEVER_THE_BACKENDS_FAULT = {"queue_full", "message_too_large"}


class Lane:
    """The calls of one router replica to one backend, at most `max_inflight` at once."""

    def __init__(
        self, client: BackendClient, breaker: Breaker, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.client, self.breaker, self.usual = client, breaker, Usual()
        self._clock = clock
        self._under_way: list[Trial] = []
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
        timeout_s = self.usual.timeout_s(policy, len(self._under_way))
        if self.breaker.is_open:  # each probe that was cut off doubles the next: the backend may have become slower
            timeout_s *= self._probe_factor
        return min(timeout_s, policy.longest_attempt_s)

    async def detect(self, attempt: Attempt, call: Call, policy: TrafficPolicy) -> DetectionResult:
        """Make one call and learn from its end. Raises what BackendClient.detect does, queue_full without a place."""
        ahead = len(self._under_way)
        if ahead >= policy.max_inflight:
            raise BackendFailure("queue_full", Overloaded(f"every place at {self.client.name} is taken"))
        overdue_s, fair_s = self.usual.overdue_s(policy, ahead), self.usual.fair_s(policy, ahead)
        was_ready, began = self.client.is_ready, self._clock()
        trial = self.breaker.begin(policy.breaker, attempt.is_probe)
        self._under_way.append(trial)
        timer = asyncio.get_running_loop().call_later(overdue_s, self._count_overdue, trial)
        try:
            result = await self.client.detect(call.data, call.options, attempt.seconds, may_wait=attempt.may_wait)
        except BackendFailure as failure:
            if failure.reason == "timeout":
                self._timed_out(trial, is_fair=attempt.seconds >= fair_s)
            elif failure.reason not in _NEVER_THE_BACKENDS_FAULT:
                trial.failed()
            raise
        else:
            trial.answered()
            self._probe_factor = 1.0
            if was_ready:  # else most of the time was the wait for a replica
                work_s = sum(value for stage, value in result.stages.items() if stage != "queue")
                self.usual.answered(self._clock() - began, ahead, work_s)
            return result
        finally:
            timer.cancel()
            self._under_way.remove(trial)
            trial.end()

    def _count_overdue(self, trial: Trial) -> None:
        if self.client.is_ready:  # else the call waits for a replica, which says nothing about the next one
            trial.failed()

    def _timed_out(self, trial: Trial, is_fair: bool) -> None:
        if not self.client.is_ready:
            return
        if trial.is_probe:  # spent, also by a client in a hurry: the next one would fare no better
            self._probe_factor *= 2
            trial.failed()
        elif is_fair:
            trial.failed()
