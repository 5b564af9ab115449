"""Every series the service writes: name, kind, help, labels and buckets. Called by the router and by `traffic`.

Callers use the methods of `RouterMetrics` and never a list of labels. The series go through Ray's agent on the node,
which puts `ray_` before each name and adds the labels `application`, `deployment` and `replica`.
"""

import importlib.metadata
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

from ray.serve import metrics as ray_metrics

from serve_app.schemas import BACKENDS, BackendStatus, Stage, other

LATENCY_FROM_S, LATENCY_TO_S, LATENCY_STEP = 0.001, 60.0, 1.25
DEVIATION_BUCKETS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
# Ray refuses to add 0 to a counter. This value is so small that it disappears in the first real increment.
_ALMOST_ZERO = 1e-300
_SHADOW_RESULTS = ("agree", "disagree", "failed", "dropped")
# The results when Torch is compared with itself. They show what the comparison finds between equal answers.
_NOISE_RESULTS = tuple(f"noise_{result}" for result in _SHADOW_RESULTS)


def latency_buckets() -> tuple[float, ...]:
    """Upper bounds in seconds, from 1 ms to 60 s. Each is at most 1.25 times the last: quantiles are within 25 %."""
    bounds = [LATENCY_FROM_S]
    while bounds[-1] * LATENCY_STEP < LATENCY_TO_S:
        # Rounded down, because a bound that is rounded up would be more than one step above the last.
        bounds.append(int(bounds[-1] * LATENCY_STEP * 1e6) / 1e6)
    return (*bounds, LATENCY_TO_S)


