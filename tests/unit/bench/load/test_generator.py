"""Closed and open loops: their timing on a clock of the test's own, their HTTP against a small server."""

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from bench.load.generator import Loop, carry_out, clients, generator, send
from bench.load.plan import NO_ANSWER, OK, Answer, Load, Order, Sent, Span, Target, arrivals

BODY = b"x" * 400_000
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER
CLOSING = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
REFUSED = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 1\r\n"
    b'Content-Length: 22\r\n\r\n{"code": "overloaded"}'
)


class Clock:
    """The loop's time jumps to whatever is due next, so nothing waits and nothing depends on speed."""

    def __init__(self) -> None:
        self.now = 0.0
        self._loop = asyncio.new_event_loop()
        self._loop.time = lambda: self.now  # type: ignore[method-assign]

    def run(self, work: Awaitable[None]) -> None:
        """Run to the end."""
        task = asyncio.ensure_future(work, loop=self._loop)
        while not task.done():
            if not self._loop._ready:  # type: ignore[attr-defined]
                self.now = max(self.now, min(timer.when() for timer in self._loop._scheduled))  # type: ignore[attr-defined]
            self._loop.call_soon(self._loop.stop)
            self._loop.run_forever()
        task.result()

    def close(self) -> None:
        """At the end of the test."""
        self._loop.close()


@pytest.fixture
def clock() -> Iterator[Clock]:
    made = Clock()
    yield made
    made.close()


def server_taking(seconds: float, status: int = OK) -> Callable[[], Awaitable[Answer]]:
    """One request at a time."""
    turn = asyncio.Lock()

    async def post() -> Answer:
        async with turn:
            await asyncio.sleep(seconds)
        return Answer(status)

    return post


def test_an_open_loop_sends_on_time_and_counts_the_wait(clock: Clock) -> None:
    """Ten requests a tenth of the time apart that the server takes: the last waits for all before it."""
    sent: list[Sent] = []
    clock.run(Loop(server_taking(0.1), sent, lambda: clock.now).open(arrivals(100, 0.1)))
    assert [one.due for one in sent] == pytest.approx([0.01 * number for number in range(10)])
    assert [one.ended for one in sent] == pytest.approx([0.1 * number for number in range(1, 11)])
    assert sent[-1].seconds == pytest.approx(0.91)


def test_a_generator_that_falls_behind_counts_its_own_delay(clock: Clock) -> None:
    sent: list[Sent] = []
    clock.now = 5.0  # the first three were due while it did not run
    clock.run(Loop(server_taking(0.0), sent, lambda: clock.now).open([2.0, 3.0, 4.0, 6.0]))
    assert [one.seconds for one in sent] == pytest.approx([3.0, 2.0, 1.0, 0.0])


