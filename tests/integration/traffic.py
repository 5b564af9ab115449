"""Clients that keep their own books of what they sent and saw. Used by test_observability."""

import contextlib
import itertools
import math
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx
import psutil


class Sent(NamedTuple):
    """One request as its client saw it."""

    status: int
    assigned: str
    backend: str
    seconds: float


def send(
    url: str,
    image: bytes,
    count: int,
    clients: int = 2,
    headers: Mapping[str, str] | None = None,
    media_type: str = "image/jpeg",
) -> list[Sent]:
    """Send `count` requests from some clients, each waiting for its answer before it sends the next."""
    headers = {"Content-Type": media_type, **(headers or {})}
    with (
        httpx.Client(base_url=url, timeout=60, trust_env=False, headers=headers) as client,
        ThreadPoolExecutor(clients) as pool,
    ):
        return list(pool.map(lambda _: _send_one(client, image), range(count)))


def _send_one(client: httpx.Client, image: bytes) -> Sent:
    began = time.perf_counter()
    response = client.post("/detect?threshold=0.05", content=image)
    seconds = time.perf_counter() - began
    body: dict[str, Any] = response.json()
    return Sent(response.status_code, body.get("assigned", ""), body.get("backend", ""), seconds)


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
