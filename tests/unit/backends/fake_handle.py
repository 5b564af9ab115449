"""A Serve handle without Serve, for the tests of the arm as the router sees it."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

from ray.serve.handle import DeploymentHandle

from serve_app.backends.client import ServeBackend
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


def with_backend(handle: FakeHandle, use: Callable[[ServeBackend], Awaitable[Any]]) -> ServeBackend:
    async def go() -> ServeBackend:
        backend = ServeBackend("onnx", cast(DeploymentHandle[Any], handle))
        await use(backend)
        return backend

    return asyncio.run(go())
