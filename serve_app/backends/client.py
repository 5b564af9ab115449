"""One arm as the router sees it: a Serve handle, whose failures become a bounded set of reasons.

Called by the dispatcher and the shadow run. The only file that knows what a handle call can raise.
"""

import asyncio
import contextlib
import logging
import time
from typing import Any, Literal, NoReturn, Protocol

import grpc
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

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
from serve_app.schemas import Backend, BackendStatus, DetectionResult

logger = logging.getLogger("ray.serve")

Reason = Literal[
    "breaker_open",
    "queue_full",
    "unavailable",
    "replica_died",
    "engine",
    "bad_output",
    "timeout",
    "message_too_large",
    "internal",
]
_NOW = 0.0  # before any time of an event loop
_STATUS_TIMEOUT_S = 2.0
# Some time for a replica that is only busy; Serve itself needs three failed health checks to give one up.
_SILENCE_S = 5.0
_LEAST_PAUSE_S = 0.05
# How long a call may wait at an arm that has no replica left before it goes to the other one. Serve does not tell: it
# sends a call that the dying replica had not yet accepted to the next one, seconds later.
_LOOK_PERIOD_S = 0.1


class BackendFailure(Exception):
    """An arm could not answer, through no fault of the client: why, and what to tell if nobody else can."""

    def __init__(self, reason: Reason, error: ServingError) -> None:
        super().__init__(f"{reason}: {error.detail}")
        self.reason: Reason = reason
        self.error = error


class BackendClient(Protocol):
    """What the dispatcher and the shadow run need of an arm."""

    name: Backend

    @property
    def is_ready(self) -> bool:
        """Whether the arm last said that it can answer."""
        ...

    async def detect(
        self,
        data: bytes,
        options: Options,
        timeout_s: float,
        *,
        only_if_idle: bool = False,
        last_resort: bool = False,
    ) -> DetectionResult:
        """Detect objects, or raise BackendFailure, or the client's own error."""
        ...


