"""Every series the service writes: name, help, unit, labels and buckets. Callers use the verbs, never a label list.

The series go through Ray's per-node agents, which put `ray_` before each name and add deployment and replica.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from ray.serve import metrics as ray_metrics

from serve_app.schemas import Stage

LATENCY_FROM_S, LATENCY_TO_S, LATENCY_STEP = 0.001, 60.0, 1.25
DEVIATION_BUCKETS = [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]


def latency_buckets() -> list[float]:
    """Upper bounds in seconds, from 1 ms to 60 s, each at most 1.25 times the one before: quantiles within 25 %."""
    bounds = [LATENCY_FROM_S]
    while bounds[-1] * LATENCY_STEP < LATENCY_TO_S:
        bounds.append(float(f"{bounds[-1] * LATENCY_STEP:.4g}"))
    return [*bounds, LATENCY_TO_S]


class Factory(Protocol):
    """Where series come from: `ray.serve.metrics`, or a recorder in tests."""

    Counter: Any
    Gauge: Any
    Histogram: Any


class RouterMetrics:
    """The series of one router replica. Built inside the replica, so that Ray adds deployment and replica."""

    def __init__(self, factory: Factory = ray_metrics) -> None:
        buckets = latency_buckets()
        self._requests = factory.Counter(
            "detect_requests_total",
            "Unforced requests by the arm that was drawn, the backend that answered and the outcome.",
            tag_keys=("assigned", "backend", "outcome"),
        )
        self._latency = factory.Histogram(
            "detect_latency_seconds",
            "Seconds from arrival in the router to the answer, by the arm that was drawn; answered, unforced requests.",
            boundaries=buckets,
            tag_keys=("assigned",),
        )
        self._stages = factory.Histogram(
            "detect_stage_seconds",
            "Seconds in each stage of the backend that answered; unforced requests.",
            boundaries=buckets,
            tag_keys=("backend", "stage"),
        )
        self._inflight = factory.Gauge(
            "detect_inflight", "Calls to a backend under way from this router.", tag_keys=("backend",)
        )
        self._fallbacks = factory.Counter(
            "detect_fallbacks_total",
            "Requests whose assigned arm failed and that were handed to the other one, by reason.",
            tag_keys=("assigned", "reason"),
        )
        self._up = factory.Gauge(
            "detect_backend_up", "1 if the backend last reported that it is ready.", tag_keys=("backend",)
        )
        self._breaker = factory.Gauge(
            "detect_breaker_open", "1 while this router leaves the backend alone.", tag_keys=("backend",)
        )
        self._fraction = factory.Gauge("detect_onnx_fraction", "Configured share of requests assigned to ONNX.")
        self._rejected_now = factory.Gauge(
            "detect_policy_rejected", "1 while the latest policy was refused and the one before it is in force."
        )
        self._shadow = factory.Counter(
            "detect_shadow_total",
            "Shadow comparisons by result: agree, disagree, failed or dropped.",
            tag_keys=("result",),
        )
        self._score_deviation = factory.Histogram(
            "detect_shadow_score_deviation",
            "Largest difference of scores between the two backends' detections of one image.",
            boundaries=DEVIATION_BUCKETS,
        )
        self._box_deviation = factory.Histogram(
            "detect_shadow_box_deviation",
            "Largest shift of a box edge between the two backends' detections of one image, relative to its side.",
            boundaries=DEVIATION_BUCKETS,
        )

    def request(self, assigned: str, backend: str, outcome: str) -> None:
        """Count one finished request."""
        self._requests.inc(1, {"assigned": assigned, "backend": backend, "outcome": outcome})

    def answered(self, assigned: str, seconds: float) -> None:
        """Observe the latency of one answered request."""
        self._latency.observe(seconds, {"assigned": assigned})

    def stages(self, backend: str, seconds: Mapping[Stage, float]) -> None:
        """Observe where the time of one answer went."""
        for stage, value in seconds.items():
            self._stages.observe(value, {"backend": backend, "stage": stage})

    def inflight(self, backend: str, calls: int) -> None:
        """Set the number of calls under way."""
        self._inflight.set(calls, {"backend": backend})

    def fallback(self, assigned: str, reason: str) -> None:
        """Count one request handed to the other arm."""
        self._fallbacks.inc(1, {"assigned": assigned, "reason": reason})

    def backend_up(self, backend: str, up: bool) -> None:
        """Set what the backend reported of itself."""
        self._up.set(float(up), {"backend": backend})

    def breaker(self, backend: str, is_open: bool) -> None:
        """Set the state of the breaker."""
        self._breaker.set(float(is_open), {"backend": backend})

    def policy(self, onnx_fraction: float) -> None:
        """Set the fraction in force."""
        self._fraction.set(onnx_fraction)

    def policy_rejected(self, rejected: bool) -> None:
        """Set whether the latest policy was refused."""
        self._rejected_now.set(float(rejected))

    def shadow(self, result: str) -> None:
        """Count one shadow comparison."""
        self._shadow.inc(1, {"result": result})

    def deviation(self, score: float, box: float) -> None:
        """Observe how far two backends' detections of one image are apart."""
        self._score_deviation.observe(score)
        self._box_deviation.observe(box)
