"""What the router knows of a backend: an outage told from slowness, the death of one replica and of the last."""

import asyncio
from typing import Any

import pytest
from ray.exceptions import ActorDiedError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from serve_app.backends.client import ServeBackendClient
from serve_app.backends.protocol import BackendFailure
from serve_app.schemas import BackendStatus, Options
from tests.unit.backends.fake_handle import FOREVER, READY, FakeHandle, with_client, with_tables
from tests.unit.virtual_time import VirtualClock

NO_DEPLOYMENT = DeploymentUnavailableError(DeploymentID("OnnxDeployment"))


@pytest.fixture
def handle() -> FakeHandle:
    return FakeHandle()


def test_it_starts_as_starting_and_takes_what_the_replica_says(handle: FakeHandle) -> None:
    async def use(client: ServeBackendClient, clock: VirtualClock) -> None:
        assert (client.watch.status.state, client.is_ready) == ("starting", False)
        await client.watch.refresh_status()

    assert with_client(handle, use).watch.status == READY


@pytest.mark.parametrize("error", [ActorDiedError(), NO_DEPLOYMENT])
def test_no_replica_is_an_outage(handle: FakeHandle, error: Exception) -> None:
    async def use(client: ServeBackendClient, clock: VirtualClock) -> None:
        await client.watch.refresh_status()
        handle.outcomes["status"] = error
        await client.watch.refresh_status()

    status = with_client(handle, use).watch.status
    assert (status.state, status.reason) == ("unavailable", "no replica of onnx answers")


def test_a_full_queue_is_no_outage(handle: FakeHandle) -> None:
    async def use(client: ServeBackendClient, clock: VirtualClock) -> None:
        await client.watch.refresh_status()
        handle.outcomes["status"] = BackPressureError(8, 8)
        clock.advance(FOREVER)
        await client.watch.refresh_status()
        handle.takes_s["status"] = FOREVER  # the full queue was a sign of life
        await client.watch.refresh_status()

    assert with_client(handle, use).is_ready


def test_a_slow_answer_is_no_outage_but_silence_over_five_seconds_is(handle: FakeHandle) -> None:
    states = []

    async def use(client: ServeBackendClient, clock: VirtualClock) -> None:
        await client.watch.refresh_status()
        handle.takes_s["status"] = FOREVER
        for _ in range(3):  # each gives up after 2 s
            await client.watch.refresh_status()
            states.append(client.is_ready)
        handle.takes_s["status"] = 0
        await client.watch.refresh_status()
        states.append(client.is_ready)

    with_client(handle, use)
    assert states == [True, True, False, True]


def test_the_successor_of_a_dead_replica_is_asked_at_once(handle: FakeHandle) -> None:
    async def use(client: ServeBackendClient, clock: VirtualClock) -> None:
        await client.watch.refresh_status()
        handle.outcomes["detect"] = ActorDiedError()
        handle.replicas = {"dead": "not removed yet"}
        began = clock()
        pausing = asyncio.ensure_future(client.watch.pause(FOREVER))
        with pytest.raises(BackendFailure):
            await client.detect(b"image", Options(), 1)
        assert not client.is_ready
        await pausing
        assert clock() - began == pytest.approx(0.05)
        await client.watch.refresh_status()

    assert with_client(handle, use).is_ready


@pytest.mark.parametrize("removed", [True, False])
def test_the_death_of_one_of_two_leaves_the_other_ones_calls_alone(handle: FakeHandle, removed: bool) -> None:
    replicas = {"dying": "running", "well": "running"}
    handle.replicas = replicas
    handle.takes_s["detect"] = 0.05

    async def use(client: ServeBackendClient, clock: VirtualClock) -> None:
        await client.watch.refresh_status()
        at_the_other = asyncio.ensure_future(client.detect(b"image", Options(), FOREVER))
        await asyncio.sleep(0)
        handle.outcomes["detect"] = ActorDiedError()
        at_the_dying = asyncio.ensure_future(client.detect(b"image", Options(), FOREVER))
        await asyncio.sleep(0)
        if removed:
            del replicas["dying"]
        with pytest.raises(BackendFailure):
            await at_the_dying
        assert client.is_ready
        await at_the_other

    with_client(handle, use)


def test_a_deployment_that_failed_is_asked_at_the_usual_pace(handle: FakeHandle) -> None:
    handle.outcomes["status"] = NO_DEPLOYMENT

    async def use(client: ServeBackendClient, clock: VirtualClock) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.watch.run(), timeout=10)

    with_client(handle, use)
    assert 9 <= len(handle.responses) <= 11


def test_a_backend_that_left_serves_table_is_asked_at_once(handle: FakeHandle) -> None:
    """It leaves for a moment when it takes new limits over."""
    replicas = {"replica": "running"}
    handle.replicas = replicas

    async def use(client: ServeBackendClient, clock: VirtualClock) -> None:
        await client.watch.refresh_status()
        pausing = asyncio.ensure_future(client.watch.pause(FOREVER))
        replicas.clear()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.watch.follow_table(), timeout=1)
        assert not client.is_ready
        replicas["replica"] = "running"
        await asyncio.wait_for(pausing, timeout=1)
        await client.watch.refresh_status()

    assert with_client(handle, use).is_ready


def test_a_healthy_backend_is_asked_every_second(handle: FakeHandle) -> None:
    async def use(client: ServeBackendClient, clock: VirtualClock) -> None:
        began = clock()
        await client.watch.pause(1.0)
        assert clock() - began == pytest.approx(1.05)

    with_client(handle, use)


