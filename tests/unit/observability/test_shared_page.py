"""One page for many readers: who shares a gathering, how long it is kept, and what a reader who leaves changes."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from prometheus_client.metrics_core import CounterMetricFamily, Metric

from serve_app.errors import BackendUnavailable
from serve_app.observability import shared_page
from serve_app.observability.scrape import Page, render_page
from serve_app.observability.shared_page import REUSE_S, SharedPage
from tests.unit.virtual_time import VirtualClock

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Gatherer:
    """Counts how often the page is gathered; each gathering ends when the test says so, with its number or an error."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> list[Metric]:
        self.begun += 1
        number = self.begun
        await self.may_end.wait()
        if self.error:
            raise self.error
        return [CounterMetricFamily("ray_detect_requests", "Requests.", number)]


Scenario = Callable[[SharedPage, Gatherer], Awaitable[None]]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The content types that were rendered, in order."""
    formats: list[str] = []

    def render(families: list[Metric], content_type: str) -> Page:
        formats.append(content_type)
        return render_page(families, content_type)

    monkeypatch.setattr(shared_page, "render_page", render)
    return formats


def run(clock: VirtualClock, scenario: Scenario) -> None:
    async def go() -> None:
        gatherer = Gatherer()
        await scenario(SharedPage(gatherer, clock), gatherer)

    clock.run(go())


async def readers(page: SharedPage, count: int, accept: str = "") -> list[asyncio.Task[Page]]:
    tasks = [asyncio.create_task(page.page(accept)) for _ in range(count)]
    await settled()
    return tasks


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def value(page: Page) -> float:
    line = next(line for line in page.content.decode().splitlines() if line.startswith("ray_detect_requests_total"))
    return float(line.split()[1])


def test_readers_at_once_share_one_gathering_and_one_rendering(clock: VirtualClock, rendered: list[str]) -> None:
    async def scenario(page: SharedPage, gatherer: Gatherer) -> None:
        waiting = await readers(page, 8)
        assert gatherer.begun == 1
        gatherer.may_end.set()
        assert [value(each) for each in await asyncio.gather(*waiting)] == [1] * 8
        assert gatherer.begun == 1
        assert len(rendered) == 1

    run(clock, scenario)


def test_each_format_is_rendered_once_from_the_same_gathering(clock: VirtualClock, rendered: list[str]) -> None:
    async def scenario(page: SharedPage, gatherer: Gatherer) -> None:
        waiting = [*await readers(page, 4), *await readers(page, 4, OPENMETRICS), *await readers(page, 4, "text/html")]
        gatherer.may_end.set()
        pages = await asyncio.gather(*waiting)
        assert gatherer.begun == 1
        assert [each.media_type.partition(";")[0] for each in pages] == [
            *["text/plain"] * 4, *["application/openmetrics-text"] * 4, *["text/plain"] * 4
        ]  # fmt: skip
        assert sorted(kind.partition(";")[0] for kind in rendered) == ["application/openmetrics-text", "text/plain"]

    run(clock, scenario)


def test_a_page_is_reused_for_its_time_counted_from_its_beginning(clock: VirtualClock, rendered: list[str]) -> None:
    async def scenario(page: SharedPage, gatherer: Gatherer) -> None:
        [first] = await readers(page, 1)
        clock.advance(REUSE_S / 2)
        gatherer.may_end.set()
        assert value(await first) == 1
        clock.advance(REUSE_S / 2 - 0.001)
        assert value(await page.page("")) == 1
        assert len(rendered) == 1
        assert value(await page.page(OPENMETRICS)) == 1
        clock.advance(0.001)
        assert value(await page.page("")) == 2
        assert gatherer.begun == 2

    run(clock, scenario)


def test_a_slow_gathering_is_joined_and_never_doubled(clock: VirtualClock) -> None:
    async def scenario(page: SharedPage, gatherer: Gatherer) -> None:
        early = await readers(page, 1)
        clock.advance(7)
        late = await readers(page, 3)
        assert gatherer.begun == 1
        gatherer.may_end.set()
        assert {value(each) for each in await asyncio.gather(*early, *late)} == {1}
        assert value(await page.page("")) == 2

    run(clock, scenario)


def test_a_rendering_under_way_is_joined_too(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[asyncio.Future[None]] = []

    async def to_thread(function: Callable[..., Any], *arguments: Any) -> Any:
        threads.append(asyncio.get_running_loop().create_future())
        await threads[-1]
        return function(*arguments)

    monkeypatch.setattr("serve_app.observability.shared_page.asyncio.to_thread", to_thread)

    async def scenario(page: SharedPage, gatherer: Gatherer) -> None:
        gatherer.may_end.set()
        early = await readers(page, 1)
        clock.advance(7)
        late = await readers(page, 2)
        assert (gatherer.begun, len(threads)) == (1, 1)
        threads[0].set_result(None)
        assert {value(each) for each in await asyncio.gather(*early, *late)} == {1}

    run(clock, scenario)


def test_a_reader_who_goes_away_cancels_nothing_for_the_others(clock: VirtualClock) -> None:
    async def scenario(page: SharedPage, gatherer: Gatherer) -> None:
        first, second = await readers(page, 2)
        first.cancel()
        await settled()
        assert first.cancelled()
        gatherer.may_end.set()
        assert value(await second) == 1
        assert gatherer.begun == 1

    run(clock, scenario)


def test_the_page_is_there_for_the_next_reader_when_all_have_left(clock: VirtualClock) -> None:
    async def scenario(page: SharedPage, gatherer: Gatherer) -> None:
        for reader in await readers(page, 2):
            reader.cancel()
        gatherer.may_end.set()
        assert value(await page.page("")) == 1

    run(clock, scenario)


def test_an_error_is_told_to_all_who_wait_and_not_kept(clock: VirtualClock) -> None:
    async def scenario(page: SharedPage, gatherer: Gatherer) -> None:
        waiting = await readers(page, 3)
        gatherer.error = BackendUnavailable("no metrics agent of Ray answers")
        gatherer.may_end.set()
        told = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in told] == [BackendUnavailable] * 3
        assert gatherer.begun == 1
        gatherer.error = None
        assert value(await page.page("")) == 2

    run(clock, scenario)


def test_a_page_that_cannot_be_written_is_not_kept(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(families: list[Metric], content_type: str) -> Page:
        raise ValueError("broken")

    async def scenario(page: SharedPage, gatherer: Gatherer) -> None:
        gatherer.may_end.set()
        with monkeypatch.context() as patched:
            patched.setattr(shared_page, "render_page", broken)
            with pytest.raises(ValueError, match="broken"):
                await page.page("")
        assert value(await page.page("")) == 2

    run(clock, scenario)


def test_an_error_that_nobody_waits_for_is_not_logged(clock: VirtualClock) -> None:
    logged: list[dict[str, Any]] = []

    async def scenario(page: SharedPage, gatherer: Gatherer) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: logged.append(context))
        [reader] = await readers(page, 1)
        reader.cancel()
        gatherer.error = BackendUnavailable("no metrics agent of Ray answers")
        gatherer.may_end.set()
        await settled()
        assert gatherer.begun == 1

    run(clock, scenario)
    gc.collect()
    assert logged == []
