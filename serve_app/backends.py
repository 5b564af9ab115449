"""One arm as the router sees it: a Serve handle, whose failures become a bounded set of reasons.

Called by the dispatcher and the shadow run. The only file that knows what a handle call can raise.
"""

import asyncio
import logging
from typing import Any, Literal, NoReturn, Protocol

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
    "transport",
    "internal",
]
_STATUS_TIMEOUT_S = 2.0


class BackendFailure(Exception):
    """An arm could not answer, through no fault of the client: why, and what to tell if nobody else can."""

    def __init__(self, reason: Reason, error: ServingError) -> None:
        super().__init__(f"{reason}: {error.detail}")
        self.reason: Reason = reason
        self.error = error


class BackendClient(Protocol):
    """What the dispatcher needs of an arm."""

    name: Backend

    async def detect(self, data: bytes, options: Options, timeout_s: float) -> DetectionResult:
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

    async def detect(self, data: bytes, options: Options, timeout_s: float) -> DetectionResult:
        """Run one detection on a replica; gives up, and cancels it, after `timeout_s` seconds.

        Raises InvalidImage or TooLarge as the backend found them, BackendFailure for everything else.
        """
        self.under_way += 1
        try:
            result: DetectionResult = await _bounded(self._detect.remote(data, options, timeout_s), timeout_s)
            return result
        except TimeoutError:
            raise BackendFailure("timeout", DeadlineExceeded(f"{self.name} did not answer in time")) from None
        except Exception as error:
            self._explain(error)
        finally:
            self.under_way -= 1

    async def refresh_status(self) -> None:
        """Ask a replica for its status. A busy arm keeps its last one: full queues are not an outage."""
        try:
            self.status = await _bounded(self._status.remote(), _STATUS_TIMEOUT_S)
        except BackPressureError:
            return
        except TimeoutError:
            # Before the first report there is nothing to lose; with calls under way the replica may just be busy.
            if self.status.state == "ready" and self.under_way == 0:
                self.status = BackendStatus(state="unavailable", reason=f"no replica of {self.name} answers")
        except (RayActorError, DeploymentUnavailableError):
            self.status = BackendStatus(state="unavailable", reason=f"no replica of {self.name} answers")

    def _explain(self, error: Exception) -> NoReturn:
        # Ray raises a class that is both its own error and ours; only `cause` holds our attributes untouched.
        cause = getattr(error, "cause", None) or error
        match cause:
            case InvalidImage() | TooLarge():
                raise cause from None
            case BackPressureError():
                raise BackendFailure("queue_full", Overloaded(f"the queue of {self.name} is full")) from None
            case DeploymentUnavailableError():
                raise BackendFailure("unavailable", BackendUnavailable(f"{self.name} has no replica")) from None
            case RayActorError():
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
        reason: Reason = "transport" if type(error).__module__.startswith("grpc") else "internal"
        logger.error("%s failed unexpectedly", self.name, exc_info=error)
        raise BackendFailure(reason, EngineFailed(f"{self.name} failed")) from error


async def _bounded(response: Any, timeout_s: float) -> Any:
    """Await a handle's response for at most `timeout_s`; whoever stops waiting also stops the work."""
    try:
        async with asyncio.timeout(timeout_s):
            return await response
    except (TimeoutError, asyncio.CancelledError):
        response.cancel()
        raise
