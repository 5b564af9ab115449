"""One window of load on a layout: what came through, how quickly, and what each part of the service used for it.

Used by `bench.scaling.measure`. The clients are those of `bench.serving`, in a process of their own.
"""

import time
from collections import Counter
from typing import NamedTuple

from bench.chaos.clients import quantile
from bench.scaling import processes
from bench.scaling.bed import Bed, Layout
from bench.scaling.processes import Part
from bench.serving.generator import Send
from bench.serving.loads import OK, Load, Order, Outcome, Span, counted
from serve_app.local.node import Node

_THIRDS = 3


class Window(NamedTuple):
    """What was seen in one window of load; CPU in seconds, `failed` by status (0: no answer)."""

    layout: Layout
    clients: int
    seconds: float
    answered: int
    failed: dict[int, int]
    slowest_third: float
    fastest_third: float
    p50_s: float
    p99_s: float
    cpu: dict[Part, float]
    generator_cpu: float

    @property
    def rate(self) -> float:
        """Answers with status 200 per second."""
        return self.answered / self.seconds

    @property
    def generator_share(self) -> float:
        """Of one core: near 1, the clients themselves would be the limit."""
        return self.generator_cpu / self.seconds

    def each(self, part: Part) -> float:
        """CPU seconds of a part for one request."""
        return self.cpu[part] / self.answered if self.answered else 0.0

    def busy(self, part: Part) -> float:
        """Cores that a part kept busy, all its processes together."""
        return self.cpu[part] / self.seconds


class Source(NamedTuple):
    """Where load comes from: the generator, and the body it sends."""

    send: Send
    body: bytes

    def window(self, bed: Bed, layout: Layout, clients: int, warm_up_s: float, seconds: float) -> Window:
        """Put load on the service, first for nothing."""
        ports, load = bed.node.ports, Load.closed(clients)

        def order(span: Span) -> Order:
            return Order("127.0.0.1", ports.http, self.body, load, span)

        if warm_up_s:
            self.send(order(Span(0.0, warm_up_s)))
        before, span = processes.used(bed.node), Span(0.0, seconds)
        outcome = self.send(order(span))
        cpu = processes.cpu_between(before, processes.used(bed.node))
        return read(layout, load, span, outcome, cpu)


def read(layout: Layout, load: Load, span: Span, outcome: Outcome, cpu: dict[Part, float]) -> Window:
    """Rates and quantiles of a window. The last answers come after its end: their share of the CPU is left out."""
    inside = counted(load, span, outcome.sent)
    share = len(inside) / len(outcome.sent) if outcome.sent else 1.0
    statuses = Counter(one.status for one in inside)
    thirds = Counter(int(_THIRDS * one.ended / span.counted) for one in inside)
    rates = [thirds[third] * _THIRDS / span.counted for third in range(_THIRDS)]
    waits = [one.ended - one.due for one in inside]
    return Window(
        layout=layout,
        clients=load.clients,
        seconds=span.counted,
        answered=statuses.pop(OK, 0),
        failed=dict(statuses),
        slowest_third=min(rates),
        fastest_third=max(rates),
        p50_s=quantile(waits, 0.5),
        p99_s=quantile(waits, 0.99),
        cpu={part: seconds * share for part, seconds in cpu.items()},
        generator_cpu=outcome.cpu_seconds * share,
    )


def idle(node: Node, seconds: float) -> dict[Part, float]:
    """Cores that each part keeps busy while nobody asks anything."""
    before, began = processes.used(node), time.monotonic()
    time.sleep(seconds)
    cpu, lasted = processes.cpu_between(before, processes.used(node)), time.monotonic() - began
    return {part: used / lasted for part, used in cpu.items()}