class Series(NamedTuple):
    """The declaration of one series; `buckets` are a histogram's upper bounds."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


REQUESTS = Series(
    "detect_requests_total",
    "counter",
    "Unforced requests by the backend that was drawn, the backend that answered and the outcome.",
    ("assigned", "backend", "outcome"),
)
OVERLOADED = Series(
    "detect_overloaded_total", "counter", "Requests refused before a backend was drawn, because the router was full."
)
LATENCY = Series(
    "detect_latency_seconds",
    "histogram",
    "Seconds from arrival in the router to the answer, by the backend that was drawn; answered, unforced requests.",
    ("assigned",),
    latency_buckets(),
)
STAGES = Series(
    "detect_stage_seconds",
    "histogram",
    "Seconds in each stage of the backend that answered; unforced requests. Queue is all waiting on the way.",
    ("backend", "stage"),
    latency_buckets(),
)
INFLIGHT = Series("detect_inflight", "gauge", "Calls to a backend under way from this router.", ("backend",))
FALLBACKS = Series(
    "detect_fallbacks_total",
    "counter",
    "Requests whose assigned backend failed and that went to the other one, by reason.",
    ("assigned", "reason"),
)
BACKEND_UP = Series("detect_backend_up", "gauge", "1 if the backend last reported that it is ready.", ("backend",))
REPLICAS_UNAVAILABLE = Series(
    "detect_replicas_unavailable",
    "gauge",
    "Replicas of the backend that cannot answer, and get no requests, while another one can.",
    ("backend",),
)
CONFIGURATION_REJECTED = Series(
    "detect_configuration_rejected",
    "gauge",
    "1 while the backend's latest configuration is refused and its last good model answers.",
    ("backend",),
)
BREAKER_OPEN = Series("detect_breaker_open", "gauge", "1 while this router leaves the backend alone.", ("backend",))
BUILD_INFO = Series(
    "detect_build_info",
    "gauge",
    "Always 1; the labels say what each ready backend runs.",
    ("backend", "service_version", "engine", "versions", "device", "precision", "threads", "fingerprint"),
)
ONNX_FRACTION = Series("detect_onnx_fraction", "gauge", "Configured share of requests assigned to ONNX.")
POLICY_REJECTED = Series(
    "detect_policy_rejected", "gauge", "1 while the latest policy was refused and the one before it is in force."
)
SHADOW = Series(
    "detect_shadow_total",
    "counter",
    "Shadow comparisons by result: agree, disagree, failed or dropped; noise_* where Torch was compared with itself.",
    ("result",),
)
SCORE_DEVIATION = Series(
    "detect_shadow_score_deviation",
    "histogram",
    "Largest difference of scores between the two backends' detections of one image.",
    (),
    DEVIATION_BUCKETS,
)
BOX_DEVIATION = Series(
    "detect_shadow_box_deviation",
    "histogram",
    "Largest shift of a box edge between the two backends' detections of one image, relative to its side.",
    (),
    DEVIATION_BUCKETS,
)
SERIES = (
    REQUESTS,
    OVERLOADED,
    LATENCY,
    STAGES,
    INFLIGHT,
    FALLBACKS,
    BACKEND_UP,
    REPLICAS_UNAVAILABLE,
    CONFIGURATION_REJECTED,
    BREAKER_OPEN,
    BUILD_INFO,
    ONNX_FRACTION,
    POLICY_REJECTED,
    SHADOW,
    SCORE_DEVIATION,
    BOX_DEVIATION,
)


class Factory(Protocol):
    """What creates the series: `ray.serve.metrics`, or a recorder in tests."""

    Counter: Any
    Gauge: Any
    Histogram: Any


def _create(series: Series, factory: Factory) -> Any:
    match series.kind:
        case "counter":
            return factory.Counter(series.name, series.help, tag_keys=series.labels)
        case "gauge":
            return factory.Gauge(series.name, series.help, tag_keys=series.labels)
        case "histogram":
            return factory.Histogram(series.name, series.help, boundaries=[*series.buckets], tag_keys=series.labels)


class RouterMetrics:
    """The series of one router replica. Built inside the replica, so that Ray adds deployment and replica.

    Ray forgets a gauge that is not set again within two report intervals, so callers set each one again and again.
    """

    def __init__(self, factory: Factory = ray_metrics) -> None:
        self._made = {series: _create(series, factory) for series in SERIES}
        self._version = importlib.metadata.version("detect-ab")

    def start_counters(self, outcomes: Iterable[str], reasons: Iterable[str]) -> None:
        """Create every counter before its first event, because `rate` does not see the event that creates a series."""
        reasons = [*reasons]
        self._add(OVERLOADED, amount=_ALMOST_ZERO)
        for result in (*_SHADOW_RESULTS, *_NOISE_RESULTS):
            self._add(SHADOW, amount=_ALMOST_ZERO, result=result)
        for assigned in BACKENDS:
            for reason in reasons:
                self._add(FALLBACKS, amount=_ALMOST_ZERO, assigned=assigned, reason=reason)
        for assigned in BACKENDS:
            for outcome in outcomes:
                backend = other(assigned) if outcome == "rescued" else assigned
                self._add(REQUESTS, amount=_ALMOST_ZERO, assigned=assigned, backend=backend, outcome=outcome)

    def _add(self, series: Series, amount: float = 1, **labels: str) -> None:
        self._made[series].inc(amount, labels)

    def _set(self, series: Series, value: float, **labels: str) -> None:
        self._made[series].set(value, labels)

    def _observe(self, series: Series, value: float, **labels: str) -> None:
        self._made[series].observe(value, labels)

    def request(self, assigned: str, backend: str, outcome: str) -> None:
        """Count one finished request."""
        self._add(REQUESTS, assigned=assigned, backend=backend, outcome=outcome)

    def overloaded(self) -> None:
        """Count one request that was refused because the router was full."""
        self._add(OVERLOADED)

    def answered(self, assigned: str, seconds: float) -> None:
        """Observe the latency of one answered request."""
        self._observe(LATENCY, seconds, assigned=assigned)

    def stages(self, backend: str, seconds: Mapping[Stage, float]) -> None:
        """Observe the seconds in each stage of one answer."""
        for stage, value in seconds.items():
            self._observe(STAGES, value, backend=backend, stage=stage)

    def inflight(self, backend: str, calls: int) -> None:
        """Set the number of calls under way."""
        self._set(INFLIGHT, calls, backend=backend)

    def fallback(self, assigned: str, reason: str) -> None:
        """Count one request that went to the other backend."""
        self._add(FALLBACKS, assigned=assigned, reason=reason)

    def backend(self, backend: str, status: BackendStatus) -> None:
        """Set what the backend last reported about itself."""
        ready = status.state == "ready"
        self._set(BACKEND_UP, float(ready), backend=backend)
        if ready:
            self._set(BUILD_INFO, 1, backend=backend, service_version=self._version, **_build_labels(status))

    def replicas(self, backend: str, unavailable: int, rejected: bool) -> None:
        """Set how many replicas run and cannot answer, and whether any refused its latest configuration."""
        self._set(REPLICAS_UNAVAILABLE, unavailable, backend=backend)
        self._set(CONFIGURATION_REJECTED, float(rejected), backend=backend)

    def breaker(self, backend: str, is_open: bool) -> None:
        """Set the state of the breaker."""
        self._set(BREAKER_OPEN, float(is_open), backend=backend)

    def policy(self, onnx_fraction: float, rejected: bool) -> None:
        """Set the fraction in force, and whether the latest policy was refused."""
        self._set(ONNX_FRACTION, onnx_fraction)
        self._set(POLICY_REJECTED, float(rejected))

    def shadow(self, result: str) -> None:
        """Count one shadow comparison."""
        self._add(SHADOW, result=result)

    def deviation(self, score: float, box: float) -> None:
        """Observe how far the two backends' detections of one image are apart."""
        self._observe(SCORE_DEVIATION, score)
        self._observe(BOX_DEVIATION, box)


def _build_labels(status: BackendStatus) -> dict[str, str]:
    return {
        "engine": status.engine or "",
        "versions": ", ".join(f"{name} {version}" for name, version in (status.versions or {}).items()),
        "device": status.device or "",
        "precision": status.precision or "",
        "threads": str(status.threads or ""),
        "fingerprint": status.fingerprint or "",
    }
