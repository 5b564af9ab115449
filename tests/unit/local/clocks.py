"""Clocks for the tests of this folder: none of them takes real time."""

import time
from collections.abc import Callable


class FakeClock:
    """Time passes only in `sleep`, which also does `meanwhile`."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.now = 100.0
        self._meanwhile = meanwhile

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        self.now += seconds
        self._meanwhile()


class ImpatientClock:
    """The first pause lasts an hour without taking any time; after it, time is real."""

    def __init__(self) -> None:
        self._skipped_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self._skipped_s

    def sleep(self, seconds: float, /) -> None:
        if self._skipped_s:
            time.sleep(seconds)
        self._skipped_s = 3600.0
