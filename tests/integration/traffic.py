"""Requests of known number, and a process that is slowed down. Used by test_observability and test_logs."""

import contextlib
import itertools
import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psutil

from bench.load import generator
from bench.load.plan import JPEG, Sent, Target

__all__ = ["Sent", "around_quantile", "send", "slowed_down"]


def send(
    url: str,
    image: bytes,
    count: int,
    clients: int = 2,
    headers: Mapping[str, str] | None = None,
    media_type: str = JPEG,
) -> list[Sent]:
    """Send `count` requests from some clients, each waiting for its answer before it sends the next."""
    headers = {"Content-Type": media_type, **(headers or {})}
    return generator.send(Target(url, image, headers, "/detect?threshold=0.05", keep_alive=True), count, clients)


def around_quantile(values: list[float], quantile: float) -> tuple[float, float]:
    """The neighbours of a sample's quantile: with few values, any number between them is as good an answer."""
    ordered, rank = sorted(values), quantile * len(values)
    lower, upper = max(math.floor(rank) - 1, 0), min(math.ceil(rank) + 1, len(ordered) - 1)
    return ordered[lower], ordered[upper]


@contextmanager
def slowed_down(pid: int, stopped_s: float = 0.4, running_s: float = 0.1) -> Iterator[None]:
    """Let a process run only a part of the time, as on a machine that others use too."""
    process, done = psutil.Process(pid), threading.Event()

    def pulse() -> None:
        for stopped in itertools.cycle((True, False)):
            with contextlib.suppress(psutil.NoSuchProcess):  # Serve may have replaced it
                (process.suspend if stopped else process.resume)()
            if done.wait(stopped_s if stopped else running_s):
                return

    thread = threading.Thread(target=pulse)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