def test_a_closed_loop_sends_again_when_it_has_its_answer_and_ends_when_told(clock: Clock) -> None:
    sent: list[Sent] = []
    clock.run(Loop(server_taking(0.1), sent, lambda: clock.now).closed(2, lambda: clock.now < 0.55))
    assert [one.due for one in sent] == pytest.approx([0, 0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert [one.seconds for one in sent] == pytest.approx([0.1] + [0.2] * 6)


def test_a_client_without_an_answer_pauses(clock: Clock) -> None:
    sent: list[Sent] = []
    clock.run(Loop(server_taking(0.0, NO_ANSWER), sent, lambda: clock.now).closed(1, lambda: clock.now < 0.2))
    assert len(sent) == 4


class Server:
    """Answers every request with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self.connections = 0
        self.bodies: list[int] = []
        self.enough = threading.Event()
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                self.bodies.append(len(await reader.readexactly(length)))
                if len(self.bodies) == 5:
                    self.enough.set()
                writer.write(self._answer)
                if self._answer is CLOSING:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextmanager
def running(serve: Serve) -> Iterator[Target]:
    """A server in a thread of its own, for the length of a `with` block."""
    url: list[str] = []
    ready, over = threading.Event(), threading.Event()

    async def run() -> None:
        connections: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            await serve(reader, writer)

        listening = await asyncio.start_server(connected, "127.0.0.1", 0)
        url.append(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
        ready.set()
        await asyncio.to_thread(over.wait)
        listening.close()
        await asyncio.gather(*connections)  # they end, as the clients have closed theirs

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    ready.wait()
    try:
        yield Target(url[0], BODY, keep_alive=True)
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("answer", [ANSWER, CHUNKED, INTERIM])
def test_connections_are_kept_where_the_target_says_so(answer: bytes) -> None:
    server = Server(answer)
    with running(server.serve) as target:
        sent = send(target, 20, clients=3)
    assert server.connections <= 3
    assert [one.status for one in sent] == [OK] * 20
    assert server.bodies == [len(BODY)] * 20


def test_a_request_has_its_headers_and_a_connection_of_its_own_unless_told_to_keep_it() -> None:
    heads: list[bytes] = []

    class Noting(Server):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            await reader.readexactly(len(BODY))
            writer.write(ANSWER)
            writer.close()

    with running(Noting(ANSWER).serve) as target:
        target = target._replace(headers={"X-Backend": "onnx"}, path="/detect?threshold=0.05", keep_alive=False)
        sent = send(target, 3)
    assert [one.status for one in sent] == [OK] * 3
    assert len(heads) == 3
    for head in heads:
        assert head.startswith(b"POST /detect?threshold=0.05 HTTP/1.1\r\n")
        assert {b"X-Backend: onnx", b"Connection: close", b"Content-Length: 400000"} <= set(head.split(b"\r\n"))


def test_a_server_that_closes_after_each_answer_gets_a_new_connection() -> None:
    server = Server(CLOSING)
    with running(server.serve) as target:
        sent = send(target, 3)
    assert [one.status for one in sent] == [OK] * 3
    assert server.connections == 3


def test_refusals_are_reported_as_they_are() -> None:
    with running(Server(REFUSED).serve) as target:
        (sent,) = send(target, 1)
    assert (sent.status, sent.problem, sent.retry_after) == (503, True, True)


@pytest.mark.parametrize(("answer", "status"), [(REFUSED, 503), (b"", NO_ANSWER)], ids=["refusal", "nothing"])
def test_a_server_that_resets_the_connection_with_the_image_unread(answer: bytes, status: int) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing is a reset now
        writer.close()

    with running(refuse) as target:
        (sent,) = send(target, 1)
    assert sent.status == status


def test_a_port_without_a_listener_is_no_answer() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening, so nobody else can take it
        (sent,) = send(Target(f"http://127.0.0.1:{unused.getsockname()[1]}", BODY), 1)
    assert sent.status == NO_ANSWER


def test_the_list_of_a_with_block_grows_while_the_clients_send() -> None:
    server = Server(ANSWER)
    with running(server.serve) as target, clients(target, 2) as sent:
        server.enough.wait()
        assert len(sent) >= 3  # of five requests at most two have no answer yet
    assert len(sent) == len(server.bodies)


def test_a_with_block_may_send_at_a_rate_instead() -> None:
    server = Server(ANSWER)
    with running(server.serve) as target, clients(target, rate=1000) as sent:
        server.enough.wait()
    due = sorted(one.due for one in sent)
    assert [one - due[0] for one in due] == pytest.approx([number / 1000 for number in range(len(due))])
    assert len(sent) == len(server.bodies)


def test_a_window_of_an_open_loop_sends_all_that_is_due() -> None:
    with running(Server(ANSWER).serve) as target:
        outcome = carry_out(Order(target, Load.open("quick", 1000), Span(0.0, 0.02)))
    assert sorted(one.due - outcome.began for one in outcome.sent) == pytest.approx(arrivals(1000, 0.02), abs=1e-6)


def test_it_runs_in_a_process_of_its_own() -> None:
    with running(Server(ANSWER).serve) as target, generator() as order:
        outcome = order(Order(target, Load.open("quick", 100), Span(0.0, 0.05)))
    assert outcome.cpu_seconds > 0
    assert len(outcome.sent) == 5
