"""More requests than the machine can answer: which are answered, which refused, how quickly. Used by `bench.chaos`."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import psutil

from bench.load.generator import carry_out, clients
from bench.load.plan import OK, Load, Order, Sent, Span, Target
from bench.processes import of_each
from bench.service import Service
from bench.statistics import quantile

TIMES_CAPACITY = 4
_NORMAL_AFTER = 5  # this many answers in a row no slower than usual
_RECOVERY_TIMEOUT_S = 60.0
_NO_DEADLINE_S = 600.0
_MEMORY_PERIOD_S = 0.2


class Overload(NamedTuple):
    """What clients saw at capacity (all places of the router taken, none refused), and at four times that."""

    places: int
    capacity: float
    at_capacity: Sequence[Sent]
    in_storm: Sequence[Sent]
    recovery_s: float
    bytes_before: int
    bytes_at_most: int

    @property
    def accepted(self) -> list[Sent]:
        """Answered in the storm."""
        return [sent for sent in self.in_storm if sent.status == OK]

    @property
    def refused(self) -> list[Sent]:
        """Refused as documented, with the time to come back."""
        return [sent for sent in self.in_storm if sent.status == 503 and sent.problem and sent.retry_after]

    @property
    def neither(self) -> list[Sent]:
        """Requests with any other outcome, of which there should be none."""
        return [sent for sent in self.in_storm if sent not in self.accepted and sent not in self.refused]


def overload(service: Service, target: Target, seconds: float, slack: float = 2.0) -> Overload:
    """Measure the capacity with a client for each place, then send four times as much at a fixed rate.

    All is normal again when one client has its answers in at most `slack` times the median of before.
    """
    policy = service.deploy(Router={"onnx_fraction": 0.5, "deadline_s": _NO_DEADLINE_S})["policy"]
    places: int = policy["max_inflight"]
    with clients(target, 1) as alone:
        time.sleep(seconds / 4)
    with clients(target, places) as sent:
        time.sleep(seconds)
    lasted = max(one.ended for one in sent) - min(one.due for one in sent)
    capacity = sum(one.status == OK for one in sent) / lasted
    service.deploy(Router={"onnx_fraction": 0.5})
    with resident_bytes(service, sum) as readings:
        storm = Order(target, Load.open("storm", TIMES_CAPACITY * capacity), Span(0.0, seconds))
        in_storm = carry_out(storm).sent
    recovery_s = _until_normal(target, slack * quantile([one.seconds for one in alone], 0.5))
    return Overload(places, capacity, sent, in_storm, recovery_s, readings[0], max(readings))


def _until_normal(
    target: Target,
    quick_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> float:
    """Seconds until the first of some answers in a row that one client gets within `quick_s` seconds.

    Raises TimeoutError if that does not happen.
    """
    began, in_a_row = clock(), 0
    first = began
    with clients(target, 1) as sent:
        while in_a_row < _NORMAL_AFTER:
            if clock() - began > _RECOVERY_TIMEOUT_S:
                raise TimeoutError(f"not as quick as before within {_RECOVERY_TIMEOUT_S:g} s after the storm")
            sleep(0.05)
            in_a_row = 0
            for one in list(sent):
                in_a_row = in_a_row + 1 if one.status == OK and one.seconds <= quick_s else 0
                first = one.ended if in_a_row == 1 else first
    return first - began


@contextmanager
def resident_bytes(service: Service, figure: Callable[[Iterable[int]], int]) -> Iterator[list[int]]:
    """A figure of the memory of router and backends, read before and periodically during a `with` block."""
    readings: list[int] = []
    over = threading.Event()

    def read() -> None:
        pids = [pid for pids in service.pids().values() for pid in pids]
        readings.append(figure(of_each(map(psutil.Process, pids), lambda one: int(one.memory_info().rss))))

    def read_on() -> None:
        while not over.wait(_MEMORY_PERIOD_S):
            read()

    read()
    thread = threading.Thread(target=read_on)
    thread.start()
    try:
        yield readings
    finally:
        over.set()
        thread.join()
