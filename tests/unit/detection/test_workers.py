"""Threads and memory of a backend: small images pass large ones, and no more bytes are in work than there are."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from serve_app.detection.workers import Memory, Workers
from serve_app.errors import Overloaded

SMALL, LARGE, HUGE = 5, 30, 100  # of 100 bytes; small images take at most 6, and huge ones more than 33
BODY = 10_000_000


class Held:
    """Work that says when it began, and ends when it is told to."""

    def __init__(self, began: list[str], name: str) -> None:
        self.name = name
        self.go_on, self.pixels_gone = threading.Event(), threading.Event()
        self._began = began
        self._inside = threading.Event()

    def __call__(self, no_pixels: Callable[[], None]) -> str:
        self._began.append(self.name)
        self._inside.set()
        if self.pixels_gone.wait(timeout=60):
            no_pixels()
        assert self.go_on.wait(timeout=60)
        return self.name

    def end(self) -> None:
        self.pixels_gone.set()
        self.go_on.set()

    async def begins(self) -> None:
        assert await asyncio.to_thread(self._inside.wait, 60)


class Bench:
    """Workers, and the requests that were made of them."""

    def __init__(self, threads: int = 3, total: int = 100) -> None:
        self.workers = Workers(threads, total, "test")
        self.began: list[str] = []
        self.tasks: list[asyncio.Task[str]] = []

    async def ask(self, name: str, cost: int, length: int = 1000) -> Held:
        """Make a request and let it take its turn, if it is due."""
        work = Held(self.began, name)
        self.tasks.append(asyncio.create_task(self.workers.run(work, cost, length, 60)))
        await self.settle()
        return work

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def finish(self) -> list[str | BaseException]:
        return await asyncio.gather(*self.tasks, return_exceptions=True)


def test_a_huge_image_is_alone_and_small_ones_pass_it() -> None:
    async def go() -> None:
        bench = Bench()
        huge = await bench.ask("huge", HUGE)
        second = await bench.ask("second", HUGE)
        small = await bench.ask("small", SMALL)
        await huge.begins()
        await small.begins()
        assert sorted(bench.began) == ["huge", "small"]
        for work in (small, huge, second):
            work.end()
        assert await bench.finish() == ["huge", "second", "small"]

    asyncio.run(go())


def test_whoever_takes_least_is_next_and_among_equals_whoever_came_first() -> None:
    async def go() -> None:
        bench = Bench(threads=2)  # of which large images take one
        first = await bench.ask("first", HUGE)
        await first.begins()
        waiting = [await bench.ask(name, cost) for name, cost in
                   (("huge", HUGE), ("large", 90), ("photo", 30), ("photo 2", 30))]  # fmt: skip
        for work in (first, *waiting):
            work.end()
        await bench.finish()
        assert bench.began == ["first", "photo", "photo 2", "large", "huge"]

    asyncio.run(go())


def test_large_images_leave_one_thread_to_small_ones() -> None:
    async def go() -> None:
        bench = Bench(threads=3)
        large = [await bench.ask(f"large {number}", LARGE) for number in range(3)]
        await large[0].begins()
        await large[1].begins()
        small = await bench.ask("small", SMALL)
        await small.begins()
        assert sorted(bench.began) == ["large 0", "large 1", "small"]
        for work in (small, *large):
            work.end()
        await bench.finish()

    asyncio.run(go())


def test_memory_is_free_once_the_pixels_are_gone_and_the_thread_at_the_end() -> None:
    async def go() -> None:
        bench = Bench(threads=3)
        first, second = await bench.ask("first", HUGE), await bench.ask("second", HUGE)
        await first.begins()
        first.pixels_gone.set()
        await second.begins()  # while the first waits for the engine
        third = await bench.ask("third", SMALL)
        fourth = await bench.ask("fourth", SMALL)
        await third.begins()
        assert bench.began[:3] == ["first", "second", "third"]
        assert len(bench.began) == 3  # all threads are taken
        for work in (first, second, third, fourth):
            work.end()
        await bench.finish()

    asyncio.run(go())


def test_who_is_cancelled_while_waiting_never_begins_and_takes_nothing() -> None:
    async def go() -> None:
        bench = Bench()
        first, second, third = [await bench.ask(name, HUGE) for name in ("first", "second", "third")]
        await first.begins()
        bench.tasks[1].cancel()
        for work in (first, second, third):
            work.end()
        assert isinstance((await bench.finish())[1], asyncio.CancelledError)
        assert bench.began == ["first", "third"]
        last = await bench.ask("last", HUGE)
        last.end()
        assert (await bench.finish())[-1] == "last"

    asyncio.run(go())


def test_who_is_cancelled_in_the_moment_of_its_turn_gives_it_back() -> None:
    async def go() -> None:
        bench = Bench()
        first = await bench.ask("first", HUGE)
        await bench.ask("second", HUGE)
        await first.begins()
        bench.workers._leave(lambda: bench.workers._memory._free.update(all=100), 1)  # the turn of the second comes
        bench.tasks[1].cancel()
        await bench.settle()
        assert bench.began == ["first"]
        third = await bench.ask("third", HUGE)
        await third.begins()
        for work in (first, third):
            work.end()
        await bench.finish()

    asyncio.run(go())


def test_who_is_cancelled_while_running_keeps_its_memory_until_the_thread_ends() -> None:
    async def go() -> None:
        bench = Bench()
        first, second = await bench.ask("first", HUGE), await bench.ask("second", HUGE)
        await first.begins()
        bench.tasks[0].cancel()
        await bench.settle()
        assert bench.began == ["first"]
        first.end()
        await second.begins()
        second.end()
        await bench.finish()

    asyncio.run(go())


def test_work_that_raises_gives_back_what_it_took() -> None:
    def broken(_: Callable[[], None]) -> str:
        raise ValueError("broken")

    async def go() -> None:
        workers = Workers(2, 100, "test")
        for _ in range(5):
            with pytest.raises(ValueError, match="broken"):
                await workers.run(broken, HUGE, 10, 60)

    asyncio.run(go())


def test_no_more_bytes_wait_than_may_but_short_images_always_may() -> None:
    async def go() -> None:
        bench = Bench()
        works = [await bench.ask("first", HUGE, BODY)]
        await works[0].begins()
        works += [await bench.ask(f"waits {number}", LARGE, BODY) for number in range(6)]
        with pytest.raises(Overloaded, match="60000000 bytes of images wait already, the limit is 64000000"):
            await bench.workers.run(Held(bench.began, "refused"), LARGE, BODY, 60)
        works += [await bench.ask("short", LARGE, 2_000_000), await bench.ask("short", LARGE, 2_000_000)]
        works += [await bench.ask("runs at once", SMALL, BODY)]
        for work in works:
            work.end()
        assert len(await bench.finish()) == len(bench.began) == len(works)
        assert "refused" not in bench.began
        again = await bench.ask("again", HUGE, 60_000_000)
        again.end()
        assert (await bench.finish())[-1] == "again"

    asyncio.run(go())


def test_few_huge_images_wait_and_others_behind_them() -> None:
    async def go() -> None:
        bench = Bench()
        works = [await bench.ask("first", HUGE)]
        await works[0].begins()
        works += [await bench.ask(f"waits {number}", 34) for number in range(2)]
        with pytest.raises(Overloaded, match="2 images of more than 33 bytes wait already, the limit is 2"):
            await bench.workers.run(Held(bench.began, "refused"), 34, 1000, 60)
        works += [await bench.ask(f"photo {number}", LARGE) for number in range(10)]
        for work in works:
            work.end()
        assert len(await bench.finish()) == len(bench.began) == 13

    asyncio.run(go())


def test_a_huge_image_that_waits_too_long_is_told_that_the_queue_is_full() -> None:
    async def go() -> None:
        bench = Bench()
        first = await bench.ask("first", HUGE)
        await first.begins()
        with pytest.raises(Overloaded, match="no memory for the image within 0 s"):
            await bench.workers.run(Held(bench.began, "late"), HUGE, 10, 0)
        patient = asyncio.create_task(bench.workers.run(Held(bench.began, "photo"), LARGE, 10, 0))
        await bench.settle()
        assert not patient.done()  # for a hanging engine, it has to run into its time limit
        patient.cancel()
        first.end()
        await bench.finish()
        assert bench.began == ["first"]

    asyncio.run(go())


def test_memory_is_never_given_twice_nor_taken_back_twice() -> None:
    memory = Memory(100)
    assert memory.small == 6
    large = memory.take(96)
    assert large is not None
    assert memory.take(7) is None
    small = [memory.take(4) for _ in range(3)]
    assert [each is None for each in small] == [False, False, True]  # one beside the large one, one in what it left
    large()
    large()
    assert memory.take(101) is None
    assert memory.take(97) is None
    assert memory.take(96) is not None
