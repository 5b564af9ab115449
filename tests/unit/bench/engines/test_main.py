"""`python -m bench.engines`: what it prints and writes, and how it refuses."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from bench.engines import __main__ as engines
from bench.engines import subjects
from bench.engines.report import Row
from bench.engines.subjects import Subject
from bench.statistics import Interval
from serve_app.errors import ConfigurationError

Plan = tuple[str, int, int]
APP = typer.Typer()
APP.command()(engines.main)
ROW = Row("demo", 64, 96, "torch fp32", 0.02, Interval(1, 1, 1), 10**9, 10**8, 0, 0, 0)


@pytest.fixture
def plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """What it measures (the model, rounds and threads), instead of measuring."""
    seen: list[Plan] = []

    def pretend(subject: Subject, contenders: object, rounds: int, threads: int, advance: object) -> list[Row]:
        seen.append((subject.name, rounds, threads))
        return [ROW._replace(model=subject.name)]

    subject = Subject("demo", tmp_path, [(64, 96)], rounds=60, compared=1)
    monkeypatch.setattr(engines, "measure", pretend)
    monkeypatch.setattr(engines, "measured_peak", lambda threads: 1e11)
    monkeypatch.setattr(subjects, "demo", lambda: subject)
    monkeypatch.setattr(subjects, "small", lambda: subject._replace(name="yolos-small", rounds=9))
    return seen


def test_both_models_are_measured_and_written(plans: list[Plan], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = CliRunner().invoke(APP, ["--out", str(tmp_path / "out"), "--threads", "3"])
    assert result.exit_code == 0, result.output
    assert plans == [("demo", 60, 3), ("yolos-small", 9, 3)]
    assert "fp32 peak 100 GFLOP/s" in result.stdout
    content = json.loads((tmp_path / "out" / "engines.json").read_text())
    assert [row["model"] for row in content["rows"]] == ["demo", "yolos-small"]


def test_quick_means_few_rounds_of_what_was_asked(plans: list[Plan], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    CliRunner().invoke(APP, ["--out", str(tmp_path), "--model", "demo", "--quick"])
    assert plans == [("demo", 3, 2)]


def test_an_engine_that_does_not_come_up_is_one_line(
    plans: list[Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> list[Row]:
        raise ConfigurationError("an engine's process ended: no memory")

    monkeypatch.setattr(engines, "measure", fail)
    result = CliRunner().invoke(APP, ["--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert result.stderr.strip().endswith("error: an engine's process ended: no memory")
    assert not (tmp_path / "out").exists()
