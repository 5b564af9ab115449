"""What the router knows of an arm: outages and mere slowness told apart, the death of one replica and of the last."""

import asyncio
import time

import pytest
from ray.exceptions import ActorDiedError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from serve_app.backends.client import BackendFailure, ServeBackend
from serve_app.calls import Options
from tests.unit.backends.fake_handle import FOREVER, FakeHandle, with_backend


@pytest.fixture
def handle() -> FakeHandle:
    return FakeHandle()


def test_it_starts_as_starting_and_takes_what_the_replica_says(handle: FakeHandle) -> None:
    async def use(backend: ServeBackend) -> None:
        assert (backend.status.state, backend.is_ready) == ("starting", False)
        await backend.refresh_status()

    assert with_backend(handle, use).is_ready


@pytest.mark.parametrize("error", [ActorDiedError(), DeploymentUnavailableError(DeploymentID("OnnxDeployment"))])
def test_no_replica_is_an_outage(handle: FakeHandle, error: Exception) -> None:
    async def use(backend: ServeBackend) -> None:
        await backend.refresh_status()
        handle.outcomes["status"] = error
        await backend.refresh_status()

    backend = with_backend(handle, use)
    assert (backend.status.state, backend.status.reason) == ("unavailable", "no replica of onnx answers")


def test_a_full_queue_is_none(handle: FakeHandle) -> None:
    async def use(backend: ServeBackend) -> None:
        await backend.refresh_status()
        handle.outcomes["status"] = BackPressureError(8, 8)
        await backend.refresh_status()

    assert with_backend(handle, use).is_ready


def test_one_slow_answer_is_none_but_a_silence_is(handle: FakeHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.backends.client._STATUS_TIMEOUT_S", 0.05)
    states = []

    async def use(backend: ServeBackend) -> None:
        await backend.refresh_status()
        handle.takes_s["status"] = FOREVER
        await backend.refresh_status()
        states.append(backend.is_ready)
        backend._heard -= FOREVER
        await backend.refresh_status()
        states.append(backend.is_ready)
        handle.takes_s["status"] = 0
        await backend.refresh_status()
        states.append(backend.is_ready)

    with_backend(handle, use)
    assert states == [True, False, True]


def test_a_replica_seen_dying_is_asked_after_at_once(handle: FakeHandle) -> None:
    async def use(backend: ServeBackend) -> None:
        await backend.refresh_status()
        handle.outcomes["detect"] = ActorDiedError()
        handle.replicas = {"dead": "not crossed out yet"}
        watching = asyncio.ensure_future(backend.wait_for_doubt(FOREVER))
        with pytest.raises(BackendFailure):
            await backend.detect(b"image", Options(), 1)
        assert not backend.is_ready
        await asyncio.wait_for(watching, timeout=5)
        await backend.refresh_status()

    assert with_backend(handle, use).is_ready


@pytest.mark.parametrize("crossed_out", [True, False])
def test_the_death_of_one_of_two_leaves_the_other_ones_calls_alone(handle: FakeHandle, crossed_out: bool) -> None:
    replicas = {"dying": "running", "well": "running"}
    handle.replicas = replicas
    handle.takes_s["detect"] = 0.05

    async def use(backend: ServeBackend) -> None:
        await backend.refresh_status()
        at_the_other = asyncio.ensure_future(backend.detect(b"image", Options(), FOREVER))
        await asyncio.sleep(0)
        handle.outcomes["detect"] = ActorDiedError()
        at_the_dying = asyncio.ensure_future(backend.detect(b"image", Options(), FOREVER))
        await asyncio.sleep(0)
        if crossed_out:
            del replicas["dying"]
        with pytest.raises(BackendFailure):
            await at_the_dying
        assert backend.is_ready
        await at_the_other

    with_backend(handle, use)


def test_a_deployment_that_failed_is_not_asked_without_pause(handle: FakeHandle) -> None:
    handle.outcomes["status"] = DeploymentUnavailableError(DeploymentID("OnnxDeployment"))

    async def watch(backend: ServeBackend) -> None:
        await backend.refresh_status()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(backend.wait_for_doubt(FOREVER), timeout=0.3)

    with_backend(handle, watch)
    assert len(handle.responses) == 1


def test_an_arm_that_left_serves_table_is_asked_after_at_once(handle: FakeHandle) -> None:
    """As it does for a moment when it takes new limits over."""
    replicas = {"replica": "running"}
    handle.replicas = replicas

    async def use(backend: ServeBackend) -> None:
        await backend.refresh_status()
        watching = asyncio.ensure_future(backend.wait_for_doubt(FOREVER))
        replicas.clear()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(backend.watch_replicas(), timeout=0.05)
        assert not backend.is_ready
        replicas["replica"] = "running"
        await asyncio.wait_for(watching, timeout=5)
        await backend.refresh_status()

    assert with_backend(handle, use).is_ready


def test_without_doubt_the_watch_waits_its_time(handle: FakeHandle) -> None:
    began = time.monotonic()
    with_backend(handle, lambda backend: backend.wait_for_doubt(0.05))
    assert time.monotonic() - began >= 0.04
