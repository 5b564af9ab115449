"""Interleaved rounds of short windows, until the figures are stable. Called by `bench.serving`.

One round gives each contender one window, in an order that rotates, so that whatever else the machine does falls on
all alike.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench.load.generator import Send
from bench.load.plan import Load, Order, Span, Target
from bench.serving.contenders import Contender, Name
from bench.serving.figures import Figures, Window, figures, stable_end, window
from bench.statistics import turned

_IDLE_S = 3.0
_IDLE_LIMIT = 0.02  # of a core; a server that uses more while idle is stopped while it is another one's turn
_THAW_S = 0.5
_PATIENCE_S = 20.0

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
    """The contenders and the load generator; the first contender is the reference."""

    def __init__(
        self, contenders: Sequence[Contender], send: Send, photo: bytes, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._contenders, self._send, self._photo, self._sleep = contenders, send, photo, sleep
        before = [contender.processes.cpu_seconds() for contender in contenders]
        sleep(_IDLE_S)
        # How much of a core each uses without any request
        self.idle: dict[Name, float] = {
            contender.name: (contender.processes.cpu_seconds() - used) / _IDLE_S
            for contender, used in zip(contenders, before, strict=True)
        }
        self.frozen_between_turns = [name for name, share in self.idle.items() if share > _IDLE_LIMIT]

    def run(self, plan: Plan, advance: Advance) -> list[Row]:
        """All loads; calls `advance` with the windows that are done or not needed any more."""
        restless = [one for one in self._contenders if one.name in self.frozen_between_turns]
        try:
            for contender in restless:
                contender.processes.freeze()
            rows = [row for clients in plan.clients for row in self._load(Load.closed(clients), plan, advance)]
            capacity = max((row.figures.throughput for row in rows if row.contender == Name.bare), default=0.0)
            for share in plan.shares:
                load = Load.open(f"{share:.0%} of bare", capacity * share)
                rows += self._load(load, plan, advance)
            return rows
        finally:
            for contender in restless:
                contender.processes.thaw()

    def _load(self, load: Load, plan: Plan, advance: Advance) -> list[Row]:
        for contender in self._contenders:
            self._window(contender, load, plan.warm_up)
        windows: dict[Name, list[Window]] = {contender.name: [] for contender in self._contenders}
        for number in range(plan.rounds):
            for contender in turned(self._contenders, number):
                windows[contender.name].append(self._window(contender, load, plan.span))
                advance(1)
            if all(stable_end([one.median for one in found]) for found in windows.values()):
                advance((plan.rounds - number - 1) * len(self._contenders))
                break
        reference = windows[self._contenders[0].name]
        return [Row(load.name, load.rate, name, figures(load, found, reference)) for name, found in windows.items()]

    def _window(self, contender: Contender, load: Load, span: Span) -> Window:
        processes, stands = contender.processes, contender.name in self.frozen_between_turns
        if stands:
            processes.thaw()
            self._sleep(_THAW_S)  # it catches up with its periodic work
        before = processes.cpu_seconds()
        outcome = self._send(
            Order(Target(contender.url, self._photo, keep_alive=True, patience_s=_PATIENCE_S), load, span)
        )
        found = window(load, span, outcome, processes.cpu_seconds() - before, processes.memory_bytes())
        if stands:
            processes.freeze()
        return found
