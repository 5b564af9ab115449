"""The application with arms that only wait: the real Router, handles and transport, and no engine.

Serve imports it for `bench.scaling`, in the place of `serve_app.app`.
"""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from ray import serve
from ray.serve import Application

from serve_app.router import Router
from serve_app.schemas import STAGES, BackendStatus, Box, Detection, DetectionResult, ImageSize, Options
from serve_app.settings import AppSettings, TrafficPolicy

_DETECTIONS = 5  # about what a photograph gives


class FakeArm:
    """Answers as an arm does: at once, or one request after the other, each after a fixed time."""

    def __init__(self) -> None:
        self._service_s = 0.0
        self._reload: int | None = None
        self._engine = asyncio.Lock()

    def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Take `service_s`, the seconds of one request; what a real arm needs besides is passed over."""
        self._service_s = float(user_config.get("service_s", 0))
        self._reload = user_config.get("reload")

    async def detect(
        self, data: bytes, options: Options, timeout_s: float, only_if_idle: bool = False
    ) -> DetectionResult:
        """The same detections for every image."""
        if self._service_s:
            async with self._engine:  # a replica has one engine, which does one image at a time
                await asyncio.sleep(self._service_s)
        return result(self._service_s)

    async def status(self) -> BackendStatus:
        """Always ready."""
        return BackendStatus(state="ready", reload=self._reload, pid=os.getpid())


def result(service_s: float) -> DetectionResult:
    """As many detections and stages as a real answer has: the Router writes and counts each of them."""
    box = Box(xmin=31.25, ymin=12.5, xmax=371.5, ymax=520.75)
    found = [Detection(label="pants", score=0.9 - number / 100, box=box) for number in range(_DETECTIONS)]
    stages = dict.fromkeys(STAGES, 0.0) | {"inference": service_s}
    return DetectionResult(image=ImageSize(width=400, height=533), detections=found, stages=stages)


def app(args: AppSettings) -> Application:
    """Bind the real Router to two fake arms, under the names that the shipped configuration lists."""
    arm: Any = serve.deployment(FakeArm)
    arms = [arm.options(name=name, user_config={}).bind() for name in ("TorchDeployment", "OnnxDeployment")]
    router: Any = serve.deployment(serve.ingress()(Router))
    application: Application = router.options(user_config=TrafficPolicy().model_dump()).bind(args.limits, *arms)
    return application
