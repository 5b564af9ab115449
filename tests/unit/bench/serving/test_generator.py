"""The load generator against a small server whose behaviour is known."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.serving.generator import carry_out, generator
from bench.serving.loads import NO_ANSWER, OK, Load, Order, Span
from serve_app.local.ports import free_port

BODY = b"x" * 100_000
SPAN = Span(0.0, 0.5)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
CLOSING = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


class Server:
    """Answers every request with the same bytes, one request at a time if it is told to take a while."""

    def __init__(self, answer: bytes, seconds: float = 0.005) -> None:
        self.connections = 0
        self.bodies: list[int] = []
        self._answer, self._seconds = answer, seconds
        self._turn = asyncio.Lock()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                self.bodies.append(len(await reader.readexactly(length)))
                async with self._turn:
                    await asyncio.sleep(self._seconds)
                writer.write(self._answer)
                if self._answer is CLOSING:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@contextmanager
def running(server: Server) -> Iterator[int]:
    """The server in a thread of its own, for the length of a `with` block; gives its port."""
    port: list[int] = []
    ready, over = threading.Event(), threading.Event()

    async def run() -> None:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        port.append(listening.sockets[0].getsockname()[1])
        ready.set()
        await asyncio.to_thread(over.wait)
        listening.close()
        await asyncio.sleep(0.05)  # the connections see that theirs are closed

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    ready.wait(10)
    try:
        yield port[0]
    finally:
        over.set()
        thread.join()


def order(port: int, load: Load, span: Span = SPAN) -> Order:
    return Order("127.0.0.1", port, BODY, load, span)


@pytest.mark.parametrize("answer", [ANSWER, CHUNKED])
def test_a_closed_loop_keeps_its_connections(answer: bytes) -> None:
    server = Server(answer)
    with running(server) as port:
        outcome = carry_out(order(port, Load.closed(3), Span(0.0, 1.0)))
    assert server.connections == 3
    assert {one.status for one in outcome.sent} == {OK}
    assert len(outcome.sent) == len(server.bodies) > 5
    assert set(server.bodies) == {len(BODY)}


def test_a_server_that_hangs_up_after_each_answer_gets_a_new_connection() -> None:
    server = Server(CLOSING)
    with running(server) as port:
        outcome = carry_out(order(port, Load.closed(1)))
    assert {one.status for one in outcome.sent} == {OK}
    assert server.connections == len(outcome.sent)


def test_an_open_loop_sends_on_time_and_counts_the_wait() -> None:
    """Ten requests a tenth of the time apart that the server takes: the last waits for all before it."""
    with running(Server(ANSWER, seconds=0.1)) as port:
        outcome = carry_out(order(port, Load.open("too much", 100), Span(0.0, 0.1)))
    due = sorted(one.due for one in outcome.sent)
    assert due == pytest.approx([0.01 * number for number in range(10)])
    slowest = max(one.ended - one.due for one in outcome.sent)
    assert slowest > 0.8


def test_refusals_are_reported_as_they_are() -> None:
    with running(Server(REFUSED)) as port:
        outcome = carry_out(order(port, Load.closed(1)))
    assert {one.status for one in outcome.sent} == {503}


def test_nobody_there_is_no_answer() -> None:
    outcome = carry_out(order(free_port(), Load.closed(1)))
    assert {one.status for one in outcome.sent} == {NO_ANSWER}


def test_it_runs_in_a_process_of_its_own() -> None:
    with running(Server(ANSWER)) as port, generator() as send:
        outcome = send(order(port, Load.closed(1)))
    assert outcome.cpu_seconds > 0
    assert outcome.sent