def test_the_watch_outlives_an_error_that_nobody_expects(handle: FakeHandle, caplog: pytest.LogCaptureFixture) -> None:
    handle.outcomes["status"] = ZeroDivisionError()

    async def use(client: ServeBackendClient, clock: VirtualClock) -> None:
        running = asyncio.ensure_future(client.watch.run())
        await asyncio.sleep(3)
        assert client.watch.status.state == "starting"
        handle.outcomes["status"] = READY
        await asyncio.sleep(3)
        assert client.is_ready
        running.cancel()

    with_client(handle, use)
    assert "the status of onnx cannot be read" in caplog.text


A, B = "sha256:a", "sha256:b"


def told(state: str = "ready", **values: Any) -> dict[str, Any]:
    """What a replica tells Serve of itself."""
    return {"state": state, **values}


def pair(handle: FakeHandle, first: dict[str, Any], second: dict[str, Any]) -> None:
    handle.replicas = {"first": "running", "second": "running"}
    handle.told = {"first": first, "second": second}


def after_one_question(handle: FakeHandle) -> ServeBackendClient:
    async def use(client: ServeBackendClient, clock: VirtualClock) -> None:
        await client.watch.refresh_status()

    return with_client(handle, use)


def report(handle: FakeHandle) -> dict[str, Any]:
    client = after_one_question(handle)
    with with_tables():
        return client.watch.report()


def test_the_report_names_what_ails_one_replica_of_two(handle: FakeHandle) -> None:
    pair(handle, told("unavailable", reason="no artifact; run: x"), told())
    assert report(handle) == {
        "state": "ready",
        "replicas": 2,
        "replicas_ready": 1,
        "replica_errors": {"first": "no artifact; run: x"},
    }


def test_the_report_names_a_configuration_that_one_replica_refused(handle: FakeHandle) -> None:
    pair(handle, told(configuration_error="no artifact"), told())
    assert report(handle) == {
        "state": "ready",
        "configuration_error": "no artifact",
        "replicas": 2,
        "replicas_ready": 2,
        "replica_errors": {"first": "no artifact"},
    }


def test_the_report_where_ray_tells_nothing(handle: FakeHandle) -> None:
    handle.replicas = None
    assert report(handle) == {"state": "ready", "replicas": None}


def test_a_replica_of_another_version_tells_nothing(handle: FakeHandle) -> None:
    pair(handle, {"state": "humming"}, told())
    assert report(handle) == {"state": "ready", "replicas": 2, "replicas_ready": 1}


def test_a_backend_is_ready_while_one_replica_is(handle: FakeHandle) -> None:
    """Serve may pick any before the replicas have told it how they are."""
    handle.outcomes["status"] = BackendStatus(state="unavailable", reason="no artifact")
    pair(handle, told("unavailable", reason="no artifact"), told(fingerprint=A))
    client = after_one_question(handle)
    assert client.watch.status == BackendStatus(state="ready", fingerprint=A)
    pair(handle, told("unavailable", reason="no artifact"), told("unavailable", reason="no artifact"))
    assert after_one_question(handle).watch.status.reason == "no artifact"


@pytest.mark.parametrize(("states", "count"), [(("unavailable", "ready"), 1), (("unavailable", "unavailable"), 0)])
def test_the_replicas_that_cannot_answer_are_counted_while_another_one_can(
    handle: FakeHandle, states: tuple[str, str], count: int
) -> None:
    pair(handle, *map(told, states))
    client = after_one_question(handle)
    with with_tables():
        assert client.watch.unavailable == count


def test_a_single_replicas_own_answer_is_newer_than_what_serve_knows_of_it(handle: FakeHandle) -> None:
    handle.outcomes["status"] = BackendStatus(state="ready", fingerprint=B)
    handle.replicas = {"only": "running"}
    handle.told = {"only": told(fingerprint=A, configuration_error="refused before")}
    client = after_one_question(handle)
    assert client.watch.status == BackendStatus(state="ready", fingerprint=B)
    assert client.fingerprints == {B}
    with with_tables():
        shown = client.watch.report()
    assert (shown["replicas_ready"], "replica_errors" in shown) == (1, False)


@pytest.mark.parametrize(
    ("first", "second", "weights"),
    [
        (told(fingerprint=A), told(fingerprint=A), {A}),
        (told(fingerprint=A), told(fingerprint=B), {A, B}),
        (told(fingerprint=A), told(fingerprint=B, configuration_error="refused"), {A, B}),
        (told(fingerprint=A), told("unavailable", reason="no artifact"), {A}),
        (told(fingerprint=A), told("unavailable", fingerprint=B, reason="hangs"), {A}),
    ],
)
def test_the_fingerprints_are_those_of_the_replicas_that_take_traffic(
    handle: FakeHandle, first: dict[str, Any], second: dict[str, Any], weights: set[str]
) -> None:
    handle.outcomes["status"] = BackendStatus(state="ready", fingerprint=A)
    pair(handle, first, second)
    assert after_one_question(handle).fingerprints == weights


def test_the_fingerprints_stay_known_while_the_backend_is_down(handle: FakeHandle) -> None:
    async def use(client: ServeBackendClient, clock: VirtualClock) -> None:
        assert client.fingerprints == frozenset()
        handle.outcomes["status"] = BackendStatus(state="unavailable", reason="no artifact")
        await client.watch.refresh_status()
        assert client.fingerprints == frozenset()
        handle.outcomes["status"] = BackendStatus(state="ready", fingerprint=A)
        await client.watch.refresh_status()
        assert client.fingerprints == {A}
        for outage in (ActorDiedError(), BackendStatus(state="unavailable", reason="no artifact")):
            handle.outcomes["status"] = outage
            await client.watch.refresh_status()
            assert (client.is_ready, client.fingerprints) == (False, frozenset({A}))
        handle.outcomes["status"] = BackendStatus(state="ready", fingerprint=B)
        await client.watch.refresh_status()
        assert client.fingerprints == {B}

    with_client(handle, use)
