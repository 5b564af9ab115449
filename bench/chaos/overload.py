"""More than the machine can do: what is accepted stays quick, the rest is told at once. Used by `bench.chaos`."""

import time
from typing import NamedTuple

import psutil

from bench.chaos.clients import Sent, Target, clients, quantile, storm
from bench.service import Service

TIMES_CAPACITY = 4
_NORMAL_AFTER = 5  # this many answers in a row no slower than usual
_SLACK = 2.0
_RECOVERY_TIMEOUT_S = 60.0
_NO_DEADLINE_S = 600.0


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


def overload(service: Service, target: Target, seconds: float) -> Overload:
    """Measure the capacity with a client for each place, then send four times as much at a fixed rate."""
    policy = service.deploy(Router={"onnx_fraction": 0.5, "deadline_s": _NO_DEADLINE_S})["policy"]
    places: int = policy["max_inflight"]
    with clients(target, 1) as alone:
        time.sleep(seconds / 4)
    with clients(target, places) as sent:
        time.sleep(seconds)
    capacity = sum(one.status == 200 for one in sent) / (max(one.ended for one in sent) - sent[0].began)
    before = _resident_bytes(service)
    service.deploy(Router={"onnx_fraction": 0.5})
    in_storm = storm(target, TIMES_CAPACITY * capacity, seconds)
    at_most = max(before, _resident_bytes(service))
    usual_s = quantile([one.seconds for one in alone], 0.5)
    return Overload(places, capacity, sent, in_storm, _until_normal(target, usual_s), before, at_most)


def _until_normal(target: Target, usual_s: float) -> float:
    """Seconds until the first of some answers in a row that one client gets as quickly as before."""
    began, in_a_row = time.monotonic(), 0
    first = began
    with clients(target, 1) as sent:
        while in_a_row < _NORMAL_AFTER and time.monotonic() - began < _RECOVERY_TIMEOUT_S:
            time.sleep(0.05)
            in_a_row = 0
            for one in list(sent):
                in_a_row = in_a_row + 1 if one.status == 200 and one.seconds <= _SLACK * usual_s else 0
                first = one.ended if in_a_row == 1 else first
    return first - began


def _resident_bytes(service: Service) -> int:
    pids = [pid for pids in service.pids().values() for pid in pids]
    return sum(psutil.Process(pid).memory_info().rss for pid in pids)
