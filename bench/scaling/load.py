"""One window of load on a layout: what came through, how quickly, and what each part of the service used for it.

Used by `bench.scaling.measure`. The clients are a process of their own (`bench.scaling.generator`).
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from bench.chaos.clients import quantile
from bench.scaling import processes
from bench.scaling.bed import Layout
from bench.scaling.generator import BEGIN, Order
from bench.scaling.processes import Part
from bench.service import ROOT
from serve_app.errors import ConfigurationError
from serve_app.local.node import Node

_THIRDS = 3


class Window(NamedTuple):
    """What was seen in one window of load; CPU in seconds, `failed` by status (0: no answer)."""

    layout: Layout
    clients: int
    seconds: float
    answered: int
    failed: dict[str, int]
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


def window(node: Node, layout: Layout, order: Order) -> Window:
    """Put load on the service for the time of the order. Raises ConfigurationError if the clients' process fails."""
    with _generator(order) as (process, last_words):
        if _line(process, last_words) != BEGIN:
            raise ConfigurationError(f"the load generator failed: {last_words()}")
        before = processes.used(node)
        books = json.loads(_line(process, last_words))
        cpu = processes.cpu_between(before, processes.used(node))
    return _read(layout, order.clients, books, cpu)


def idle(node: Node, seconds: float) -> dict[Part, float]:
    """Cores that each part keeps busy while nobody asks anything."""
    before, began = processes.used(node), time.monotonic()
    time.sleep(seconds)
    cpu, lasted = processes.cpu_between(before, processes.used(node)), time.monotonic() - began
    return {part: used / lasted for part, used in cpu.items()}


@contextlib.contextmanager
def _generator(order: Order) -> Iterator[tuple[subprocess.Popen[bytes], Any]]:
    command = [sys.executable, "-m", "bench.scaling.generator", *map(str, order)]
    with tempfile.TemporaryFile() as stderr:
        # Its own session: Ctrl-C reaches us, and we end it.
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True)

        def last_words() -> str:
            stderr.seek(0)
            return (stderr.read().decode(errors="replace").strip().splitlines() or ["no word why"])[-1]

        try:
            yield process, last_words
        finally:
            process.kill()
            process.communicate()


def _line(process: subprocess.Popen[bytes], last_words: Any) -> str:
    assert process.stdout is not None  # noqa: S101 - for the type checker: we asked for a pipe
    line = process.stdout.readline().decode().strip()
    if not line:
        process.wait()
        raise ConfigurationError(f"the load generator ended: {last_words()}")
    return line


def _read(layout: Layout, clients: int, books: dict[str, Any], cpu: dict[Part, float]) -> Window:
    statuses: dict[str, int] = books["statuses"]
    lasted: float = books["lasted"]
    thirds = [0] * _THIRDS
    for moment in books["ended"]:
        thirds[min(int(_THIRDS * moment / lasted), _THIRDS - 1)] += 1
    rates = [count * _THIRDS / lasted for count in thirds]
    return Window(
        layout=layout,
        clients=clients,
        seconds=lasted,
        answered=statuses.pop("200", 0),
        failed=statuses,
        slowest_third=min(rates),
        fastest_third=max(rates),
        p50_s=quantile(books["seconds"], 0.5),
        p99_s=quantile(books["seconds"], 0.99),
        cpu=cpu,
        generator_cpu=books["cpu"],
    )
