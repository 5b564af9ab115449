"""A Serve handle without Serve, for the tests of the backends as the router sees them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any, cast
from unittest.mock import patch

from ray.serve.handle import DeploymentHandle

from serve_app.backends import ray_internals
from serve_app.backends.client import ServeBackendClient
from serve_app.schemas import BackendStatus, DetectionResult, ImageSize
from tests.unit.virtual_time import VirtualClock

RESULT = DetectionResult(image=ImageSize(width=4, height=3), detections=[], stages={})
READY = BackendStatus(state="ready")
FOREVER = 3600.0


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
    """Stands for a DeploymentHandle. `outcomes` and `takes_s` are by method name.

    `replicas` is Serve's table of them, or None where Ray does not tell, and `told` what they last told Serve of
    themselves; `with_tables` makes the watch read both.
    """

    def __init__(self) -> None:
        self.outcomes: dict[str, Any] = {"detect": RESULT, "status": READY}
        self.takes_s: dict[str, float] = {}
        self.responses: list[FakeResponse] = []
        self.arguments: list[tuple[Any, ...]] = []
        self.replicas: dict[str, str] | None = None
        self.told: dict[str, Mapping[str, Any]] = {}

    def options(self, method_name: str) -> Any:
        outer = self

        class Bound:
            @property
            def table(self) -> dict[str, str] | None:
                return outer.replicas

            @property
            def told(self) -> dict[str, Mapping[str, Any]]:
                return {name: stats for name, stats in outer.told.items() if name in (outer.replicas or {})}

            def remote(self, *arguments: Any) -> FakeResponse:
                outer.arguments.append(arguments)
                response = FakeResponse(outer.outcomes[method_name], outer.takes_s.get(method_name, 0))
                outer.responses.append(response)
                return response

        return Bound()


def _table(handle: Any) -> frozenset[str] | None:
    return None if handle.table is None else frozenset(handle.table)


def with_tables() -> AbstractContextManager[Any]:
    """Read the fake handles' tables. Where Ray keeps its own is the business of `ray_internals` and its tests."""
    stack = ExitStack()
    stack.enter_context(patch.object(ray_internals, "known_replicas", _table))
    stack.enter_context(patch.object(ray_internals, "routing_stats", lambda handle: handle.told))
    return stack


def with_client(
    handle: FakeHandle, use: Callable[[ServeBackendClient, VirtualClock], Awaitable[Any]]
) -> ServeBackendClient:
    """Use a client of the handle on a clock that jumps over every wait."""
    clock = VirtualClock()

    async def go() -> ServeBackendClient:
        client = ServeBackendClient("onnx", cast(DeploymentHandle[Any], handle), clock)
        await use(client, clock)
        return client

    with with_tables():
        return clock.run(go())
