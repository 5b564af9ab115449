"""A dispatcher between two arms that do what they are told, for the tests of this folder."""

import asyncio
import time
from collections import Counter
from typing import Any

from serve_app.calls import Answer, Call, Options
from serve_app.observability.metrics import RouterMetrics
from serve_app.schemas import Backend
from serve_app.settings import TrafficPolicy
from serve_app.traffic.dispatch import Dispatcher
from tests.unit.observability.test_metrics import Recorder
from tests.unit.traffic.fake_arm import FakeArm


class Bench:
    """A dispatcher between two fake arms, with its series recorded."""

    def __init__(self) -> None:
        self.torch, self.onnx = FakeArm("torch"), FakeArm("onnx")
        self.recorder = Recorder()
        self.dispatcher = Dispatcher({"torch": self.torch, "onnx": self.onnx}, RouterMetrics(self.recorder))
        self.policy()

    def policy(self, **values: Any) -> None:
        self.dispatcher.policy = TrafficPolicy(**({"onnx_fraction": 1.0} | values))

    def ask(self, timeout_s: float = 30.0, forced: Backend | None = None, key: str | None = None) -> Answer:
        return asyncio.run(self.dispatcher.detect(call(timeout_s, forced, key)))

    def counted(self, series: str) -> Counter[tuple[str, ...]]:
        return Counter(tuple(labels.values()) for _, labels in self.recorder.of(series))


def call(timeout_s: float = 30.0, forced: Backend | None = None, key: str | None = None) -> Call:
    now = time.perf_counter()
    return Call("id", b"image", Options(), now, now + timeout_s, key, forced)
