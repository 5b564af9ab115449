"""The processes of a server or a Ray node: what they cost, which part they play, stopping and ending them.

Used by `bench.serving` and `bench.observability`.
"""

import contextlib
import math
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal, TypeVar, get_args

import psutil

from serve_app.local.node import Node

_PATIENCE_S = 5.0
T = TypeVar("T")


def of_each(processes: Iterable[psutil.Process], figure: Callable[[psutil.Process], T]) -> Iterator[T]:
    """A figure of each process, without those that end meanwhile."""
    for process in processes:
        with contextlib.suppress(psutil.Error, OSError):
            yield figure(process)


def lives(process: psutil.Process) -> bool:
    """Whether it runs or is stopped; a zombie does not count."""
    return any(of_each([process], lambda one: one.is_running() and one.status() != psutil.STATUS_ZOMBIE))


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let SIGINT and SIGTERM wait for the end of the block, where what was started has been given its clean-up."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    arrived: list[int] = []
    for number in handlers:
        signal.signal(number, lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if arrived:
        signal.raise_signal(arrived[0])


class Processes:
    """The session that a process leads, and all its descendants, also those that opened a session of their own."""

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self._known: set[psutil.Process] = {psutil.Process(leader)}

    def all(self) -> list[psutil.Process]:
        """The living ones. Those once seen stay known after their parent has died."""
        self._known = set(filter(lives, self._known))
        strangers = set(psutil.process_iter(["ppid"])) - self._known
        while joining := set(filter(self._belongs, strangers)):
            self._known |= joining
            strangers -= joining
        return list(filter(lives, self._known))

    def _belongs(self, process: psutil.Process) -> bool:
        if process.info["ppid"] in {known.pid for known in self._known}:
            return True
        return lives(process) and any(of_each([process], lambda one: os.getsid(one.pid) == self._leader))

    def cpu_seconds(self) -> float:
        """User and system time of all of them since they started; exact, so that the order does not matter."""
        return math.fsum(of_each(self.all(), lambda process: sum(process.cpu_times()[:2])))

    def memory_bytes(self) -> int:
        """Their proportional set size."""
        return int(sum(of_each(self.all(), lambda process: process.memory_full_info().pss)))

    def freeze(self) -> None:
        """Stop them with SIGSTOP."""
        list(of_each(self.all(), psutil.Process.suspend))

    def thaw(self) -> None:
        """Let them continue."""
        list(of_each(self.all(), psutil.Process.resume))

    def end(self) -> None:
        """End them all, first with SIGTERM; returns when none is left."""
        for stop in (psutil.Process.terminate, psutil.Process.kill):
            list(of_each(self.all(), stop))
            self.thaw()  # a stopped process does not see SIGTERM
            psutil.wait_procs(self.all(), timeout=_PATIENCE_S)


Part = Literal["haproxy", "proxy", "router", "backend", "controller", "agent", "rest of Ray"]
PARTS: tuple[Part, ...] = get_args(Part)
# By the beginning of the command line; Ray's workers carry the name of their actor there.
_TITLES: dict[str, Part] = {
    "ray::ServeReplica:detect:Router": "router",
    "ray::ServeReplica:": "backend",
    "ray::ProxyActor": "proxy",
    "ray::ServeController": "controller",
    "ray::DashboardAgent": "agent",
}


def part_of(name: str, title: str) -> Part:
    """The part of a process, from its name and its command line."""
    if name.startswith("haproxy"):
        return "haproxy"
    return next((part for start, part in _TITLES.items() if title.startswith(start)), "rest of Ray")


Used = Mapping[tuple[int, Part], float]  # CPU seconds since its start, by process and its part


def used(node: Node) -> Used:
    """What every living process of the node has used."""

    def figure(process: psutil.Process) -> tuple[tuple[int, Part], float]:
        part = part_of(process.name(), (process.cmdline() or [""])[0])
        return (process.pid, part), sum(process.cpu_times()[:2])

    return dict(of_each(node.processes(), figure))


def cpu_between(before: Used, after: Used) -> dict[Part, float]:
    """CPU seconds by part, of the processes that lived all the time."""
    lived = before.keys() & after.keys()
    return {part: sum(after[one] - before[one] for one in lived if one[1] == part) for part in PARTS}
