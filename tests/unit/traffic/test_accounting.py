"""What is counted and logged of one finished request."""

from typing import Any

import pytest

from serve_app.backends.ray_internals import THIN_LOG_RECORD
from serve_app.errors import BackendUnavailable, DeadlineExceeded, InvalidImage, Overloaded, ServingError
from serve_app.observability.metrics import RouterMetrics
from serve_app.schemas import Answer, Backend, Call, Options
from serve_app.traffic import accounting
from tests.unit.observability.test_metrics import Recorder
from tests.unit.traffic.fake_backend import NOTHING_FOUND

RESCUED = Answer(NOTHING_FOUND.model_copy(update={"stages": {"decode": 0.0123456, "inference": 0.25}}), "onnx", "torch")


def call(forced: Backend | None = None) -> Call:
    return Call("its-id", b"image", Options(), 1000.0, 1002.0, None, forced)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.mark.parametrize(
    ("error", "fair_s", "outcome"),
    [
        (InvalidImage("no"), 0.5, "invalid"),
        (Overloaded("full"), 0.5, "overloaded"),
        (BackendUnavailable("died"), 0.5, "failed"),
        (DeadlineExceeded("slow"), 1.9, "deadline"),
        (DeadlineExceeded("slow"), 2.0, "deadline"),
        (DeadlineExceeded("slow"), 2.1, "hurried"),
    ],
)
def test_the_outcome_of_an_error(error: ServingError, fair_s: float, outcome: str) -> None:
    assert accounting.outcome_of(error, call(), fair_s) == outcome


def test_a_rescued_request_counts_for_its_arm_and_its_stages_for_who_answered(recorder: Recorder) -> None:
    accounting.record(RouterMetrics(recorder), call(), "onnx", "rescued", RESCUED, 0.5)
    assert recorder.events == [
        ("detect_requests_total", 1, {"assigned": "onnx", "backend": "torch", "outcome": "rescued"}),
        ("detect_latency_seconds", 0.5, {"assigned": "onnx"}),
        ("detect_stage_seconds", 0.0123456, {"backend": "torch", "stage": "decode"}),
        ("detect_stage_seconds", 0.25, {"backend": "torch", "stage": "inference"}),
    ]


def test_without_an_answer_no_time_is_observed(recorder: Recorder) -> None:
    accounting.record(RouterMetrics(recorder), call(), "onnx", "failed", None, 0.5)
    assert recorder.events == [
        ("detect_requests_total", 1, {"assigned": "onnx", "backend": "onnx", "outcome": "failed"})
    ]


def test_a_forced_request_is_never_counted(recorder: Recorder) -> None:
    accounting.record(RouterMetrics(recorder), call(forced="torch"), "torch", "ok", RESCUED, 0.5)
    assert not recorder.events


@pytest.mark.parametrize("forced", [None, "onnx"])
@pytest.mark.parametrize(
    ("answer", "backend", "stages"),
    [(RESCUED, "torch", {"decode": 12.346, "inference": 250.0}), (None, "onnx", {})],
)
def test_the_log_line(
    monkeypatch: pytest.MonkeyPatch,
    answer: Answer | None,
    backend: Backend,
    stages: dict[str, float],
    forced: Backend | None,
) -> None:
    lines: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(accounting.logger, "info", lambda message, extra: lines.append((message, extra)))
    accounting.log(call(forced), "onnx", "rescued", answer, 0.1234567)
    expected = {
        "request_id": "its-id",
        "assigned": "onnx",
        "backend": backend,
        "outcome": "rescued",
        "forced": forced is not None,
        "milliseconds": 123.457,
        "stages": stages,
    }
    assert lines == [("detect", expected | THIN_LOG_RECORD)]
