"""What a Serve handle can raise, in Ray's own exception classes, and which bounded reason becomes of it."""

import asyncio
import contextlib
import pickle
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from serve_app.backends.client import ServeBackendClient
from serve_app.backends.protocol import BackendFailure, Reason
from serve_app.errors import (
    BackendUnavailable,
    BadOutput,
    DeadlineExceeded,
    EngineFailed,
    InvalidImage,
    Overloaded,
    ServingError,
    TooLarge,
    UnsupportedMediaType,
)
from serve_app.schemas import BackendStatus, DetectionResult, Options
from tests.unit.backends.fake_handle import FOREVER, RESULT, FakeHandle, with_client
from tests.unit.virtual_time import VirtualClock


@pytest.fixture
def handle() -> FakeHandle:
    return FakeHandle()


def detect(handle: FakeHandle, timeout_s: float = 1.0) -> DetectionResult:
    results: list[DetectionResult] = []

    async def use(client: ServeBackendClient, clock: VirtualClock) -> None:
        try:
            results.append(await client.detect(b"image", Options(), timeout_s))
        finally:
            assert client.under_way == 0

    with_client(handle, use)
    return results[0]


def from_replica(error: Exception) -> Exception:
    """The error as the handle raises it: Ray's class that is both its own error and the remote one."""
    remote = pickle.loads(pickle.dumps(error))
    make: Any = RayTaskError
    raised: Exception = make("detect", "Traceback of the replica", remote).as_instanceof_cause()
    return raised


def rpc_error(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "Sent message larger than max")


def test_the_result_comes_through_with_the_arguments_that_travel(handle: FakeHandle) -> None:
    handle.outcomes["detect"] = RESULT.model_copy(update={"stages": {"queue": 0.1, "inference": 0.2}})
    handle.takes_s["detect"] = 0.5
    result = detect(handle, timeout_s=2.5)
    assert result.model_copy(update={"stages": {}}) == RESULT
    assert result.stages == {"queue": pytest.approx(0.3), "inference": 0.2}  # all the time that was no work
    assert handle.arguments == [(b"image", Options(), 2.5, False)]


FAILURES: list[tuple[Exception, Reason, type[ServingError]]] = [
    (ActorDiedError(), "replica_died", BackendUnavailable),
    (ActorUnavailableError("gone", None), "replica_died", BackendUnavailable),
    (DeploymentUnavailableError(DeploymentID("OnnxDeployment")), "unavailable", BackendUnavailable),
    (BackPressureError(8, 8), "queue_full", Overloaded),
    (from_replica(Overloaded("busy")), "queue_full", Overloaded),
    (from_replica(BackendUnavailable("/srv/secret/path is missing; run: …")), "unavailable", BackendUnavailable),
    (from_replica(EngineFailed("onnxruntime failed: RuntimeError")), "engine", EngineFailed),
    (from_replica(BadOutput("not finite")), "bad_output", BadOutput),
    (from_replica(DeadlineExceeded("too late to start")), "timeout", DeadlineExceeded),
    (from_replica(ZeroDivisionError("a bug")), "internal", EngineFailed),
    (from_replica(MemoryError()), "internal", EngineFailed),
    (rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED), "message_too_large", EngineFailed),
    (rpc_error(grpc.StatusCode.INTERNAL), "internal", EngineFailed),
    (RuntimeError("Ray is shutting down"), "internal", EngineFailed),
]


@pytest.mark.parametrize(("raised", "reason", "told"), FAILURES, ids=lambda value: getattr(value, "__name__", None))
def test_every_failure_has_a_bounded_reason_and_a_safe_text(
    handle: FakeHandle, raised: Exception, reason: Reason, told: type[ServingError]
) -> None:
    handle.outcomes["detect"] = raised
    with pytest.raises(BackendFailure) as caught:
        detect(handle)
    assert caught.value.reason == reason
    assert type(caught.value.error) is told
    assert caught.value.error.status in (503, 504)
    for secret in ("Traceback", "/srv/secret", "a bug", "shutting down"):
        assert secret not in caught.value.error.detail


