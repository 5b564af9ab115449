"""What the load generator sends and what it notes of each request. Pure; used by everything that sends load."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

NO_ANSWER = 0
OK = 200
JPEG = "image/jpeg"


class Target(NamedTuple):
    """Where requests go and what they carry.

    By default each request opens a connection of its own, as many separate clients would.
    """

    url: str
    body: bytes
    headers: Mapping[str, str] = {"Content-Type": JPEG}
    path: str = "/detect"
    keep_alive: bool = False
    patience_s: float = 90.0


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
    """The length of a window in seconds: requests of the lead-in are sent and not counted."""

    lead: float
    counted: float

    @property
    def end(self) -> float:
        """When the last request may start."""
        return self.lead + self.counted


class Answer(NamedTuple):
    """What came back over a connection; header names are in lower case."""

    status: int = NO_ANSWER
    headers: Mapping[str, str] = {}
    body: bytes = b""


class Sent(NamedTuple):
    """One request as its client saw it; times are readings of `time.monotonic`, which all processes share.

    `due` is when it should have left: in an open loop that the generator cannot follow, the wait before sending counts.
    A status of 0 is a connection that ended without an answer.
    """

    due: float
    ended: float
    status: int
    assigned: str = ""
    backend: str = ""
    problem: bool = False
    retry_after: bool = False

    @classmethod
    def read(cls, due: float, ended: float, answer: Answer) -> "Sent":
        """What the service's JSON and headers say; other servers' answers have no backend."""
        try:
            content = json.loads(answer.body)
        except ValueError:
            content = None
        told: dict[str, Any] = content if isinstance(content, dict) else {}
        documented = answer.headers.get("content-type", "").startswith("application/problem+json") and "code" in told
        backends = told.get("assigned", ""), told.get("backend", "")
        return cls(due, ended, answer.status, *backends, documented, "retry-after" in answer.headers)

    @property
    def seconds(self) -> float:
        """From the intended start to the last byte of the answer."""
        return self.ended - self.due


class Order(NamedTuple):
    """One window for the generator."""

    target: Target
    load: Load
    span: Span


class Outcome(NamedTuple):
    """When the window began, all its requests, and the CPU seconds that the generator needed for them."""

    began: float
    sent: Sequence[Sent]
    cpu_seconds: float

    def counted(self, load: Load, span: Span) -> list[Sent]:
        """The requests that a window's figures are made of.

        Closed loop: those that ended inside it, as there is no other clock. Open loop: those that were due inside it,
        however late their answer came; leaving out the late ones would hide what the benchmark looks for.
        """
        first, last = self.began + span.lead, self.began + span.end
        return [one for one in self.sent if first <= (one.due if load.is_open else one.ended) < last]


def arrivals(rate: float, seconds: float) -> list[float]:
    """When requests are due: evenly spaced, the first at 0, none at or after `seconds`."""
    return [number / rate for number in range(math.ceil(round(rate * seconds, 6)))]
