"""The Router deployment: Serve's ingress. It carries the API, the dispatcher and the shadow run; logic is theirs."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, get_args

import ray
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.applications import Starlette

from serve_app.backends.client import Reason, ServeBackend
from serve_app.calls import Answer, Call
from serve_app.errors import ConfigurationError
from serve_app.http.admission import Admission
from serve_app.http.api import Page, build_api
from serve_app.observability.metrics import RouterMetrics
from serve_app.observability.scrape import gather_page
from serve_app.schemas import Backend
from serve_app.settings import LimitSettings, TrafficPolicy, parse
from serve_app.traffic.dispatch import Dispatcher, Outcome
from serve_app.traffic.shadow import Shadow

logger = logging.getLogger("ray.serve")

_STATUS_PERIOD_S = 1.0
_GAUGE_PERIOD_S = 0.5  # below the shortest report interval of Ray, which forgets a gauge that is not set again


class Router:
    """Splits the traffic between the two arms."""

    def __init__(self, limits: LimitSettings, torch: DeploymentHandle[Any], onnx: DeploymentHandle[Any]) -> None:
        self._limits = limits
        self._metrics = RouterMetrics()
        self._metrics.start_counters(get_args(Outcome), get_args(Reason))
        self._backends: dict[Backend, ServeBackend] = {
            "torch": ServeBackend("torch", torch),
            "onnx": ServeBackend("onnx", onnx),
        }
        self._admission = Admission(self._metrics.overloaded)
        self._dispatcher = Dispatcher(self._backends, self._metrics)
        self._shadow = Shadow(self._backends, self._metrics)
        self._policy_error: str | None = None
        self._application = serve.get_replica_context().app_name
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._watch_backend(name)) for name in self._backends]
        self._tasks += [loop.create_task(backend.watch_replicas()) for backend in self._backends.values()]
        self._tasks.append(loop.create_task(self._show_state()))

    def __serve_build_asgi_app__(self) -> Starlette:
        """Serve asks for the ASGI application once the router is built."""
        return build_api(self, self._limits)

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Take a new policy. Never raises: a wrong one is refused by name, and the last good one stays in force."""
        try:
            self._dispatcher.policy = parse(TrafficPolicy, user_config, "Router.user_config")
            self._policy_error = None
        except ConfigurationError as error:
            self._policy_error = error.detail
            logger.error("policy refused, the last one stays in force: %s", error.detail)
        logger.info("policy in force: %s", self.policy.model_dump_json())

    async def _show_state(self) -> None:
        """Keep the gauges alive, also while a backend is slow to tell its status."""
        while True:
            self._metrics.policy(self.policy.onnx_fraction, rejected=self._policy_error is not None)
            for name, backend in self._backends.items():
                self._metrics.backend(name, backend.status)
                self._metrics.inflight(name, backend.under_way)
                self._metrics.breaker(name, self._dispatcher.breakers[name].is_open)
            await asyncio.sleep(_GAUGE_PERIOD_S)

    async def _watch_backend(self, name: Backend) -> None:
        backend = self._backends[name]
        while True:
            try:
                await backend.refresh_status()
            except Exception:  # a watch that dies would freeze `/readyz` for ever
                logger.exception("the status of %s cannot be read", name)
            await backend.wait_for_doubt(_STATUS_PERIOD_S)

    @property
    def policy(self) -> TrafficPolicy:
        """The policy in force."""
        return self._dispatcher.policy

    def receive(self) -> AbstractContextManager[None]:
        """Hold a place for one body that is being received, or raise Overloaded."""
        return self._admission.receive(self.policy)

    def admit(self) -> AbstractContextManager[None]:
        """Hold a place for one request that is being answered, or raise Overloaded."""
        return self._admission.admit(self.policy)

    async def detect(self, call: Call) -> Answer:
        """Answer one request."""
        return await self._dispatcher.detect(call)

    def answered(self, call: Call, answer: Answer) -> None:
        """Told once the answer has gone out: the shadow run may begin."""
        self._shadow.consider(call, answer, self.policy)

    def readiness(self) -> dict[str, Any]:
        """The body of `/readyz`: ready while at least one backend is."""
        backends: dict[str, dict[str, Any]] = {}
        for name, backend in self._backends.items():
            is_open = self._dispatcher.breakers[name].is_open
            backends[name] = backend.status.model_dump(exclude_none=True) | {"breaker_open": is_open}
        return {
            "ready": any(backend["state"] == "ready" for backend in backends.values()),
            "policy": self.policy.model_dump(),
            "policy_error": self._policy_error,
            "backends": backends,
        }

    def disagreements(self) -> dict[str, Any]:
        """What the shadow run of this replica found, newest disagreements first."""
        return self._shadow.report()

    async def metrics_page(self, accept: str) -> Page:
        """The series of the whole application."""
        nodes = await asyncio.to_thread(ray.nodes)
        agents = [f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}" for node in nodes if node["Alive"]]
        return await gather_page(agents, self._application, accept)
