"""The series as declared, and what each verb does to them."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from serve_app.observability.metrics import SERIES, RouterMetrics, Series, latency_buckets
from serve_app.schemas import STAGES, BackendStatus

Event = tuple[str, float, dict[str, str]]


class Recorder:
    """Stands for `ray.serve.metrics` with its rules: all declared labels are given, as text; counters only grow."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.Counter = self.Gauge = self.Histogram = self._create

    def _create(self, name: str, help: str, *, tag_keys: tuple[str, ...], boundaries: list[float] | None = None) -> Any:
        recorder = self

        class Made:
            def inc(self, value: float, labels: dict[str, str]) -> None:
                assert value > 0
                self.set(value, labels)

            def set(self, value: float, labels: dict[str, str]) -> None:
                assert set(labels) == set(tag_keys)
                assert all(isinstance(label, str) for label in labels.values())
                recorder.events.append((name, value, labels))

            observe = set

        assert boundaries is None or all(bound > 0 for bound in boundaries)
        return Made()

    def of(self, name: str) -> Iterator[tuple[float, dict[str, str]]]:
        return ((value, labels) for event, value, labels in self.events if event == name)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def metrics(recorder: Recorder) -> RouterMetrics:
    return RouterMetrics(recorder)


def test_latency_buckets_grow_by_at_most_a_quarter_from_1_ms_to_60_s() -> None:
    buckets = latency_buckets()
    assert (buckets[0], buckets[-1]) == (0.001, 60.0)
    assert all(1 < above / below <= 1.25 for below, above in pairwise(buckets))


@pytest.mark.parametrize("series", SERIES, ids=lambda series: series.name)
def test_each_declaration_follows_the_naming_rules(series: Series) -> None:
    assert re.fullmatch(r"detect_[a-z_]+", series.name)
    assert series.help.endswith(".")
    assert series.help.isascii(), "Ray cannot encode anything else"
    assert series.name.endswith("_total") == (series.kind == "counter")
    assert bool(series.buckets) == (series.kind == "histogram")
    assert not {"application", "deployment", "replica", "le"} & set(series.labels), "Serve and Prometheus add these"
    assert not re.search(r"_(ms|milliseconds|percent|mb)(_|$)", series.name), "base units only"


def test_names_are_unique() -> None:
    assert len({series.name for series in SERIES}) == len(SERIES)


def test_counters_show_before_their_first_event_without_moving_the_count(
    metrics: RouterMetrics, recorder: Recorder
) -> None:
    metrics.start_counters(["ok", "rescued"], ["timeout"])
    requests = [
        (labels["assigned"], labels["backend"], labels["outcome"]) for _, labels in recorder.of("detect_requests_total")
    ]
    assert requests == [
        ("torch", "torch", "ok"),
        ("torch", "onnx", "rescued"),
        ("onnx", "onnx", "ok"),
        ("onnx", "torch", "rescued"),
    ]
    assert {name for name, _, _ in recorder.events} == {series.name for series in SERIES if series.kind == "counter"}
    assert all(value + 1 == 1 for _, value, _ in recorder.events)


def test_every_counter_verb_adds_one(metrics: RouterMetrics, recorder: Recorder) -> None:
    metrics.request("onnx", "torch", "rescued")
    metrics.overloaded()
    metrics.fallback("onnx", "timeout")
    metrics.shadow("agree")
    assert recorder.events == [
        ("detect_requests_total", 1, {"assigned": "onnx", "backend": "torch", "outcome": "rescued"}),
        ("detect_overloaded_total", 1, {}),
        ("detect_fallbacks_total", 1, {"assigned": "onnx", "reason": "timeout"}),
        ("detect_shadow_total", 1, {"result": "agree"}),
    ]


def test_every_observation_reaches_its_histogram(metrics: RouterMetrics, recorder: Recorder) -> None:
    metrics.answered("torch", 0.25)
    metrics.stages("torch", dict.fromkeys(STAGES, 0.05))
    metrics.deviation(0.01, 0.02)
    assert list(recorder.of("detect_latency_seconds")) == [(0.25, {"assigned": "torch"})]
    assert [labels["stage"] for _, labels in recorder.of("detect_stage_seconds")] == list(STAGES)
    assert list(recorder.of("detect_shadow_score_deviation")) == [(0.01, {})]
    assert list(recorder.of("detect_shadow_box_deviation")) == [(0.02, {})]


def test_the_state_of_the_router_reaches_its_gauges(metrics: RouterMetrics, recorder: Recorder) -> None:
    metrics.policy(0.3, rejected=True)
    metrics.inflight("onnx", 2)
    metrics.breaker("onnx", True)
    metrics.replicas("onnx", unavailable=2, rejected=True)
    assert recorder.events == [
        ("detect_onnx_fraction", 0.3, {}),
        ("detect_policy_rejected", 1.0, {}),
        ("detect_inflight", 2, {"backend": "onnx"}),
        ("detect_breaker_open", 1.0, {"backend": "onnx"}),
        ("detect_replicas_unavailable", 2, {"backend": "onnx"}),
        ("detect_configuration_rejected", 1.0, {"backend": "onnx"}),
    ]


def test_a_ready_backend_says_what_it_runs(metrics: RouterMetrics, recorder: Recorder) -> None:
    status = BackendStatus(
        state="ready",
        engine="onnxruntime",
        versions={"onnxruntime": "1.32.0", "opset": "23"},
        device="CPUExecutionProvider",
        precision="fp32",
        threads=2,
        fingerprint="sha256:ab",
    )
    metrics.backend("onnx", status)
    assert list(recorder.of("detect_backend_up")) == [(1.0, {"backend": "onnx"})]
    [(value, labels)] = recorder.of("detect_build_info")
    assert value == 1
    assert labels.pop("service_version")
    assert labels == {
        "backend": "onnx",
        "engine": "onnxruntime",
        "versions": "onnxruntime 1.32.0, opset 23",
        "device": "CPUExecutionProvider",
        "precision": "fp32",
        "threads": "2",
        "fingerprint": "sha256:ab",
    }


def test_a_backend_that_is_not_ready_only_says_so(metrics: RouterMetrics, recorder: Recorder) -> None:
    metrics.backend("onnx", BackendStatus(state="unavailable", reason="no artifact"))
    assert recorder.events == [("detect_backend_up", 0.0, {"backend": "onnx"})]
