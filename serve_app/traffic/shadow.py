"""The shadow run: a share of the answered requests also goes to the other backend, only for comparison.

Called by `http.api` once an answer has gone out. It never queues, and nothing it does can reach a client.
A part of the comparisons asks Torch again where Torch answered. Their differences are the noise floor.
"""

import asyncio
import contextvars
import random
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

from serve_app.backends.protocol import BackendClient, BackendFailure
from serve_app.detection.agreement import TOLERANCE, Agreement, compare
from serve_app.errors import ServingError
from serve_app.observability.metrics import RouterMetrics
from serve_app.schemas import MAX_DETECTIONS, Answer, Backend, Call, Detection, Options, other
from serve_app.settings import TrafficPolicy

_KEPT_DISAGREEMENTS = 50

Pair = Literal["torch_onnx", "torch_torch"]
Result = Literal["agree", "disagree", "failed", "dropped"]


class Tally:
    """The results of one pair's comparisons so far."""

    def __init__(self) -> None:
        self.results: dict[str, int] = {"agree": 0, "disagree": 0, "failed": 0, "dropped": 0}
        self.score_deviation = 0.0
        self.box_deviation = 0.0

    def add(self, agreement: Agreement) -> None:
        """Keep the largest deviations."""
        self.score_deviation = max(self.score_deviation, agreement.score_deviation)
        self.box_deviation = max(self.box_deviation, agreement.box_deviation)

    def summary(self) -> dict[str, Any]:
        """Counts and largest deviations, as `GET /shadow/disagreements` shows them."""
        largest = {"max_score_deviation": self.score_deviation, "max_box_deviation": self.box_deviation}
        return {**self.results, **largest}


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
        self._tallies: dict[Pair, Tally] = {"torch_onnx": Tally(), "torch_torch": Tally()}
        self._disagreements: deque[dict[str, Any]] = deque(maxlen=_KEPT_DISAGREEMENTS)

    def consider(self, call: Call, answer: Answer, policy: TrafficPolicy) -> None:
        """Start a comparison for the policy's share of the requests. With all places taken, it is dropped."""
        if call.forced is not None or self._rng.random() >= policy.shadow_fraction:
            return
        repeats = answer.backend == "torch" and self._rng.random() < policy.shadow_noise_share
        pair: Pair = "torch_torch" if repeats else "torch_onnx"
        if len(self._running) >= policy.shadow_concurrency:
            self._count(pair, "dropped")
            return
        # An empty context: Serve cancels whatever runs in a request's own context when its client goes away.
        task = asyncio.get_running_loop().create_task(
            self._run(call, answer, policy, pair), context=contextvars.Context()
        )
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def report(self) -> dict[str, Any]:
        """Both pairs' tallies and the newest disagreements, newest first: numbers and request ids only."""
        return {
            "comparisons": self._tallies["torch_onnx"].summary(),
            "noise_floor": self._tallies["torch_torch"].summary(),
            "disagreements": list(self._disagreements),
        }

    async def _run(self, call: Call, answer: Answer, policy: TrafficPolicy, pair: Pair) -> None:
        asked = self._backends["torch" if pair == "torch_torch" else other(answer.backend)]
        if not asked.is_ready:
            self._count(pair, "failed")
            return
        options = _wider(call.options)
        try:
            result = await asked.detect(call.data, options, policy.longest_attempt_s, only_if_idle=True)
        except BackendFailure as failure:
            self._count(pair, "dropped" if failure.reason == "queue_full" else "failed")
            return
        except ServingError:
            self._count(pair, "failed")
            return
        answered, found = answer.result.detections, result.detections
        floors = _floor(answered, call.options), _floor(found, options)
        self._record(call, pair, compare(answered, found, result.image, call.options.threshold, floors=floors))

    def _record(self, call: Call, pair: Pair, agreement: Agreement) -> None:
        self._tallies[pair].add(agreement)
        self._count(pair, "agree" if agreement.agrees else "disagree")
        if pair == "torch_torch":
            return
        self._metrics.deviation(agreement.score_deviation, agreement.box_deviation)
        if not agreement.agrees:
            self._disagreements.appendleft({"request_id": call.request_id, **agreement._asdict()})

    def _count(self, pair: Pair, result: Result) -> None:
        self._tallies[pair].results[result] += 1
        self._metrics.shadow(result if pair == "torch_onnx" else f"noise_{result}")


def _wider(options: Options) -> Options:
    """What the other backend is asked: also for the partner of each detection that it scores a little lower."""
    return Options(threshold=max(options.threshold - TOLERANCE, 0), max_detections=MAX_DETECTIONS)


def _floor(found: list[Detection], options: Options) -> float:
    """The score above which nothing is missing in `found`: a list that is full was cut at its last score."""
    cut = found[-1].score if len(found) == options.max_detections else 0.0
    return max(options.threshold, cut)
