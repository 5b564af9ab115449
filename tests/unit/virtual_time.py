"""Time that passes only when nothing else is left to do, for tests of what waits: exact, and without waiting."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualClock:
    """A clock in seconds. `run` gives a coroutine an event loop that takes its time from here."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Like `asyncio.run`. Every sleep and time-out ends at its exact moment, at once."""
        with asyncio.Runner(loop_factory=lambda: _Loop(self)) as runner:
            return runner.run(main)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(_Selector(clock))
        self._clock = clock

    def time(self) -> float:
        return self._clock.now

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        # From Python 3.12 on, the runner gives threads 300 s to end. Virtual time would jump over them.
        await super().shutdown_default_executor()


class _Selector(selectors.DefaultSelector):
    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:  # only a thread or a socket can go on from here
            return super().select()
        ready = super().select(0)
        if not ready:
            self._clock.advance(timeout)
        return ready
