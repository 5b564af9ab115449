"""A circuit breaker: leaves a backend alone after repeated failures, and probes it from time to time.

One per backend and router replica. Read by `traffic.plan` through its state, told the results by `traffic.dispatch`.
"""

import time
from collections import deque
from collections.abc import Callable

from serve_app.settings import BreakerSettings


class Breaker:
    """Closed while the backend works. Open after a run of failures, or when too many of the latest calls failed.

    `generation` counts how often it opened. A result is reported with the generation in which its call began: a call
    from before the breaker opened says nothing about the backend since then.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._latest: deque[bool] = deque()
        self._run = 0
        self._next_probe = 0.0
        self.generation = 0
        self.is_open = False

    @property
    def admits(self) -> bool:
        """Whether a call may go to the backend now: the breaker is closed, or a probe is due."""
        return not self.is_open or self._clock() >= self._next_probe

    def start_probe(self, settings: BreakerSettings) -> None:
        """Use up the probe that is due. The next one is due after the probe interval."""
        self._next_probe = self._clock() + settings.probe_interval_s

    def succeeded(self, generation: int, settings: BreakerSettings) -> None:
        """Record a call that was answered; an open breaker closes with a clean record."""
        if generation != self.generation:
            return
        if self.is_open:
            self.is_open = False
            self._latest.clear()
        self._run = 0
        self._remember(True, settings)

    def failed(self, generation: int, settings: BreakerSettings) -> None:
        """Record a call that failed through the backend's fault."""
        if generation != self.generation or self.is_open:
            return
        self._run += 1
        self._remember(False, settings)
        full = len(self._latest) == settings.window
        too_many = full and self._latest.count(False) > settings.failure_share * settings.window
        if self._run >= settings.consecutive_failures or too_many:
            self._open(settings)

    def _open(self, settings: BreakerSettings) -> None:
        self.is_open = True
        self.generation += 1
        self._next_probe = self._clock() + settings.probe_interval_s

    def _remember(self, ok: bool, settings: BreakerSettings) -> None:
        self._latest.append(ok)
        while len(self._latest) > settings.window:
            self._latest.popleft()
