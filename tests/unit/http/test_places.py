"""The places that the policy gives, taken over HTTP: whatever counts them, the built API must be tied to it."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import pytest

from serve_app.http.api import build_api
from serve_app.schemas import DetectionResult
from serve_app.settings import LimitSettings
from serve_app.traffic.shadow import Shadow
from tests.unit.http.conftest import IMAGE, FakeService, problem
from tests.unit.traffic.bed import Bench
from tests.unit.traffic.fake_backend import NOTHING_FOUND


@pytest.fixture
def bed() -> Bench:
    bed = Bench()
    bed.clock.now = time.perf_counter()  # the API's clock, from which deadlines are reckoned
    return bed


@pytest.fixture
def router(bed: Bench, service: FakeService) -> httpx.AsyncClient:
    api = build_api(
        limits=LimitSettings(),
        policy=bed.in_force,
        admission=service.admission,
        dispatcher=bed.dispatcher,
        shadow=cast(Shadow, service),
        readiness=service.readiness,
        metrics_page=service.metrics_page,
    )
    headers = {"Content-Type": "image/jpeg"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://router", headers=headers)


class Held:
    """Lets nothing pass until a test says so, and tells how many wait."""

    def __init__(self) -> None:
        self.waiting = asyncio.Semaphore(0)
        self._go = asyncio.Event()

    async def wait(self) -> None:
        self.waiting.release()
        await self._go.wait()

    def release(self) -> None:
        self._go.set()


@pytest.mark.parametrize(("places", "status"), [(1, 503), (2, 200)])
def test_max_uploads_are_the_bodies_received_at_once(
    router: httpx.AsyncClient, bed: Bench, places: int, status: int
) -> None:
    bed.policy(max_uploads=places)

    async def send() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        held = Held()

        async def slow_body() -> AsyncIterator[bytes]:
            yield IMAGE
            await held.wait()  # the API has taken the first part, and asks for more
            yield IMAGE

        async with router:
            first = asyncio.create_task(router.post("/detect", content=slow_body()))
            await held.waiting.acquire()
            second = await router.post("/detect", content=IMAGE)
            held.release()
            return await first, second, await router.post("/detect", content=IMAGE)

    first, second, afterwards = asyncio.run(send())
    assert (first.status_code, second.status_code, afterwards.status_code) == (200, status, 200)
    if status == 503:
        assert "bodies are being received, the limit is 1" in problem(second, 503, "overloaded")


@pytest.mark.parametrize(("places", "statuses"), [(1, [200, 503]), (2, [200, 200])])
def test_max_inflight_are_the_requests_under_way_at_once(
    router: httpx.AsyncClient, bed: Bench, monkeypatch: pytest.MonkeyPatch, places: int, statuses: list[int]
) -> None:
    bed.policy(max_inflight=places, fallback=False)

    async def send() -> list[httpx.Response]:
        held = Held()

        async def slow(*_: Any, **__: Any) -> DetectionResult:
            await held.wait()
            return NOTHING_FOUND

        monkeypatch.setattr(bed.onnx, "detect", slow)
        async with router:
            sent = []
            for _ in statuses:
                sent.append(asyncio.create_task(router.post("/detect", content=IMAGE)))
                holding = asyncio.create_task(held.waiting.acquire())
                await asyncio.wait([sent[-1], holding], return_when=asyncio.FIRST_COMPLETED)
                holding.cancel()
            held.release()
            return [*await asyncio.gather(*sent), await router.post("/detect", content=IMAGE)]

    *answers, afterwards = asyncio.run(send())
    assert [answer.status_code for answer in answers] == statuses
    assert afterwards.status_code == 200
    for answer in answers:
        if answer.status_code == 503:
            assert "under way, the limit is 1" in problem(answer, 503, "overloaded")
