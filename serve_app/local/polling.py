"""Waiting with a limit, on a clock that tests can replace. Called by everything here that starts or ends a process."""

import time
from collections.abc import Iterator
from typing import Protocol


class Clock(Protocol):
    """Tells the time in seconds and lets it pass. The module `time` is one."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Return after `seconds`."""
        ...


def attempts(timeout_s: float, pause_s: float, clock: Clock = time) -> Iterator[None]:
    """Give one turn of a `for` loop at once and one after each pause; the loop ends `timeout_s` after the first."""
    deadline = clock.monotonic() + timeout_s
    yield
    while clock.monotonic() < deadline:
        clock.sleep(pause_s)
        yield
