"""The measurement with real worker processes, on a tiny model."""

from pathlib import Path

import numpy as np
import psutil
import pytest

from bench import command
from bench.engines import measure, subjects
from bench.engines.subjects import REFERENCE, Contender, Subject
from bench.engines.worker import Order, Task, Worker
from bench.statistics import Interval
from serve_app.errors import ConfigurationError

CANDIDATE = Contender("onnxruntime", "fp32")


def test_every_engine_runs_every_round_at_every_size(
    tiny: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subjects, "export", lambda *_: None)
    monkeypatch.setattr(Subject, "artifact", lambda *_: tiny_artifact)
    subject = Subject("tiny", tiny, [(64, 96), (96, 64)], rounds=3, compared=2)
    ticks: list[int] = []
    rows = measure.measure(subject, [REFERENCE, CANDIDATE], 3, 1, lambda: ticks.append(1))
    assert len(ticks) == 2 * 2 * 3
    assert [(row.height, row.contender) for row in rows] == [
        (64, "torch fp32"), (64, "onnxruntime fp32"), (96, "torch fp32"), (96, "onnxruntime fp32"),
    ]  # fmt: skip
    reference, candidate = rows[:2]
    assert reference.ratio == Interval(1, 1, 1)
    assert reference.score_deviation == reference.box_deviation == 0
    assert candidate.box_deviation < 1e-3
    assert candidate.operations < reference.operations
    assert candidate.peak_bytes < reference.peak_bytes, "the ONNX process holds no PyTorch"


def test_a_worker_is_a_detector_that_says_what_it_cost(tiny: Path, tiny_artifact: Path) -> None:
    with Worker(Order("onnxruntime", "fp32", tiny, tiny_artifact, 1)) as worker:
        (pid,) = worker._pool._processes
        assert worker.info.engine == "onnxruntime"
        answer = worker.answer(Task(np.zeros((1, 3, 64, 96), np.float32), at_once=2, repeats=2))
        again = worker.infer(np.zeros((1, 3, 64, 96), np.float32))
    assert answer.seconds > 0
    assert answer.peak_bytes > 20_000_000
    np.testing.assert_array_equal(answer.outputs.logits, again.logits)
    assert not psutil.pid_exists(pid)


def test_a_worker_that_cannot_load_gives_the_reason(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"onnxruntime fp32: .*manifest\.json is missing"):
        Worker(Order("onnxruntime", "fp32", tiny, tmp_path, 1))


def test_the_random_model_has_the_published_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subjects, "_SMALL", tmp_path / "small")
    small = subjects.small()
    weights = (small.checkpoint / "model.safetensors").stat().st_size
    assert weights == pytest.approx(4 * 30.7e6, rel=0.02)


def test_the_machine_names_what_decides_its_speed() -> None:
    facts = command.machine(2)
    assert facts["threads"] == "2"
    assert facts["cpu"]
    assert facts["torch"][0].isdigit()
