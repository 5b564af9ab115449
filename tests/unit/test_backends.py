"""What a Serve handle can raise, in Ray's own exception classes, and which bounded reason becomes of it."""

import asyncio
import pickle
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from serve_app.backends import BackendFailure, Reason, ServeBackend
from serve_app.calls import Options
from serve_app.errors import (
    BackendUnavailable,
    BadOutput,
    DeadlineExceeded,
    EngineFailed,
    InvalidImage,
    Overloaded,
    ServingError,
    TooLarge,
)
from serve_app.schemas import BackendStatus, DetectionResult, ImageSize

RESULT = DetectionResult(image=ImageSize(width=4, height=3), detections=[], stages={})
READY = BackendStatus(state="ready")
FOREVER = 60.0


class FakeResponse:
    """Stands for a DeploymentResponse: awaited once, cancelled at will."""

    def __init__(self, outcome: Any, takes_s: float) -> None:
        self._outcome, self._takes_s = outcome, takes_s
        self.cancelled = False

    def __await__(self) -> Any:
        return self._result().__await__()

    async def _result(self) -> Any:
        await asyncio.sleep(self._takes_s)
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome

    def cancel(self) -> None:
        self.cancelled = True


class FakeHandle:
    """Stands for a DeploymentHandle; `outcomes` and `takes_s` by method name."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Any] = {"detect": RESULT, "status": READY}
        self.takes_s: dict[str, float] = {}
        self.responses: list[FakeResponse] = []
        self.arguments: list[tuple[Any, ...]] = []
        self.replicas: dict[str, str] | None = None

    def options(self, method_name: str) -> Any:
        outer = self

        class Bound:
            @property
            def _router(self) -> Any:
                """Where Ray 2.60 keeps its table of replicas."""
                if outer.replicas is None:
                    raise AttributeError
                table = SimpleNamespace(curr_replicas=outer.replicas)
                return SimpleNamespace(_asyncio_router=SimpleNamespace(request_router=table))

            def remote(self, *arguments: Any) -> FakeResponse:
                outer.arguments.append(arguments)
                response = FakeResponse(outer.outcomes[method_name], outer.takes_s.get(method_name, 0))
                outer.responses.append(response)
                return response

        return Bound()


@pytest.fixture
def handle() -> FakeHandle:
    return FakeHandle()


def with_backend(handle: FakeHandle, use: Callable[[ServeBackend], Awaitable[Any]]) -> ServeBackend:
    async def go() -> ServeBackend:
        backend = ServeBackend("onnx", cast(DeploymentHandle[Any], handle))
        await use(backend)
        return backend

    return asyncio.run(go())


def detect(handle: FakeHandle, timeout_s: float = 1.0) -> DetectionResult:
    results: list[DetectionResult] = []

    async def use(backend: ServeBackend) -> None:
        try:
            results.append(await backend.detect(b"image", Options(), timeout_s))
        finally:
            assert backend.under_way == 0

    with_backend(handle, use)
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
    handle.takes_s["detect"] = 0.05
    result = detect(handle, timeout_s=2.5)
    assert result.model_copy(update={"stages": {}}) == RESULT
    assert result.stages["queue"] == pytest.approx(0.05, abs=0.04)  # all the time that was no work
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


@pytest.mark.parametrize("error", [InvalidImage("no image"), TooLarge("too many pixels")])
def test_the_clients_own_error_passes_untouched(handle: FakeHandle, error: ServingError) -> None:
    handle.outcomes["detect"] = from_replica(error)
    with pytest.raises(type(error)) as caught:
        detect(handle)
    assert type(caught.value) is type(error)
    assert caught.value.detail == error.detail


def test_a_timeout_gives_up_in_time_and_cancels_the_call(handle: FakeHandle) -> None:
    handle.takes_s["detect"] = FOREVER
    began = time.monotonic()
    with pytest.raises(BackendFailure) as caught:
        detect(handle, timeout_s=0.05)
    assert time.monotonic() - began < 5
    assert caught.value.reason == "timeout"
    assert handle.responses[0].cancelled


def test_a_call_leaves_an_arm_that_is_lost_unless_it_is_the_last_resort(handle: FakeHandle) -> None:
    handle.takes_s["detect"] = 1.0

    async def use(backend: ServeBackend) -> None:
        impatient = asyncio.ensure_future(backend.detect(b"image", Options(), FOREVER))
        patient = asyncio.ensure_future(backend.detect(b"image", Options(), FOREVER, last_resort=True))
        await asyncio.sleep(0.01)
        handle.outcomes["status"] = ActorDiedError()
        await backend.refresh_status()
        with pytest.raises(BackendFailure) as caught:
            await impatient
        assert caught.value.reason == "unavailable"
        assert not patient.done()
        await patient

    with_backend(handle, use)
    assert [response.cancelled for response in handle.responses] == [True, False, False]


def test_an_arm_without_a_replica_in_serves_table_is_not_ready(handle: FakeHandle) -> None:
    replicas: dict[str, str] = {"replica": "running"}
    handle.replicas = replicas

    async def use(backend: ServeBackend) -> None:
        await backend.refresh_status()
        assert backend.is_ready
        replicas.clear()
        assert not backend.is_ready

    with_backend(handle, use)


def test_a_caller_that_goes_away_cancels_the_call(handle: FakeHandle) -> None:
    handle.takes_s["detect"] = FOREVER

    async def use(backend: ServeBackend) -> None:
        task = asyncio.ensure_future(backend.detect(b"image", Options(), FOREVER))
        await asyncio.sleep(0.01)
        assert backend.under_way == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert backend.under_way == 0

    with_backend(handle, use)
    assert handle.responses[0].cancelled


class TestStatus:
    def test_it_starts_as_starting_and_takes_what_the_replica_says(self, handle: FakeHandle) -> None:
        async def use(backend: ServeBackend) -> None:
            assert (backend.status.state, backend.is_ready) == ("starting", False)
            await backend.refresh_status()

        assert with_backend(handle, use).is_ready

    @pytest.mark.parametrize("error", [ActorDiedError(), DeploymentUnavailableError(DeploymentID("OnnxDeployment"))])
    def test_no_replica_is_an_outage(self, handle: FakeHandle, error: Exception) -> None:
        async def use(backend: ServeBackend) -> None:
            await backend.refresh_status()
            handle.outcomes["status"] = error
            await backend.refresh_status()

        backend = with_backend(handle, use)
        assert (backend.status.state, backend.status.reason) == ("unavailable", "no replica of onnx answers")

    def test_a_full_queue_is_none(self, handle: FakeHandle) -> None:
        async def use(backend: ServeBackend) -> None:
            await backend.refresh_status()
            handle.outcomes["status"] = BackPressureError(8, 8)
            await backend.refresh_status()

        assert with_backend(handle, use).is_ready

    def test_one_slow_answer_is_none_but_a_silence_is(
        self, handle: FakeHandle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("serve_app.backends._STATUS_TIMEOUT_S", 0.15)
        monkeypatch.setattr("serve_app.backends._SILENCE_S", 0.5)
        states = []

        async def use(backend: ServeBackend) -> None:
            await backend.refresh_status()
            handle.takes_s["status"] = FOREVER
            for _ in range(6):
                await backend.refresh_status()
                states.append(backend.is_ready)
            handle.takes_s["status"] = 0
            await backend.refresh_status()
            states.append(backend.is_ready)

        with_backend(handle, use)
        assert (states[0], states[-2], states[-1]) == (True, False, True)

    def test_a_replica_seen_dying_is_asked_after_at_once(self, handle: FakeHandle) -> None:
        async def use(backend: ServeBackend) -> None:
            await backend.refresh_status()
            handle.outcomes["detect"] = ActorDiedError()
            watching = asyncio.ensure_future(backend.wait_for_doubt(FOREVER))
            with pytest.raises(BackendFailure):
                await backend.detect(b"image", Options(), 1)
            assert not backend.is_ready
            await asyncio.wait_for(watching, timeout=5)
            await backend.refresh_status()

        assert with_backend(handle, use).is_ready

    def test_without_doubt_the_watch_waits_its_time(self, handle: FakeHandle) -> None:
        began = time.monotonic()
        with_backend(handle, lambda backend: backend.wait_for_doubt(0.05))
        assert time.monotonic() - began >= 0.04