class ServeBackend:
    """The replicas of one deployment, through one handle that is connected from the start."""

    def __init__(self, name: Backend, handle: DeploymentHandle[Any]) -> None:
        self.name = name
        self.status = BackendStatus(state="starting")
        self.under_way = 0
        self._detect = handle.options(method_name="detect")
        self._status = handle.options(method_name="status")
        self._heard = time.monotonic()
        self._in_doubt = asyncio.Event()
        self._impatient: set[asyncio.Timeout] = set()

    @property
    def is_ready(self) -> bool:
        """Whether the arm last said that it can answer, and Serve still knows a replica of it."""
        return self.status.state == "ready" and _replicas(self._detect) != frozenset()

    async def detect(
        self,
        data: bytes,
        options: Options,
        timeout_s: float,
        *,
        only_if_idle: bool = False,
        last_resort: bool = False,
    ) -> DetectionResult:
        """Run one detection on a replica; gives up, and cancels it, after `timeout_s` seconds.

        Unless it is the `last_resort`, it also gives up when the arm is lost: Serve would let it wait for the next
        replica. Raises InvalidImage or TooLarge as the backend found them, BackendFailure for everything else.
        """
        self.under_way += 1
        known = _replicas(self._detect)
        asked, patience = time.perf_counter(), asyncio.timeout(timeout_s)
        if not last_resort:
            self._impatient.add(patience)
        try:
            call = self._detect.remote(data, options, timeout_s, only_if_idle)
            result: DetectionResult = await _bounded(call, patience)
            return _with_all_waiting(result, time.perf_counter() - asked)
        except TimeoutError:
            if patience.when() == _NOW:
                raise self._no_replica() from None
            raise BackendFailure("timeout", DeadlineExceeded(f"{self.name} did not answer in time")) from None
        except Exception as error:
            self._explain(error, known)
        finally:
            self._impatient.discard(patience)
            self.under_way -= 1

    async def refresh_status(self) -> None:
        """Ask a replica for its status. A slow answer is no outage, a silence of some seconds is."""
        self._in_doubt.clear()
        known = _replicas(self._status)
        try:
            self.status = await _bounded(self._status.remote(), asyncio.timeout(_STATUS_TIMEOUT_S))
            self._heard = time.monotonic()
        except BackPressureError:
            self._heard = time.monotonic()  # full queues are no silence
        except TimeoutError:
            if self.status.state == "ready" and time.monotonic() - self._heard > _SILENCE_S:
                self._lost()
        except RayActorError:
            self._one_died(known)
        except DeploymentUnavailableError:
            self._lost()

    async def watch_replicas(self) -> NoReturn:
        """Move the calls that wait at this arm to the other one as soon as Serve knows no replica of it."""
        while True:
            if self.status.state == "ready" and _replicas(self._detect) == frozenset():
                self._lost()
                self._in_doubt.set()  # it may only be reconfigured: the next question waits for its return
            await asyncio.sleep(_LOOK_PERIOD_S)

    async def wait_for_doubt(self, timeout_s: float) -> None:
        """Wait until a replica was seen to die, so that its successor's state is asked for soon, or `timeout_s`."""
        await asyncio.sleep(_LEAST_PAUSE_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._in_doubt.wait()

    def _one_died(self, known: frozenset[Any] | None) -> None:
        """A replica died under a call that began when Serve knew these: the arm is lost if it was the last one."""
        self._in_doubt.set()
        left = _replicas(self._detect)
        if not left or (len(left) == 1 and left == known):  # Serve may not have crossed out the dead one yet
            self._lost()

    def _lost(self) -> None:
        self.status = BackendStatus(state="unavailable", reason=f"no replica of {self.name} answers")
        for patience in self._impatient:
            with contextlib.suppress(RuntimeError):  # over already, and about to leave the set
                patience.reschedule(_NOW)

    def _no_replica(self) -> BackendFailure:
        return BackendFailure("unavailable", BackendUnavailable(f"{self.name} has no replica"))

    def _explain(self, error: Exception, known: frozenset[Any] | None) -> NoReturn:
        # Ray raises a class that is both its own error and ours; only `cause` holds our attributes untouched.
        cause = getattr(error, "cause", None) or error
        match cause:
            case InvalidImage() | TooLarge():
                raise cause from None
            case BackPressureError() | Overloaded():
                raise BackendFailure("queue_full", Overloaded(f"the queue of {self.name} is full")) from None
            case DeploymentUnavailableError():
                raise self._no_replica() from None
            case RayActorError():
                self._one_died(known)
                raise BackendFailure("replica_died", BackendUnavailable(f"a replica of {self.name} died")) from None
            case BackendUnavailable():
                # The reason names paths and commands of this machine: for `/readyz`, not for every client.
                raise BackendFailure("unavailable", BackendUnavailable(f"{self.name} is not available")) from None
            case DeadlineExceeded():
                raise BackendFailure("timeout", cause) from None
            case BadOutput():
                raise BackendFailure("bad_output", cause) from None
            case EngineFailed():
                raise BackendFailure("engine", cause) from None
            case grpc.aio.AioRpcError() if cause.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                error = EngineFailed(f"the transport to {self.name} takes no message of this size")
                raise BackendFailure("message_too_large", error) from None
        logger.error("%s failed unexpectedly", self.name, exc_info=error)
        raise BackendFailure("internal", EngineFailed(f"{self.name} failed")) from error


def _with_all_waiting(result: DetectionResult, seconds: float) -> DetectionResult:
    """Count as queue all of the call that was no work: Serve's queues, the way there and back, the engine's lock."""
    work = sum(value for stage, value in result.stages.items() if stage != "queue")
    return result.model_copy(update={"stages": {**result.stages, "queue": max(seconds - work, 0.0)}})


def _replicas(handle: Any) -> frozenset[Any] | None:
    # Serve keeps a call waiting where it knows no replica, and tells so nowhere but in its own table.
    try:
        return frozenset(handle._router._asyncio_router.request_router.curr_replicas)
    except AttributeError:
        return None  # not connected yet, or another Ray: the arm's silence will tell


async def _bounded(response: Any, patience: asyncio.Timeout) -> Any:
    """Await a handle's response as long as the patience lasts; whoever stops waiting also stops the work."""
    try:
        async with patience:
            return await response
    except (TimeoutError, asyncio.CancelledError):
        response.cancel()
        raise
