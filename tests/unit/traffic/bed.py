"""A dispatcher between two fake backends, on a clock that the tests move. For the tests of this folder."""

import random
from collections import Counter
from typing import Any

from serve_app.observability.metrics import RouterMetrics
from serve_app.schemas import Answer, Backend, Call, Options
from serve_app.settings import TrafficPolicy
from serve_app.traffic.breaker import Breaker
from serve_app.traffic.dispatch import Dispatcher
from serve_app.traffic.lane import Lane
from serve_app.traffic.policy import PolicyInForce
from serve_app.traffic.split import Split
from tests.unit.observability.test_metrics import Recorder
from tests.unit.traffic.fake_backend import FakeBackend
from tests.unit.virtual_time import VirtualClock


class Bench:
    """A dispatcher between two fake backends, with its series recorded. ONNX has all the traffic."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.torch, self.onnx = FakeBackend("torch"), FakeBackend("onnx")
        self.recorder = Recorder()
        self.in_force = PolicyInForce()
        self.breakers: dict[Backend, Breaker] = {"torch": Breaker(self.clock), "onnx": Breaker(self.clock)}
        self.lanes = {
            backend.name: Lane(backend, self.breakers[backend.name], self.clock) for backend in (self.torch, self.onnx)
        }
        self.dispatcher = Dispatcher(
            self.in_force, self.lanes, RouterMetrics(self.recorder), self.clock, Split(random.Random(1))
        )
        self.policy()

    def policy(self, **values: Any) -> None:
        self.in_force.current = TrafficPolicy(**({"onnx_fraction": 1.0} | values))

    def call(self, timeout_s: float = 30.0, forced: Backend | None = None, key: str | None = None) -> Call:
        now = self.clock()
        return Call("id", b"image", Options(), now, now + timeout_s, key, forced)

    def ask(self, timeout_s: float = 30.0, forced: Backend | None = None, key: str | None = None) -> Answer:
        return self.clock.run(self.dispatcher.detect(self.call(timeout_s, forced, key)))

    def counted(self, series: str) -> Counter[tuple[str, ...]]:
        return Counter(tuple(labels.values()) for _, labels in self.recorder.of(series))
