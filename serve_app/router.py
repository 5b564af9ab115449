"""The Router deployment: Serve's ingress. It builds the router's parts and keeps their background tasks running."""

import asyncio
import logging
import os
from collections.abc import Mapping
from typing import Any, get_args

import ray
from prometheus_client.metrics_core import Metric
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.applications import Starlette

from serve_app import use_onnx
from serve_app.backends.client import ServeBackendClient
from serve_app.backends.protocol import Reason
from serve_app.http.admission import Admission
from serve_app.http.api import build_api
from serve_app.http.readiness import readiness
from serve_app.observability.metrics import RouterMetrics
from serve_app.observability.scrape import gather_families
from serve_app.observability.shared_page import SharedPage
from serve_app.schemas import Backend
from serve_app.settings import LimitSettings
from serve_app.traffic.accounting import Outcome
from serve_app.traffic.breaker import Breaker
from serve_app.traffic.dispatch import Dispatcher
from serve_app.traffic.lane import Lane
from serve_app.traffic.policy import PolicyInForce
from serve_app.traffic.shadow import Shadow

logger = logging.getLogger("ray.serve")

_GAUGE_PERIOD_S = 0.5  # below Ray's shortest report interval: Ray forgets a gauge that is not set again


class Router:
    """Splits the traffic between the two backends."""

    def __init__(self, limits: LimitSettings, torch: DeploymentHandle[Any], onnx: DeploymentHandle[Any]) -> None:
        for warning in use_onnx.warnings(os.environ):  # Serve can also be deployed without any of our commands
            logger.warning(warning)
        self._limits = limits
        self._policy = PolicyInForce()
        self._metrics = RouterMetrics()
        self._metrics.start_counters(get_args(Outcome), get_args(Reason))
        self._backends: dict[Backend, ServeBackendClient] = {
            "torch": ServeBackendClient("torch", torch),
            "onnx": ServeBackendClient("onnx", onnx),
        }
        self._lanes = {name: Lane(backend, Breaker()) for name, backend in self._backends.items()}
        self._admission = Admission(self._metrics.overloaded)
        self._dispatcher = Dispatcher(self._policy, self._lanes, self._metrics)
        self._shadow = Shadow(self._backends, self._metrics)
        self._application = serve.get_replica_context().app_name
        loop = asyncio.get_running_loop()
        self._page = SharedPage(self._families, loop.time)
        forever = [*(backend.watch.run() for backend in self._backends.values()), self._set_gauges()]
        self._tasks = [loop.create_task(task) for task in forever]
        for task in self._tasks:
            task.add_done_callback(_log_end)

    def __serve_build_asgi_app__(self) -> Starlette:
        """Serve asks for the ASGI application once the router is built."""
        watches = {name: backend.watch for name, backend in self._backends.items()}
        return build_api(
            limits=self._limits,
            policy=self._policy,
            admission=self._admission,
            dispatcher=self._dispatcher,
            shadow=self._shadow,
            readiness=lambda: readiness(self._policy, watches, self._lanes, self._dispatcher.barred),
            metrics_page=self._page.page,
        )

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Serve hands over the traffic policy at start and after every deploy. Never raises."""
        self._policy.replace(user_config)

    async def _set_gauges(self) -> None:
        while True:
            self._metrics.policy(self._policy.current.onnx_fraction, rejected=self._policy.error is not None)
            for name, backend in self._backends.items():
                self._metrics.backend(name, backend.watch.status)
                rejected = backend.watch.status.configuration_error is not None
                self._metrics.replicas(name, backend.watch.unavailable, rejected)
                self._metrics.inflight(name, backend.under_way)
                self._metrics.breaker(name, self._lanes[name].breaker.is_open)
            await asyncio.sleep(_GAUGE_PERIOD_S)

    async def _families(self) -> list[Metric]:
        nodes = await asyncio.to_thread(ray.nodes)
        agents = [f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}" for node in nodes if node["Alive"]]
        return await gather_families(agents, self._application)


def _log_end(task: asyncio.Task[None]) -> None:
    """None of the background tasks should end while the router lives."""
    if not task.cancelled():
        logger.error("a background task of the router ended", exc_info=task.exception())
