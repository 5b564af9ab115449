"""A window of load read from the clients' books, and whose processor time is whose."""

import sys
import time
from pathlib import Path

import pytest

from bench.scaling import load, processes
from bench.scaling.bed import Layout
from bench.scaling.generator import Order
from bench.scaling.processes import Part, Used
from serve_app.errors import ConfigurationError
from serve_app.local.node import Node, Ports


@pytest.mark.parametrize(
    ("name", "title", "part"),
    [
        ("ray::ServeReplica:detect:Router", "ray::ServeReplica:detect:Router", "router"),
        ("ray::ServeReplica:detect:Torch", "ray::ServeReplica:detect:TorchDeployment", "arm"),
        ("ray::ProxyActor", "ray::ProxyActor", "proxy"),
        ("haproxy", "/somewhere/haproxy", "haproxy"),
        ("ray::ServeController", "ray::ServeController", "controller"),
        ("gcs_server", "/somewhere/gcs_server", "rest of Ray"),
    ],
)
def test_the_part_of_a_process(name: str, title: str, part: Part) -> None:
    assert processes.part_of(name, title) == part


def test_only_who_lived_all_the_time_counts() -> None:
    before = {1: Used("router", 1.0, 10), 2: Used("arm", 5.0, 10), 3: Used("router", 1.0, 30)}
    after = {1: Used("router", 1.5, 10), 3: Used("router", 1.25, 30), 4: Used("arm", 9.0, 10)}
    cpu = processes.cpu_between(before, after)
    assert (cpu["router"], cpu["arm"]) == (0.75, 0.0)
    assert processes.files_of(after, "router") == 20
    assert processes.files_of(after, "proxy") == 0


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node without processes."""
    return Node(folder=tmp_path, ports=Ports(), pid=1 << 30, started=time.time())


def generator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str) -> Order:
    """Let a program stand in for the clients."""
    script = tmp_path / "python"
    script.write_text(f"#!{sys.executable}\n{program}\n")
    script.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(script))
    return Order("http://127.0.0.1:9", tmp_path, 4, 0, 1)


def test_the_books_become_rates_and_shares(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, node: Node) -> None:
    books = {
        "lasted": 3.0,
        "cpu": 0.6,
        "statuses": {"200": 5, "503": 1},
        "seconds": [0.1, 0.1, 0.1, 0.1, 0.1, 0.4],
        "ended": [0.5, 1.5, 1.6, 2.5, 2.6, 3.0],
    }
    order = generator(monkeypatch, tmp_path, f"import json\nprint('begin')\nprint(json.dumps({books}))")
    seen = load.window(node, Layout(), order)
    assert seen.rate == pytest.approx(5 / 3)
    assert seen.failed == {"503": 1}
    assert (seen.slowest_third, seen.fastest_third) == (1.0, 3.0)
    assert (seen.p50_s, seen.p99_s) == (0.1, 0.4)
    assert seen.generator_share == pytest.approx(0.2)


def test_clients_that_fail_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, node: Node) -> None:
    order = generator(monkeypatch, tmp_path, "raise SystemExit('no such body')")
    with pytest.raises(ConfigurationError, match="load generator ended: no such body"):
        load.window(node, Layout(), order)
