"""Calls to the replicas of one backend through a Serve handle. Made by the router, used by `traffic`.

The only file that knows what a handle call can raise, and which BackendFailure it becomes.
"""

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

import grpc
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from serve_app.backends.protocol import BackendFailure
from serve_app.backends.response import within
from serve_app.backends.watch import ReplicaWatch, no_replica
from serve_app.errors import (
    BackendUnavailable,
    BadOutput,
    DeadlineExceeded,
    EngineFailed,
    Overloaded,
    RefusedImage,
    ServingError,
)
from serve_app.schemas import Backend, DetectionResult, Options

logger = logging.getLogger("ray.serve")


class ServeBackendClient:
    """The replicas of one deployment, behind one handle."""

    def __init__(
        self, name: Backend, handle: DeploymentHandle[Any], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.name = name
        self.watch = ReplicaWatch(name, handle, clock)
        self.under_way = 0
        self._handle = handle.options(method_name="detect")
        self._clock = clock

    @property
    def is_ready(self) -> bool:
        """Whether the backend last reported that it can answer, and Serve still knows a replica of it."""
        return self.watch.is_ready

    @property
    def fingerprints(self) -> frozenset[str]:
        """The weights of the replicas that take traffic; the last known ones while it is down, empty before that."""
        return self.watch.fingerprints

    async def detect(
        self,
        data: bytes,
        options: Options,
        timeout_s: float,
        *,
        only_if_idle: bool = False,
        may_wait: bool = False,
    ) -> DetectionResult:
        """Run one detection on a replica. Gives up after `timeout_s` seconds and cancels the work.

        Unless `may_wait` is set, the call also ends when the last replica is lost. Raises RefusedImage as the
        replica found it, and BackendFailure for everything else.
        """
        self.under_way += 1
        known, asked = self.watch.known_replicas(), self._clock()
        try:
            async with contextlib.nullcontext() if may_wait else self.watch.leave_when_lost():
                result = await within(self._handle.remote(data, options, timeout_s, only_if_idle), timeout_s)
            return _with_all_waiting(result, self._clock() - asked)
        except BackendFailure:
            raise
        except Exception as error:
            # Ray raises a class that is both its own error and ours; only `cause` holds our attributes untouched.
            cause = getattr(error, "cause", None) or error
            if isinstance(cause, RefusedImage):
                raise cause from None
            if isinstance(cause, RayActorError):
                self.watch.replica_died(known)
            failure = failure_of(self.name, cause, in_replica=isinstance(error, RayTaskError))
            if failure.reason == "internal":
                logger.error("%s failed unexpectedly", self.name, exc_info=error)
                raise failure from error
            raise failure from None
        finally:
            self.under_way -= 1


def failure_of(name: Backend, error: BaseException, in_replica: bool = False) -> BackendFailure:
    """What an error that a handle call raised means for the router. The texts are fit for clients.

    `in_replica` says that our own code raised it, not Ray or the transport.
    """
    match error:
        case TimeoutError():
            return BackendFailure("timeout", DeadlineExceeded(f"{name} did not answer in time"))
        case BackPressureError() | Overloaded():
            return BackendFailure("queue_full", Overloaded(f"the queue of {name} is full"))
        case DeploymentUnavailableError():
            return no_replica(name)
        case RayActorError():
            return BackendFailure("replica_died", BackendUnavailable(f"a replica of {name} died"))
        case BackendUnavailable():
            # Its own text names paths and commands of this machine. `/readyz` shows it, clients do not see it.
            return BackendFailure("unavailable", BackendUnavailable(f"{name} is not available"))
        case DeadlineExceeded():
            return BackendFailure("timeout", error)
        case BadOutput():
            return BackendFailure("bad_output", error)
        case EngineFailed():
            return BackendFailure("engine", error)
        case grpc.aio.AioRpcError() if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            too_large = EngineFailed(f"the transport to {name} takes no message of this size")
            return BackendFailure("message_too_large", too_large)
        case _ if in_replica and not isinstance(error, MemoryError):
            return BackendFailure("internal", ServingError(f"{name} failed by a fault of the service"))
        case _:
            return BackendFailure("internal", EngineFailed(f"{name} failed"))


def _with_all_waiting(result: DetectionResult, seconds: float) -> DetectionResult:
    """Count as `queue` all time of the call that was no work: Serve's queues, the transport, the engine's queue."""
    work = sum(value for stage, value in result.stages.items() if stage != "queue")
    return result.model_copy(update={"stages": {**result.stages, "queue": max(seconds - work, 0.0)}})
