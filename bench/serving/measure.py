"""The measurement: interleaved rounds of short windows, until the figures stand still. Called by `bench.serving`.

One round gives each contender one window, in an order that rotates, so that whatever else the machine does falls on
all alike.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench.serving.contenders import Contender, Name
from bench.serving.figures import STABLE_WINDOWS, Figures, Window, figures, stable_end, window
from bench.serving.generator import Send
from bench.serving.loads import Load, Order, Span
from bench.statistics import turned

_IDLE_S = 3.0
# A share of one core. What an idle server does above it would be taken from the one whose turn it is.
_IDLE_LIMIT = 0.02
_THAW_S = 0.5

Advance = Callable[[int], None]


class Plan(NamedTuple):
    """Which loads, and for how long: closed loops of `clients`, open loops at `shares` of what `bare` can do."""

    clients: list[int]
    shares: list[float]
    warm_up: Span
    span: Span
    rounds: int

    @property
    def loads(self) -> int:
        """How many there are."""
        return len(self.clients) + len(self.shares)


FULL = Plan([1, 4, 8, 32], [0.5, 0.8], warm_up=Span(0.0, 1.5), span=Span(0.3, 2.5), rounds=6)
QUICK = Plan([1, 8], [0.5], warm_up=Span(0.0, 1.0), span=Span(0.2, 1.0), rounds=3)


class Row(NamedTuple):
    """One contender under one load; `rate` is 0 in a closed loop."""

    load: str
    rate: float
    contender: str
    figures: Figures


class Bench:
    """The contenders and the generator; the first contender is the reference."""

    def __init__(self, contenders: Sequence[Contender], send: Send, photo: bytes, idle_s: float = _IDLE_S) -> None:
        self._contenders, self._send, self._photo = contenders, send, photo
        self.idle = self._idle_shares(idle_s)
        self.frozen_between_turns = [name for name, share in self.idle.items() if share > _IDLE_LIMIT]

    def _idle_shares(self, seconds: float) -> dict[Name, float]:
        """How much of a core each contender uses while nobody asks it anything."""
        before = {contender.name: contender.processes.cpu_seconds() for contender in self._contenders}
        time.sleep(seconds)
        after = {contender.name: contender.processes.cpu_seconds() for contender in self._contenders}
        return {name: (after[name] - before[name]) / seconds for name in before}

    def run(self, plan: Plan, advance: Advance) -> list[Row]:
        """All loads; calls `advance` with the windows that are done or not needed any more."""
        try:
            for contender in self._contenders:
                self._freeze(contender)
            rows = [row for clients in plan.clients for row in self._load(Load.closed(clients), plan, advance)]
            capacity = max((row.figures.throughput for row in rows if row.contender == Name.bare), default=0.0)
            for share in plan.shares:
                load = Load.open(f"{share:.0%} of bare", capacity * share)
                rows += self._load(load, plan, advance)
            return rows
        finally:
            for contender in self._contenders:
                contender.processes.thaw()

    def _load(self, load: Load, plan: Plan, advance: Advance) -> list[Row]:
        for contender in self._contenders:
            self._window(contender, load, plan.warm_up)
        windows: dict[Name, list[Window]] = {contender.name: [] for contender in self._contenders}
        for number in range(plan.rounds):
            for contender in turned(self._contenders, number):
                windows[contender.name].append(self._window(contender, load, plan.span))
                advance(1)
            if all(_is_stable(found) for found in windows.values()):
                advance((plan.rounds - number - 1) * len(self._contenders))
                break
        reference = windows[self._contenders[0].name]
        return [Row(load.name, load.rate, name, figures(load, found, reference)) for name, found in windows.items()]

    def _window(self, contender: Contender, load: Load, span: Span) -> Window:
        self._thaw(contender)
        before = contender.processes.cpu_seconds()
        outcome = self._send(Order(contender.host, contender.port, self._photo, load, span))
        used = contender.processes.cpu_seconds() - before
        memory = contender.processes.memory_bytes()
        self._freeze(contender)
        return window(load, span, outcome, used, memory)

    def _thaw(self, contender: Contender) -> None:
        if contender.name in self.frozen_between_turns:
            contender.processes.thaw()
            time.sleep(_THAW_S)  # it catches up with all that was due meanwhile

    def _freeze(self, contender: Contender) -> None:
        if contender.name in self.frozen_between_turns:
            contender.processes.freeze()


def _is_stable(windows: Sequence[Window]) -> bool:
    return len(windows) >= STABLE_WINDOWS and stable_end([one.median for one in windows]) is not None
