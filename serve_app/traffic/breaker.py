"""A circuit breaker: leaves an arm alone after repeated failures and probes it from time to time. Pure but for a clock.

Called by the dispatcher, one per arm and router replica.
"""

import time
from collections import deque
from collections.abc import Callable

from serve_app.settings import BreakerSettings


class Breaker:
    """Closed while the arm works; open after a run of failures, or when too many of the latest calls failed.

    Whoever asks the arm notes `era` before and hands it in with the result: what began before the breaker opened
    says nothing about the arm since.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._latest: deque[bool] = deque()
        self._run = 0
        self._next_probe = 0.0
        self.era = 0
        self.is_open = False

    def allows(self, settings: BreakerSettings) -> bool:
        """Whether a call may go to the arm now. While open, one probe per interval may."""
        if not self.is_open:
            return True
        if self._clock() < self._next_probe:
            return False
        self._next_probe = self._clock() + settings.probe_interval_s
        return True

    def succeeded(self, era: int, settings: BreakerSettings) -> None:
        """Record a call that was answered; an open breaker closes with a clean record."""
        if era != self.era:
            return
        if self.is_open:
            self.is_open = False
            self._latest.clear()
        self._run = 0
        self._remember(True, settings)

    def failed(self, era: int, settings: BreakerSettings) -> None:
        """Record a call that failed through the arm's fault."""
        if era != self.era or self.is_open:
            return
        self._run += 1
        self._remember(False, settings)
        full = len(self._latest) == settings.window
        too_many = full and self._latest.count(False) > settings.failure_share * settings.window
        if self._run >= settings.consecutive_failures or too_many:
            self._open(settings)

    def _open(self, settings: BreakerSettings) -> None:
        self.is_open = True
        self.era += 1
        self._next_probe = self._clock() + settings.probe_interval_s

    def _remember(self, ok: bool, settings: BreakerSettings) -> None:
        self._latest.append(ok)
        while len(self._latest) > settings.window:
            self._latest.popleft()
