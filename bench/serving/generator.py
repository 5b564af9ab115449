"""The load generator, in a process of its own. `bench.serving.measure` hands it one order after the other."""

import asyncio
import gc
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import uvloop

from bench.serving.client import Connection, request
from bench.serving.loads import NO_ANSWER, Order, Outcome, Sent, arrivals

_PATIENCE_S = 20.0

Send = Callable[[Order], Outcome]


@contextmanager
def generator() -> Iterator[Send]:
    """A process that carries out orders, for the length of a `with` block."""
    with ProcessPoolExecutor(1, get_context("spawn"), _ignore_interrupts) as pool:
        yield lambda order: pool.submit(carry_out, order).result()


def _ignore_interrupts() -> None:
    # Ctrl-C reaches every process of the terminal; ours ends with the benchmark, without a traceback of its own.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def carry_out(order: Order) -> Outcome:
    """Send one window and wait for its last answer."""
    gc.collect()
    gc.disable()  # a pause of ours would be a latency of theirs
    began = time.process_time()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            sent = runner.run(_Window(order).run())
    finally:
        gc.enable()
    return Outcome(sent, time.process_time() - began)


class _Window:
    def __init__(self, order: Order) -> None:
        self._order = order
        self._request = request(order.host, order.port, order.body)
        self._idle: list[Connection] = []
        self._sent: list[Sent] = []
        self._began = 0.0

    async def run(self) -> list[Sent]:
        load, end = self._order.load, self._order.span.end
        try:
            self._began = time.perf_counter()
            if load.is_open:
                await self._open_loop(arrivals(load.rate, end))
            else:
                await asyncio.gather(*(self._client(end) for _ in range(load.clients)))
        finally:
            for connection in self._idle:
                connection.close()
        return self._sent

    async def _client(self, end: float) -> None:
        while (now := self._now()) < end:
            await self._post(now)

    async def _open_loop(self, due_times: list[float]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for due in due_times:
                await asyncio.sleep(max(due - self._now(), 0))
                tasks.create_task(self._post(due))

    async def _post(self, due: float) -> None:
        connection: Connection | None = None
        try:
            async with asyncio.timeout(_PATIENCE_S):
                connection = await self._connection()
                status = await connection.post(self._request)
        except (OSError, TimeoutError):
            status = NO_ANSWER
        self._sent.append(Sent(due, self._now(), status))
        if connection is None:
            await asyncio.sleep(0.05)  # nobody listens: no reason to ask at full speed
        elif connection.alive and status != NO_ANSWER:
            self._idle.append(connection)
        else:
            connection.close()

    async def _connection(self) -> Connection:
        while self._idle:
            if (connection := self._idle.pop()).alive:
                return connection
        return await Connection.open(self._order.host, self._order.port)

    def _now(self) -> float:
        return time.perf_counter() - self._began
