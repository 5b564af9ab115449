"""A circuit breaker: leaves a backend alone after repeated failures, and probes it from time to time.

One per backend and router replica. Read by `traffic.plan` through its state, told the results by `traffic.lane`.
"""

import time
from collections import deque
from collections.abc import Callable

from serve_app.settings import BreakerSettings


class Breaker:
    """Closed while the backend works. Open after a run of failures, or when too many of the latest calls failed.

    `_generation` counts how often it opened. A result counts only in the generation in which its call began: a call
    from before the breaker opened says nothing about the backend since then.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._latest: deque[bool] = deque()
        self._run = 0
        self._generation = 0
        self._next_probe = 0.0
        self._is_probing = False
        self.is_open = False

    @property
    def admits(self) -> bool:
        """Whether a call may go to the backend now: the breaker is closed, or a probe is due and none is under way."""
        return not self.is_open or (not self._is_probing and self._clock() >= self._next_probe)

    def begin(self, settings: BreakerSettings, is_probe: bool = False) -> "Trial":
        """A call to the backend begins. It must be ended with `Trial.end`."""
        if is_probe:
            self._is_probing = True
            self._next_probe = self._clock() + settings.probe_interval_s
        return Trial(self, settings, self._generation, is_probe)

    def _answered(self, generation: int, settings: BreakerSettings) -> None:
        if generation != self._generation:
            return
        if self.is_open:
            self.is_open = False
            self._latest.clear()
        self._run = 0
        self._remember(True, settings)

    def _failed(self, generation: int, settings: BreakerSettings) -> None:
        if generation != self._generation or self.is_open:
            return
        self._run += 1
        self._remember(False, settings)
        full = len(self._latest) == settings.window
        too_many = full and self._latest.count(False) > settings.failure_share * settings.window
        if self._run >= settings.consecutive_failures or too_many:
            self._open(settings)

    def _end_probe(self, generation: int, spent: bool) -> None:
        if generation != self._generation:
            return
        self._is_probing = False
        if not spent:  # it said nothing: the next call may try at once
            self._next_probe = self._clock()

    def _open(self, settings: BreakerSettings) -> None:
        self.is_open, self._is_probing = True, False
        self._generation += 1
        self._next_probe = self._clock() + settings.probe_interval_s

    def _remember(self, ok: bool, settings: BreakerSettings) -> None:
        self._latest.append(ok)
        while len(self._latest) > settings.window:
            self._latest.popleft()


class Trial:
    """One call as its breaker sees it. A call of which neither verdict is told says nothing about the backend."""

    def __init__(self, breaker: Breaker, settings: BreakerSettings, generation: int, is_probe: bool) -> None:
        self._breaker, self._settings, self._generation = breaker, settings, generation
        self.is_probe = is_probe
        self.has_failed = False

    def answered(self) -> None:
        """The backend answered, late or not; an open breaker closes with a clean record."""
        self._breaker._answered(self._generation, self._settings)

    def failed(self) -> None:
        """The call failed through the backend's fault, or is overdue. Both together count once."""
        if not self.has_failed:
            self.has_failed = True
            self._breaker._failed(self._generation, self._settings)

    def end(self) -> None:
        """The call is over. A probe that said nothing is given back."""
        if self.is_probe:
            self._breaker._end_probe(self._generation, spent=self.has_failed)