@pytest.mark.parametrize(
    "error", [InvalidImage("no image"), TooLarge("too many pixels"), UnsupportedMediaType("a HEIC")]
)
def test_the_clients_own_error_passes_untouched(handle: FakeHandle, error: ServingError) -> None:
    handle.outcomes["detect"] = from_replica(error)
    with pytest.raises(type(error)) as caught:
        detect(handle)
    assert type(caught.value) is type(error)
    assert caught.value.detail == error.detail


def test_a_timeout_gives_up_in_time_and_cancels_the_call(handle: FakeHandle) -> None:
    handle.takes_s["detect"] = FOREVER

    async def use(client: ServeBackendClient, clock: VirtualClock) -> None:
        began = clock()
        with pytest.raises(BackendFailure) as caught:
            await client.detect(b"image", Options(), 0.5)
        assert clock() - began == pytest.approx(0.5)
        assert caught.value.reason == "timeout"

    with_client(handle, use)
    assert handle.responses[0].cancelled


async def dies(client: ServeBackendClient, handle: FakeHandle) -> None:
    handle.outcomes["status"] = ActorDiedError()
    await client.watch.refresh_status()


async def leaves_serves_table(client: ServeBackendClient, handle: FakeHandle) -> None:
    await client.watch.refresh_status()  # it was ready
    assert handle.replicas
    handle.replicas.clear()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(client.watch.follow_table(), timeout=1)


@pytest.mark.parametrize("the_last_replica", [dies, leaves_serves_table])
def test_a_call_leaves_a_backend_that_is_lost_unless_it_may_wait(
    handle: FakeHandle, the_last_replica: Callable[[ServeBackendClient, FakeHandle], Awaitable[None]]
) -> None:
    handle.takes_s["detect"] = 60.0
    handle.replicas = {"replica": "running"}

    async def use(client: ServeBackendClient, clock: VirtualClock) -> None:
        leaving = asyncio.ensure_future(client.detect(b"image", Options(), FOREVER))
        staying = asyncio.ensure_future(client.detect(b"image", Options(), FOREVER, may_wait=True))
        await asyncio.sleep(1)
        await the_last_replica(client, handle)
        with pytest.raises(BackendFailure) as caught:
            await leaving
        assert caught.value.reason == "unavailable"
        assert not staying.done()
        await staying

    with_client(handle, use)
    assert [response.cancelled for response in handle.responses] == [True, False, False]


def test_a_backend_lost_twice_ends_its_calls_once(handle: FakeHandle) -> None:
    handle.takes_s["detect"] = FOREVER

    async def use(client: ServeBackendClient, clock: VirtualClock) -> None:
        call = asyncio.ensure_future(client.detect(b"image", Options(), FOREVER))
        await asyncio.sleep(1)
        for _ in range(3):
            await dies(client, handle)
        with pytest.raises(BackendFailure, match="no replica"):
            await call
        await dies(client, handle)

    with_client(handle, use)


def test_a_backend_without_a_replica_in_serves_table_is_not_ready(handle: FakeHandle) -> None:
    replicas: dict[str, str] = {"replica": "running"}
    handle.replicas = replicas

    async def use(client: ServeBackendClient, clock: VirtualClock) -> None:
        await client.watch.refresh_status()
        assert client.is_ready
        replicas.clear()
        assert not client.is_ready

    with_client(handle, use)


def test_a_caller_that_goes_away_cancels_the_call(handle: FakeHandle) -> None:
    handle.takes_s["detect"] = FOREVER

    async def use(client: ServeBackendClient, clock: VirtualClock) -> None:
        task = asyncio.ensure_future(client.detect(b"image", Options(), FOREVER))
        await asyncio.sleep(1)
        assert client.under_way == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.under_way == 0

    with_client(handle, use)
    assert handle.responses[0].cancelled


def test_the_fingerprint_is_remembered_while_the_backend_is_down(handle: FakeHandle) -> None:
    handle.outcomes["status"] = BackendStatus(state="ready", fingerprint="sha256:a")

    async def use(client: ServeBackendClient, clock: VirtualClock) -> None:
        assert client.fingerprints == frozenset()
        await client.watch.refresh_status()
        assert client.fingerprints == {"sha256:a"}
        handle.outcomes["status"] = ActorDiedError()
        await client.watch.refresh_status()
        assert not client.is_ready
        assert client.fingerprints == {"sha256:a"}

    with_client(handle, use)
