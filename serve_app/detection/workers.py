"""The threads of a backend and the memory of the images in them. Used by the deployments, in their event loop.

Who is next is decided here and not by the threads' own queue, so that large images never stand before small ones.
"""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from serve_app.errors import Overloaded

T = TypeVar("T")

# An image is small if it takes at most this share of the memory. Small ones have as much again for themselves.
_SMALL_SHARE = 1 / 16
# An image over this share is huge: few of them may wait, as each holds a place of the router for seconds.
_HUGE_SHARE = 1 / 3
_MOST_HUGE = 2
# Bytes of encoded images that may wait; images so short that they always may.
_MOST_WAITING = 64_000_000
_SHORT = 2_000_000


class Memory:
    """Bytes for the pixels of images: `total` for all of them, and a sixteenth more for small ones alone."""

    def __init__(self, total: int) -> None:
        self.small = int(total * _SMALL_SHARE)
        self._free = {"all": total, "small": self.small}

    def take(self, cost: int) -> Callable[[], None] | None:
        """Take `cost` bytes and give what puts them back, once; None while they are not free."""
        accounts = ("small", "all") if cost <= self.small else ("all",)
        account = next((name for name in accounts if cost <= self._free[name]), None)
        if account is None:
            return None
        self._free[account] -= cost
        taken = [cost]

        def put_back() -> None:
            self._free[account] += taken.pop() if taken else 0

        return put_back


class _Waiting(NamedTuple):
    """Whoever takes less memory goes first, and among equals whoever came first."""

    cost: int
    number: int
    length: int
    turn: asyncio.Future[Callable[[], None]]


class Workers:
    """`threads` threads, at least two, whose images take at most `max_bytes` together. For one event loop.

    One of the threads is never taken by a large image.
    """

    def __init__(self, threads: int, max_bytes: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free_threads = threads
        self._memory = Memory(max_bytes)
        self._huge = int(max_bytes * _HUGE_SHARE)
        self._waiting: list[_Waiting] = []
        self._numbers = itertools.count()

    async def run(self, work: Callable[[Callable[[], None]], T], cost: int, length: int, patience_s: float) -> T:
        """Run `work` in a thread as soon as its image, `cost` bytes decoded and `length` encoded, may be decoded.

        A huge image waits at most `patience_s` seconds: the queue is full then, which says nothing about the engine.
        `work` is given what it calls when the pixels are gone. Cancelling takes the image out of the queue, and never
        frees what a thread still uses. Raises Overloaded when too many images wait already, and what `work` raises.
        """
        try:
            async with asyncio.timeout(patience_s if cost > self._huge else None):
                put_back = await self._turn(cost, length)
        except TimeoutError:
            raise Overloaded(f"there was no memory for the image within {patience_s:g} s") from None
        loop = asyncio.get_running_loop()

        def no_pixels() -> None:
            loop.call_soon_threadsafe(self._leave, put_back, 0)

        def ended(_: Future[T]) -> None:
            loop.call_soon_threadsafe(self._leave, put_back, 1)

        running = self._pool.submit(work, no_pixels)
        running.add_done_callback(ended)
        return await asyncio.wrap_future(running)

    async def _turn(self, cost: int, length: int) -> Callable[[], None]:
        others = [each for each in self._waiting if not each.turn.cancelled()]
        mine = _Waiting(cost, next(self._numbers), length, asyncio.get_running_loop().create_future())
        heapq.heappush(self._waiting, mine)
        self._call_next()
        if not mine.turn.done() and (refusal := self._why_not_wait(mine, others)):
            mine.turn.cancel()
            raise Overloaded(refusal)
        try:
            return await mine.turn
        except asyncio.CancelledError:
            if not mine.turn.cancelled():  # it was called in the same moment
                self._leave(mine.turn.result(), 1)
            raise

    def _why_not_wait(self, mine: _Waiting, others: list[_Waiting]) -> str | None:
        waiting = sum(each.length for each in others)
        if mine.length > _SHORT and waiting + mine.length > _MOST_WAITING:
            return f"{waiting} bytes of images wait already, the limit is {_MOST_WAITING}"
        huge = sum(each.cost > self._huge for each in others)
        if mine.cost > self._huge and huge >= _MOST_HUGE:
            return f"{huge} images of more than {self._huge} bytes wait already, the limit is {_MOST_HUGE}"
        return None

    def _call_next(self) -> None:
        """Call the first in the queue, and those after it, as long as there is room."""
        self._waiting = [each for each in self._waiting if not each.turn.cancelled()]
        heapq.heapify(self._waiting)
        while self._waiting and self._free_threads > (self._waiting[0].cost > self._memory.small):
            put_back = self._memory.take(self._waiting[0].cost)
            if put_back is None:
                return  # all others take more
            self._free_threads -= 1
            heapq.heappop(self._waiting).turn.set_result(put_back)

    def _leave(self, put_back: Callable[[], None], threads: int) -> None:
        put_back()
        self._free_threads += threads
        self._call_next()
