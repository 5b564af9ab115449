"""The shadow run: a share of the answered requests goes to the other arm afterwards, only to be compared.

Called by the router once an answer has gone out. It never queues, and nothing it does can reach a client.
"""

import asyncio
import contextvars
import random
from collections import deque
from collections.abc import Mapping
from typing import Any

from serve_app.agreement import Agreement, compare
from serve_app.backends import BackendClient, BackendFailure
from serve_app.calls import Answer, Call
from serve_app.errors import ServingError
from serve_app.metrics import RouterMetrics
from serve_app.schemas import Backend, other
from serve_app.settings import TrafficPolicy

_KEPT_DISAGREEMENTS = 50


class Shadow:
    """Shadow comparisons of one router replica, and its newest disagreements."""

    def __init__(
        self,
        backends: Mapping[Backend, BackendClient],
        metrics: RouterMetrics,
        rng: random.Random | None = None,
    ) -> None:
        self._backends = backends
        self._metrics = metrics
        self._rng = rng or random.Random()
        self._running: set[asyncio.Task[None]] = set()
        self.disagreements: deque[dict[str, Any]] = deque(maxlen=_KEPT_DISAGREEMENTS)

    def consider(self, call: Call, answer: Answer, policy: TrafficPolicy) -> None:
        """Start a comparison for the policy's share of the requests; drop it when the places are taken."""
        if call.forced is not None or self._rng.random() >= policy.shadow_fraction:
            return
        if len(self._running) >= policy.shadow_concurrency:
            self._metrics.shadow("dropped")
            return
        # An empty context: Serve cancels whatever runs in a request's own context when its client goes away.
        task = asyncio.get_running_loop().create_task(
            self._compare(call, answer, policy), context=contextvars.Context()
        )
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _compare(self, call: Call, answer: Answer, policy: TrafficPolicy) -> None:
        name = other(answer.backend)
        try:
            result = await self._backends[name].detect(call.data, call.options, policy.arm_timeout_s)
        except BackendFailure as failure:
            self._metrics.shadow("dropped" if failure.reason == "queue_full" else "failed")
            return
        except ServingError:
            self._metrics.shadow("failed")
            return
        incumbent, candidate = (answer.result, result) if name == "onnx" else (result, answer.result)
        self._record(call, compare(incumbent.detections, candidate.detections, result.image, call.options.threshold))

    def _record(self, call: Call, agreement: Agreement) -> None:
        self._metrics.shadow("agree" if agreement.agrees else "disagree")
        self._metrics.deviation(agreement.score_deviation, agreement.box_deviation)
        if not agreement.agrees:
            self.disagreements.appendleft({"request_id": call.request_id, **agreement._asdict()})
