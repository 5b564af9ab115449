"""Which process of a node plays which part, and what it has used. Used by the scaling and observability benchmarks."""

import contextlib
from collections.abc import Mapping
from typing import Literal, NamedTuple

import psutil

from serve_app.local.node import Node

Part = Literal["router", "arm", "proxy", "haproxy", "controller", "agent", "rest of Ray"]
PARTS: tuple[Part, ...] = ("haproxy", "proxy", "router", "arm", "controller", "agent", "rest of Ray")
# By what a process calls itself; Ray's workers take the name of their actor.
_TITLES: dict[str, Part] = {
    "ray::ServeReplica:detect:Router": "router",
    "ray::ServeReplica:": "arm",
    "ray::ProxyActor": "proxy",
    "ray::ServeController": "controller",
    "ray::DashboardAgent": "agent",
}


class Used(NamedTuple):
    """One process: its part, the CPU seconds since its start, and the files and sockets it has open."""

    part: Part
    cpu: float
    files: int


def part_of(name: str, title: str) -> Part:
    """The part of a process, from its name and the beginning of its command line."""
    if name.startswith("haproxy"):
        return "haproxy"
    return next((part for start, part in _TITLES.items() if title.startswith(start)), "rest of Ray")


def used(node: Node) -> dict[int, Used]:
    """Every living process of the node."""
    found = {}
    for process in node.processes():
        with contextlib.suppress(psutil.Error):  # gone meanwhile
            times = process.cpu_times()
            title = (process.cmdline() or [""])[0]
            found[process.pid] = Used(part_of(process.name(), title), times.user + times.system, process.num_fds())
    return found


def cpu_between(before: Mapping[int, Used], after: Mapping[int, Used]) -> dict[Part, float]:
    """CPU seconds by part, of the processes that lived all the time."""
    cpu: dict[Part, float] = dict.fromkeys(PARTS, 0.0)
    for pid in before.keys() & after.keys():
        cpu[after[pid].part] += after[pid].cpu - before[pid].cpu
    return cpu


def files_of(processes: Mapping[int, Used], part: Part) -> float:
    """How many files and sockets a process of this part has open, on average."""
    counts = [process.files for process in processes.values() if process.part == part]
    return sum(counts) / len(counts) if counts else 0.0
