"""One metrics page at a time for all readers. The router builds it around `scrape`; `http.api` asks it for pages.

To gather and render a page takes the router a tenth of a second of its interpreter and more. Eight readers that each
had their own took that from the requests they meant to watch.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from prometheus_client.metrics_core import Metric

from serve_app.observability.scrape import Page, render_page, wanted_format

# Readers usually come every few seconds, and Ray's agents renew what they show about every other second.
REUSE_S = 1.0

T = TypeVar("T")


class SharedPage:
    """The page of the whole application: gathered once for all who ask while it is under way, and kept for `REUSE_S`.

    So a page is at most as old as `REUSE_S` and the time that it took together, beside the age of what Ray's agents
    show. Each format is rendered once. A reader who goes away cancels nothing for the others. An error is told to all
    who wait for it, and the next reader starts anew.
    """

    def __init__(self, gather: Callable[[], Awaitable[Sequence[Metric]]], clock: Callable[[], float]) -> None:
        self._gather, self._clock = gather, clock
        self._latest: _Gathering | None = None

    async def page(self, accept: str) -> Page:
        """The page in the format that an Accept header asks for. Raises what gathering it raises."""
        latest = self._latest
        if latest is None or not (latest.under_way or (latest.good and self._clock() - latest.began < REUSE_S)):
            self._latest = latest = _Gathering(self._gather, self._clock())
        return await latest.page(wanted_format(accept))


class _Gathering:
    """What was gathered at one time, and its pages."""

    def __init__(self, gather: Callable[[], Awaitable[Sequence[Metric]]], began: float) -> None:
        self.began = began
        self._families = _task(_awaited(gather))
        self._pages: dict[str, asyncio.Task[Page]] = {}

    @property
    def under_way(self) -> bool:
        return not all(task.done() for task in (self._families, *self._pages.values()))

    @property
    def good(self) -> bool:
        return not any(task.cancelled() or task.exception() for task in (self._families, *self._pages.values()))

    async def page(self, content_type: str) -> Page:
        if content_type not in self._pages:
            self._pages[content_type] = _task(self._render(content_type))
        return await asyncio.shield(self._pages[content_type])

    async def _render(self, content_type: str) -> Page:
        families = await self._families
        # Thousands of lines are written here. In a thread, they do not hold up the requests on the event loop.
        return await asyncio.to_thread(render_page, families, content_type)


async def _awaited(gather: Callable[[], Awaitable[T]]) -> T:
    return await gather()


def _task(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    task = asyncio.get_running_loop().create_task(coroutine)
    # An error that no reader has waited for is no fault of the event loop's, which would log it.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task
