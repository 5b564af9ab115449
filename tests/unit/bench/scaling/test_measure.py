"""The order of the steps, without Ray: which layouts are deployed, asked and looked at."""

from pathlib import Path

import pytest

from bench.scaling import control, measure
from bench.scaling.bed import Bed, Layout
from bench.scaling.control import Control
from bench.scaling.load import Source, Window
from bench.scaling.measure import QUICK, Plan
from bench.serving.loads import Order, Outcome
from serve_app.errors import ConfigurationError
from serve_app.local.modes import Mode
from serve_app.local.node import Node
from serve_app.local.ports import Ports
from tests.unit.bench.scaling.results import results, window


def nobody(order: Order) -> Outcome:
    raise AssertionError("the windows are made up here")


class World:
    """Remembers what was deployed; its windows are made up, those of HAProxy's first moments go through the proxy."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, mode: Mode) -> None:
        self.bed = Bed(Node(folder=folder, ports=Ports(), mode=mode, pid=1 << 30, leader_born=0))
        self.deployed: list[Layout] = []
        self.rested: list[Layout] = []
        self.steps: list[str] = []
        self.answered = 100
        self.unsettled = 0
        monkeypatch.setattr(Bed, "arrange", lambda bed, layout: self.deployed.append(layout))
        monkeypatch.setattr(Source, "window", self.window)
        monkeypatch.setattr(control, "at_rest", self.at_rest)
        monkeypatch.setattr(control, "files_limit", lambda bed: 1000)

    def window(self, bed: Bed, layout: Layout, clients: int, warm_up_s: float, seconds: float) -> Window:
        assert self.deployed[-1] == layout
        seen = window(layout, self.answered)
        if warm_up_s == 0:  # no measurement: is HAProxy settled?
            self.unsettled -= 1
        proxy = seen.cpu["router"] if self.unsettled >= 0 else 0.0
        return seen._replace(cpu=seen.cpu | {"proxy": proxy})

    def at_rest(self, bed: Bed, layout: Layout, seconds: float) -> Control:
        self.rested.append(layout)
        return results().at_rest[0]._replace(layout=layout)

    def measure(self, plan: Plan) -> measure.Results:
        return measure.measure(self.bed, plan, Source(nobody, b"image"), self.steps.append)


@pytest.mark.parametrize("plan", [Plan(), QUICK])
def test_every_layout_of_the_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plan: Plan) -> None:
    world = World(monkeypatch, tmp_path, Mode.simple)
    seen = world.measure(plan)
    assert len(world.steps) == plan.steps
    assert tuple(one.layout for one in seen.ceiling) == plan.ceiling
    assert {one.layout.arms for one in seen.scaling} == set(plan.arms)
    assert {one.layout.at_once for one in seen.scaling} == set(plan.at_once)
    assert world.rested == [plan.ceiling[0], plan.many]
    assert world.deployed[-1] == plan.many
    assert seen.files_limit == 1000


def test_behind_haproxy_it_waits_until_the_routers_are_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = World(monkeypatch, tmp_path, Mode.fast)
    world.unsettled = 3
    world.measure(QUICK)
    assert world.unsettled < 0


def test_a_haproxy_that_never_settles_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = World(monkeypatch, tmp_path, Mode.fast)
    world.unsettled = 1000
    with pytest.raises(ConfigurationError, match="HAProxy still sends"):
        world.measure(QUICK)


def test_no_answer_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = World(monkeypatch, tmp_path, Mode.simple)
    world.answered = 0
    with pytest.raises(ConfigurationError, match="no request was answered"):
        world.measure(QUICK)


def test_a_record_of_a_replica_takes_some_bytes_and_some_time() -> None:
    record = control.record()
    assert 50 < record.size < 2000
    assert record.seconds > 0
