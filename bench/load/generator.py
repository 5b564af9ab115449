"""Sends load: closed loops for as long as a `with` block lasts or a count, and windows in a process of their own.

Used by `bench.serving`, `bench.chaos`, `bench.observability` and the integration tests.
"""

import asyncio
import gc
import itertools
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

import aiohttp
import uvloop

from bench.load.plan import NO_ANSWER, Answer, Order, Outcome, Sent, Target, arrivals

_PAUSE_S = 0.05  # after a request without an answer, so that a client does not reconnect at full speed

Send = Callable[[Order], Outcome]
T = TypeVar("T")


class Loop:
    """Sends by `post` and notes each request in `sent` as soon as its answer is complete."""

    def __init__(
        self, post: Callable[[], Awaitable[Answer]], sent: list[Sent], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._post, self._sent, self._clock = post, sent, clock

    async def closed(self, clients: int, more: Callable[[], bool]) -> None:
        """Each client sends again once it has its answer, while `more` is true."""

        async def client() -> None:
            while more():
                status = await self._send(self._clock())
                if status == NO_ANSWER:
                    await asyncio.sleep(_PAUSE_S)

        await asyncio.gather(*(client() for _ in range(clients)))

    async def open(self, due_times: Iterable[float]) -> None:
        """Send when each request is due, whether or not earlier answers have come; return with the last answer."""
        async with asyncio.TaskGroup() as tasks:
            for due in due_times:
                await asyncio.sleep(max(due - self._clock(), 0))
                tasks.create_task(self._send(due))

    async def _send(self, due: float) -> int:
        answer = await self._post()
        self._sent.append(Sent.read(due, self._clock(), answer))
        return answer.status


async def _post(session: aiohttp.ClientSession, target: Target) -> Answer:
    """Send the target's request once. No error and no missing answer is raised: both are status 0."""
    try:
        async with session.post(target.url + target.path, data=target.body, headers=target.headers) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, headers, await response.read())
    except (aiohttp.ClientError, OSError):  # a TimeoutError is an OSError
        return Answer()


def _run(target: Target, sent: list[Sent], drive: Callable[[Loop], Awaitable[T]]) -> T:
    async def run() -> T:
        connector = aiohttp.TCPConnector(limit=0, force_close=not target.keep_alive)
        timeout = aiohttp.ClientTimeout(total=target.patience_s)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            return await drive(Loop(lambda: _post(session, target), sent))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


@contextmanager
def clients(target: Target, count: int = 0, rate: float = 0.0) -> Iterator[list[Sent]]:
    """That many clients, or requests at a rate, in a thread for the length of a `with` block; the list grows."""
    sent: list[Sent] = []
    over = threading.Event()

    def drive(loop: Loop) -> Awaitable[None]:
        began, numbers = time.monotonic(), itertools.takewhile(lambda _: not over.is_set(), itertools.count())
        if rate:
            return loop.open(began + number / rate for number in numbers)
        return loop.closed(count, lambda: not over.is_set())

    thread = threading.Thread(target=_run, args=(target, sent, drive))
    thread.start()
    try:
        yield sent
    finally:
        over.set()
        thread.join()


def send(target: Target, count: int, clients: int = 1) -> list[Sent]:
    """Send `count` requests from some clients and return what they saw."""
    sent: list[Sent] = []
    numbers = iter(range(count))
    _run(target, sent, lambda loop: loop.closed(clients, lambda: next(numbers, None) is not None))
    return sent


def carry_out(order: Order) -> Outcome:
    """Send one window in this process and wait for its last answer."""
    sent: list[Sent] = []

    async def drive(loop: Loop) -> float:
        load, seconds, began = order.load, order.span.end, time.monotonic()
        if load.is_open:
            await loop.open(began + after for after in arrivals(load.rate, seconds))
        else:
            await loop.closed(load.clients, lambda: time.monotonic() < began + seconds)
        return began

    gc.collect()
    gc.disable()  # a pause of the generator would count as latency of the server
    used = time.process_time()
    try:
        began = _run(order.target, sent, drive)
    finally:
        gc.enable()
    return Outcome(began, sent, time.process_time() - used)


@contextmanager
def generator() -> Iterator[Send]:
    """A process of its own that carries out orders, for the length of a `with` block."""
    with ProcessPoolExecutor(1, get_context("spawn"), ignore_interrupts) as pool:
        yield lambda order: pool.submit(carry_out, order).result()


def ignore_interrupts() -> None:
    """Called first in a process that helps the benchmark."""
    # Ctrl-C reaches every process of the terminal. This one ends with the benchmark, without a traceback of its own.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
