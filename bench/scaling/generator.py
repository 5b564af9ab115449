"""The clients of `bench.scaling`, in a process of their own: `bench.scaling.load` starts it.

Each keeps one connection and sends again as soon as it has its answer. Little is done with an answer: what the clients
take of the processor is missing in what they measure. Prints one line when the window begins, and the books after it.
"""

import asyncio
import json
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

BEGIN = "begin"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_END_OF_HEAD = b"\r\n\r\n"
_NO_ANSWER = 0
_RECONNECT_S = 0.2


class Order(NamedTuple):
    """What to send, and for how long; as the generator's arguments, in this order."""

    url: str
    body: Path
    clients: int
    warm_up_s: float
    seconds: float


class Books:
    """The answers since the window began."""

    def __init__(self) -> None:
        self.open = False
        self.statuses: Counter[int] = Counter()
        self.ended: list[float] = []
        self.seconds: list[float] = []

    def add(self, status: int, began: float) -> None:
        """One answer, or none: status 0."""
        if self.open:
            now = time.perf_counter()
            self.statuses[status] += 1
            self.ended.append(now)
            self.seconds.append(now - began)


class Client(asyncio.Protocol):
    """One connection. After a lost one, `lost` is set and the client is of no more use."""

    def __init__(self, request: bytes, books: Books) -> None:
        self.lost = asyncio.Event()
        self._request, self._books = request, books
        self._transport: asyncio.WriteTransport | None = None
        self._answer = bytearray()
        self._end = 0
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101 - for the type checker
        self._transport = transport
        self._send()

    def _send(self) -> None:
        assert self._transport is not None  # noqa: S101
        self._answer.clear()
        self._end = 0
        self._began = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Note a complete answer and send the next request."""
        self._answer += data
        self._end = self._end or end_of_answer(self._answer)
        if self._end and len(self._answer) >= self._end:
            self._books.add(int(self._answer[9:12]), self._began)
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        """The answer under way is lost with it."""
        self._books.add(_NO_ANSWER, self._began)
        self.lost.set()


def end_of_answer(answer: bytes | bytearray) -> int:
    """How many bytes the answer has, or 0 while its head is not complete. Raises ValueError where it does not tell."""
    head = answer.find(_END_OF_HEAD)
    if head < 0:
        return 0
    length = _LENGTH.search(answer, 0, head + len(_END_OF_HEAD))
    if length is None:
        raise ValueError(f"an answer without Content-Length: {bytes(answer[:80])!r}")
    return head + len(_END_OF_HEAD) + int(length[1])


async def _keep_asking(host: str, port: int, request: bytes, books: Books) -> None:
    while True:
        try:
            transport, client = await asyncio.get_running_loop().create_connection(
                lambda: Client(request, books), host, port
            )
            try:
                await client.lost.wait()
            finally:
                transport.abort()
        except OSError:
            books.add(_NO_ANSWER, time.perf_counter())
        await asyncio.sleep(_RECONNECT_S)


async def run(order: Order) -> dict[str, object]:
    """Warm up, then keep books for the window."""
    address = urlsplit(order.url)
    host, port = address.hostname or "", address.port or 80
    body = order.body.read_bytes()
    head = f"POST /detect HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
    books = Books()
    clients = [asyncio.create_task(_keep_asking(host, port, head.encode() + body, books)) for _ in range(order.clients)]
    await asyncio.sleep(order.warm_up_s)
    print(BEGIN, flush=True)
    began, cpu = time.perf_counter(), time.process_time()
    books.open = True
    await asyncio.sleep(order.seconds)
    books.open = False
    cpu, lasted = time.process_time() - cpu, time.perf_counter() - began
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    return {
        "lasted": lasted,
        "cpu": cpu,
        "statuses": dict(books.statuses),
        "seconds": books.seconds,
        "ended": [moment - began for moment in books.ended],
    }


if __name__ == "__main__":
    _url, _body, _clients, _warm_up_s, _seconds = sys.argv[1:]
    print(json.dumps(asyncio.run(run(Order(_url, Path(_body), int(_clients), float(_warm_up_s), float(_seconds))))))
