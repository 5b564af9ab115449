"""Clients that keep books of every request, closed loop and open. Used by the rounds of `bench.chaos`.

Plain sockets: on a machine that is full, a comfortable client would measure itself.
"""

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np

_PATIENCE_S = 90.0
NO_ANSWER = 0
_BLOCK_BYTES = 1 << 16


class Sent(NamedTuple):
    """One request as its client saw it; status 0 is a connection that ended without an answer."""

    began: float
    seconds: float
    status: int
    assigned: str = ""
    backend: str = ""
    problem: bool = False
    retry_after: bool = False

    @property
    def ended(self) -> float:
        """When the answer was complete."""
        return self.began + self.seconds


class Target:
    """Where requests go, and what they carry."""

    def __init__(self, url: str, photo: bytes, headers: str = "") -> None:
        self._host, self._port = urlsplit(url).hostname or "", urlsplit(url).port or 80
        head = f"POST /detect HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: image/jpeg\r\n{headers}"
        self._request = f"{head}Content-Length: {len(photo)}\r\nConnection: close\r\n\r\n".encode() + photo

    async def post(self) -> Sent:
        """Send one request on a connection of its own."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                answer = await self._exchange()
        except (OSError, TimeoutError):
            answer = b""
        return _read(began, time.monotonic() - began, answer)

    async def _exchange(self) -> bytes:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        answer = b""
        try:
            writer.write(self._request)
            while block := await reader.read(_BLOCK_BYTES):
                answer += block
        except ConnectionError:  # a refusal before our body was read: what it said counts
            pass
        finally:
            writer.close()
        return answer


def _read(began: float, seconds: float, answer: bytes) -> Sent:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    if not lines[0].startswith("http/1.1 "):
        return Sent(began, seconds, NO_ANSWER)
    status, is_json = int(lines[0].split()[1]), any("json" in line for line in lines if line.startswith("content-type"))
    content = json.loads(body) if is_json else {}
    return Sent(
        began,
        seconds,
        status,
        assigned=content.get("assigned", ""),
        backend=content.get("backend", ""),
        problem="content-type: application/problem+json" in lines and "code" in content,
        retry_after=any(line.startswith("retry-after: ") for line in lines),
    )


@contextmanager
def clients(target: Target, count: int) -> Iterator[list[Sent]]:
    """That many clients, each sending again as soon as it has its answer, for the length of a `with` block."""
    books: list[Sent] = []
    over = threading.Event()

    async def client() -> None:
        while not over.is_set():
            books.append(await target.post())

    async def all_clients() -> None:
        await asyncio.gather(*(client() for _ in range(count)))

    thread = threading.Thread(target=lambda: asyncio.run(all_clients()))
    thread.start()
    try:
        yield books
    finally:
        over.set()
        thread.join()


def storm(target: Target, rate: float, seconds: float) -> list[Sent]:
    """Send at a fixed rate, whatever comes back."""

    async def send() -> list[Sent]:
        began, tasks = time.monotonic(), []
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(began + number / rate - time.monotonic(), 0))
            tasks.append(asyncio.create_task(target.post()))
        return list(await asyncio.gather(*tasks))

    return asyncio.run(send())


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which that share of the values lies, between two of them where it falls there; 0 for none."""
    return float(np.quantile(values, share)) if values else 0.0
