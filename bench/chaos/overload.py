"""More than the machine can do: what is accepted stays quick, the rest is told at once. Used by `bench.chaos`."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psutil

from bench.chaos.clients import Sent, Target, clients, quantile, storm
from bench.service import Service

TIMES_CAPACITY = 4
_NORMAL_AFTER = 5  # this many answers in a row no slower than usual
_RECOVERY_TIMEOUT_S = 60.0
_NO_DEADLINE_S = 600.0
_MEMORY_PERIOD_S = 0.2


class Overload(NamedTuple):
    """What clients saw at capacity (all places taken, none refused), and at four times that."""

    places: int
    capacity: float
    at_capacity: list[Sent]
    in_storm: list[Sent]
    recovery_s: float
    bytes_before: int
    bytes_at_most: int

    @property
    def accepted(self) -> list[Sent]:
        """Answered in the storm."""
        return [sent for sent in self.in_storm if sent.status == 200]

    @property
    def refused(self) -> list[Sent]:
        """Told to come back later, as documented."""
        return [sent for sent in self.in_storm if sent.status == 503 and sent.problem and sent.retry_after]

    @property
    def neither(self) -> list[Sent]:
        """What should not exist."""
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
    capacity = sum(one.status == 200 for one in sent) / (max(one.ended for one in sent) - sent[0].began)
    before = _resident_bytes(service)
    service.deploy(Router={"onnx_fraction": 0.5})
    with _highest_bytes(service) as highest:
        in_storm = storm(target, TIMES_CAPACITY * capacity, seconds)
    at_most = max(highest)
    usual_s = quantile([one.seconds for one in alone], 0.5)
    return Overload(places, capacity, sent, in_storm, _until_normal(target, slack * usual_s), before, at_most)


def _until_normal(target: Target, quick_s: float) -> float:
    """Seconds until the first of some answers in a row that one client gets within `quick_s` seconds.

    Raises TimeoutError where that does not come.
    """
    began, in_a_row = time.monotonic(), 0
    first = began
    with clients(target, 1) as sent:
        while in_a_row < _NORMAL_AFTER:
            if time.monotonic() - began > _RECOVERY_TIMEOUT_S:
                raise TimeoutError(f"not as quick as before within {_RECOVERY_TIMEOUT_S:g} s after the storm")
            time.sleep(0.05)
            in_a_row = 0
            for one in list(sent):
                in_a_row = in_a_row + 1 if one.status == 200 and one.seconds <= quick_s else 0
                first = one.ended if in_a_row == 1 else first
    return first - began


@contextmanager
def _highest_bytes(service: Service) -> Iterator[list[int]]:
    """The memory of router and arms, read again and again during a `with` block."""
    readings, over = [_resident_bytes(service)], threading.Event()

    def read() -> None:
        while not over.wait(_MEMORY_PERIOD_S):
            readings.append(_resident_bytes(service))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield readings
    finally:
        over.set()
        thread.join()


def _resident_bytes(service: Service) -> int:
    pids = [pid for pids in service.pids().values() for pid in pids]
    return sum(psutil.Process(pid).memory_info().rss for pid in pids)
