"""Pure: what the load generator sends and brings back. Shared by `bench.serving.generator` and who drives it."""

import math
from typing import NamedTuple

NO_ANSWER = 0
OK = 200


class Load(NamedTuple):
    """A closed loop of `clients`, each sending again once it has its answer; or, with a `rate`, an open loop."""

    name: str
    clients: int = 0
    rate: float = 0.0

    @classmethod
    def closed(cls, clients: int) -> "Load":
        """That many clients."""
        return cls(f"{clients} client{'s' if clients > 1 else ''}", clients=clients)

    @classmethod
    def open(cls, name: str, rate: float) -> "Load":
        """Requests per second, whatever comes back."""
        return cls(name, rate=rate)

    @property
    def is_open(self) -> bool:
        """Whether arrivals do not wait for answers."""
        return self.rate > 0


class Span(NamedTuple):
    """A window in seconds: the lead-in is sent and not counted."""

    lead: float
    counted: float

    @property
    def end(self) -> float:
        """When the last request may start."""
        return self.lead + self.counted


class Sent(NamedTuple):
    """One request, in seconds since the window began. `due` is when it should have left, in an open loop."""

    due: float
    ended: float
    status: int


class Order(NamedTuple):
    """One window for the generator."""

    host: str
    port: int
    body: bytes
    load: Load
    span: Span


class Outcome(NamedTuple):
    """All requests of a window, and the CPU seconds that the generator needed for them."""

    sent: list[Sent]
    cpu_seconds: float


def arrivals(rate: float, seconds: float) -> list[float]:
    """When requests are due: evenly spaced, the first at 0, none at or after `seconds`."""
    return [number / rate for number in range(math.ceil(round(rate * seconds, 6)))]


def counted(load: Load, span: Span, sent: list[Sent]) -> list[Sent]:
    """The requests that a window's figures are made of.

    Closed loop: those that ended inside it, as there is no other clock. Open loop: those that were due inside it,
    however late their answer came; leaving out the late ones would hide what the benchmark looks for.
    """
    if load.is_open:
        return [one for one in sent if span.lead <= one.due < span.end]
    return [one for one in sent if span.lead <= one.ended < span.end]
