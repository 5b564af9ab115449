"""Whether a backend has a replica that answers. Run by the router, one watch per backend; asked by `backends.client`.

Serve needs seconds to replace a dead replica, and keeps new calls waiting meanwhile. The watch notices earlier, so that
the other backend can answer. It asks one replica itself, which Serve picks among those that are ready, and hears of all
through Serve, up to two seconds later.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn

from pydantic import ValidationError
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from serve_app.backends import ray_internals
from serve_app.backends.protocol import BackendFailure
from serve_app.backends.response import within
from serve_app.errors import BackendUnavailable
from serve_app.schemas import Backend, BackendStatus

logger = logging.getLogger("ray.serve")

_STATUS_PERIOD_S = 1.0
_STATUS_TIMEOUT_S = 2.0
# A replica that is only busy needs some time; Serve itself waits for three failed health checks.
_SILENCE_S = 5.0
_SHORTEST_STATUS_PERIOD_S = 0.05
_TABLE_PERIOD_S = 0.1


class ReplicaWatch:
    """Follows the replicas of one deployment, by asking them and by reading Serve's table of them."""

    def __init__(
        self, name: Backend, handle: DeploymentHandle[Any], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.name = name
        self.status = BackendStatus(state="starting")
        self.fingerprints: frozenset[str] = frozenset()
        self._handle = handle.options(method_name="status")
        self._clock = clock
        self._last_heard = clock()
        self._ask_soon = asyncio.Event()
        self._waiting: set[asyncio.Timeout] = set()

    @property
    def is_ready(self) -> bool:
        """Whether the backend last reported that it can answer, and Serve still knows a replica of it."""
        return self.status.state == "ready" and self.known_replicas() != frozenset()

    def known_replicas(self) -> frozenset[Any] | None:
        """The replicas that Serve would send a call to now, or None where Ray does not tell."""
        return ray_internals.known_replicas(self._handle)

    def replicas(self) -> dict[str, BackendStatus]:
        """What each replica last said of itself, by Ray's id; without those that have said nothing yet."""
        told = self._told_serve()
        if len(self.known_replicas() or ()) == 1:
            return dict.fromkeys(told, self.status)  # its own answer is newer
        return told

    def _told_serve(self) -> dict[str, BackendStatus]:
        told = {}
        for name, stats in ray_internals.routing_stats(self._handle).items():
            with contextlib.suppress(ValidationError):  # it runs another version of this code
                told[name] = BackendStatus.model_validate(stats)
        return told

    @property
    def unavailable(self) -> int:
        """How many replicas cannot answer while another one can. Where none can, the backend itself is down."""
        states = [status.state for status in self.replicas().values()]
        return len(states) - states.count("ready") if "ready" in states else 0

    def report(self) -> dict[str, Any]:
        """What `/readyz` shows: the backend's status, how many of its replicas are ready, and what ails any of them."""
        known, told = self.known_replicas(), self.replicas()
        report = self.status.model_dump(exclude_none=True) | {"replicas": None if known is None else len(known)}
        if told:
            report["replicas_ready"] = sum(status.state == "ready" for status in told.values())
        if errors := {name: error for name, status in told.items() if (error := _error_of(status))}:
            report["replica_errors"] = errors
        return report

    async def run(self) -> None:
        """Follow the backend until cancelled."""
        await asyncio.gather(self._follow_status(), self.follow_table())

    async def _follow_status(self) -> NoReturn:
        while True:
            try:
                await self.refresh_status()
            except Exception:  # an end of this loop would freeze `/readyz`
                logger.exception("the status of %s cannot be read", self.name)
            await self.pause(_STATUS_PERIOD_S)

    async def refresh_status(self) -> None:
        """Ask a replica for its status. One slow answer is no outage, silence for some seconds is."""
        self._ask_soon.clear()
        known = self.known_replicas()
        try:
            self._take(await within(self._handle.remote(), _STATUS_TIMEOUT_S))
            self._last_heard = self._clock()
        except BackPressureError:
            self._last_heard = self._clock()  # its queues are full, so it is alive
        except TimeoutError:
            if self.status.state == "ready" and self._clock() - self._last_heard > _SILENCE_S:
                self._lose()
        except RayActorError:
            self.replica_died(known)
        except DeploymentUnavailableError:
            self._lose()

    def _take(self, answer: BackendStatus) -> None:
        """Make the backend's status of one replica's answer, and of what its siblings told Serve."""
        alone = len(self.known_replicas() or ()) < 2
        told = [] if alone else [*self._told_serve().values()]  # what Serve knows of the one that answered is older
        ready = [status for status in (answer, *told) if status.state == "ready"]
        errors = [status.configuration_error for status in (answer, *told) if status.configuration_error]
        best = ready[0] if ready else answer
        self.status = best.model_copy(update={"configuration_error": errors[0] if errors else None})
        # For a moment after a change, a replica's new weights stand beside those that Serve still knows it by.
        weights = frozenset(status.fingerprint for status in ready if status.fingerprint)
        self.fingerprints = weights or self.fingerprints

    async def pause(self, timeout_s: float) -> None:
        """Wait `timeout_s` seconds, or until a replica died: the state of its successor is asked for soon."""
        await asyncio.sleep(_SHORTEST_STATUS_PERIOD_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._ask_soon.wait()

    async def follow_table(self) -> NoReturn:
        """Notice within `_TABLE_PERIOD_S` that Serve knows no replica any more."""
        while True:
            if self.status.state == "ready" and self.known_replicas() == frozenset():
                self._lose()
                self._ask_soon.set()  # a backend that is reconfigured leaves the table for a moment, and comes back
            await asyncio.sleep(_TABLE_PERIOD_S)

    def replica_died(self, known: frozenset[Any] | None) -> None:
        """A replica died under a call. `known` are the replicas in Serve's table when the call began."""
        self._ask_soon.set()
        left = self.known_replicas()
        # A single replica that was there before the call is the dead one: Serve has not removed it yet.
        if not left or (len(left) == 1 and left == known):
            self._lose()

    @contextlib.asynccontextmanager
    async def leave_when_lost(self) -> AsyncIterator[None]:
        """End the body with BackendFailure as soon as the backend has no replica left.

        Without it the call would wait in Serve's queue for the next replica.
        """
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._waiting.add(scope)
                yield
        except TimeoutError:
            if scope.expired():
                raise no_replica(self.name) from None
            raise
        finally:
            self._waiting.discard(scope)

    def _lose(self) -> None:
        self.status = BackendStatus(state="unavailable", reason=f"no replica of {self.name} answers")
        now = asyncio.get_running_loop().time()
        for scope in self._waiting:
            if not scope.expired():
                scope.reschedule(now)


def _error_of(status: BackendStatus) -> str | None:
    return status.configuration_error if status.state == "ready" else status.reason


def no_replica(name: Backend) -> BackendFailure:
    """The failure of a call to a backend that has no replica."""
    return BackendFailure("unavailable", BackendUnavailable(f"{name} has no replica"))
