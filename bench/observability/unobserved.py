"""The shipped application without its series: what `bench.observability` compares it with. Imported by Serve."""

from typing import Any
from unittest.mock import patch

from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from serve_app import app as shipped
from serve_app import router
from serve_app.observability.metrics import RouterMetrics
from serve_app.settings import AppSettings, LimitSettings


class _Nothing:
    """A series that keeps nothing."""

    __init__ = inc = set = observe = record = lambda *_, **__: None


class _Nowhere:
    Counter = Gauge = Histogram = _Nothing


class Router(router.Router):
    """The shipped router, with series that keep nothing."""

    def __init__(self, limits: LimitSettings, torch: DeploymentHandle[Any], onnx: DeploymentHandle[Any]) -> None:
        with patch.object(router, "RouterMetrics", lambda: RouterMetrics(_Nowhere)):
            super().__init__(limits, torch, onnx)


def app(args: AppSettings) -> Application:
    """The shipped application with this router."""
    with patch.object(shipped, "Router", Router):
        return shipped.app(args)
