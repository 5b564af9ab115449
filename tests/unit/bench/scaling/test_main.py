"""`python -m bench.scaling`: what it measures, how it fails, and that it ends what it started."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from bench.scaling import __main__ as command
from bench.scaling import measure as measuring
from bench.scaling.bed import Bed
from bench.scaling.load import Source
from bench.scaling.measure import QUICK, Plan, Results
from serve_app.errors import ConfigurationError
from serve_app.local.modes import Mode
from serve_app.local.node import Node
from serve_app.local.ports import Ports
from tests.unit.bench.scaling.results import results

APP = typer.Typer()
APP.command()(command.main)


class World:
    """Stands in for Ray: remembers the modes that were started and the plans, and which nodes were ended."""

    def __init__(self) -> None:
        self.started: list[Mode] = []
        self.ended: list[Mode] = []
        self.plans: list[Plan] = []
        self.error: BaseException | None = None

    @contextlib.contextmanager
    def running(self, folder: Path, ports: Ports, mode: Mode) -> Iterator[Node]:
        self.started.append(mode)
        try:
            yield Node(folder=folder, ports=ports, mode=mode, pid=1, leader_born=0)
        finally:
            self.ended.append(mode)

    def measure(self, bed: Bed, plan: Plan, source: Source, advance: Callable[[str], None]) -> Results:
        assert source.body == b"image"
        if self.error:
            raise self.error
        self.plans.append(plan)
        advance("something")
        return results(bed.node.mode)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(command, "running", made.running)
    monkeypatch.setattr(measuring, "measure", made.measure)
    monkeypatch.setattr(command, "generator", lambda: contextlib.nullcontext(None))
    monkeypatch.setattr(measuring, "body", lambda: b"image")
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    return made


def test_both_modes_one_after_the_other(world: World, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = CliRunner().invoke(APP, ["--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert world.started == world.ended == [Mode.simple, Mode.fast]
    assert world.plans == [Plan(), Plan()]
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".md", ".png"}
    assert "Computed from the fast mode" in result.stdout


def test_quick_and_one_mode(world: World, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    CliRunner().invoke(APP, ["--out", str(tmp_path), "--quick", "--mode", "fast"])
    assert (world.started, world.plans) == ([Mode.fast], [QUICK])


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigurationError("Ray ended while starting"), 2, "error: Ray ended while starting"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_a_failure_is_one_line_and_leaves_nothing(
    world: World, tmp_path: Path, error: BaseException, code: int, line: str
) -> None:
    world.error = error
    result = CliRunner().invoke(APP, ["--out", str(tmp_path / "out")])
    assert result.exit_code == code
    assert result.stderr.strip().splitlines()[-1] == line
    assert world.started == world.ended == [Mode.simple]
    assert not (tmp_path / "out").exists()
