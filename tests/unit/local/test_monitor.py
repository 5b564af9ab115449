"""The shipped Prometheus files with a node's addresses, and running Prometheus beside the service."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any, ClassVar, cast

import httpx
import psutil
import pytest
import typer
import yaml
from typer.testing import CliRunner

from serve_app.errors import ConfigurationError
from serve_app.local import monitor
from serve_app.local.node import Node
from serve_app.local.ports import Ports, free_port
from tests.config.prometheus_tools import FOLDER, promtool
from tests.unit.local.clocks import FakeClock


class Process:
    """One process of a node with its command line. Without arguments, it has ended."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = [*arguments]

    def cmdline(self) -> list[str]:
        if not self._arguments:
            raise psutil.NoSuchProcess(1)
        return self._arguments


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    def processes(self: Node) -> list[Any]:
        return [Process(), Process("sleep", "1"), Process("gcs_server", "--session-dir=/tmp/ray/session_7")]

    monkeypatch.setattr(Node, "processes", processes)
    return Node(folder=tmp_path, ports=Ports(http=8123), pid=1, leader_born=0)


def test_the_files_name_this_nodes_addresses_and_are_valid(node: Node, tmp_path: Path) -> None:
    monitor.write_config(node, tmp_path / "out", FOLDER)
    config = yaml.safe_load((tmp_path / "out/prometheus.yml").read_text())
    detect, ray = config["scrape_configs"]
    assert detect["static_configs"] == [{"targets": ["127.0.0.1:8123"]}]
    assert ray["file_sd_configs"][0]["files"] == ["/tmp/ray/session_7/prom_metrics_service_discovery.json"]
    assert (tmp_path / "out/rules.yml").read_text() == (FOLDER / "rules.yml").read_text()
    promtool("check", "config", tmp_path / "out/prometheus.yml")


def test_a_node_without_processes_has_no_discovery_file(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    empty: list[psutil.Process] = []
    monkeypatch.setattr(Node, "processes", lambda self: empty)
    with pytest.raises(ConfigurationError, match="make serve"):
        monitor.discovery_file(node)


def test_a_missing_prometheus_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="apt-get install prometheus"), monitor.prometheus(tmp_path, 1):
        pass


def test_a_prometheus_that_ends_at_once_is_shown_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "prometheus"
    program.write_text("#!/bin/sh\necho cannot read the file\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with (
        pytest.raises(ConfigurationError, match="cannot read the file"),
        monitor.prometheus(tmp_path, free_port()),
    ):
        pass


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list["subprocess.Popen[bytes]"]:
    """A program stands for Prometheus and runs until it is ended; this lists its processes."""
    program = tmp_path / "bin/prometheus"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec /bin/sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    processes = []
    popen = subprocess.Popen

    def start(command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        processes.append(popen(command, **options))
        return processes[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    return processes


def answer(monkeypatch: pytest.MonkeyPatch, *statuses: int) -> list[str]:
    """Answer one request after the other; 0 is nobody there. The addresses that were asked."""
    asked: list[str] = []
    left = iter(statuses)

    def get(url: str, **_: object) -> httpx.Response:
        asked.append(url)
        status = next(left)
        if not status:
            raise httpx.ConnectError("refused")
        return httpx.Response(status)

    monkeypatch.setattr(httpx, "get", get)
    return asked


def test_prometheus_is_there_when_it_says_so_and_ends_with_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list["subprocess.Popen[bytes]"]
) -> None:
    asked = answer(monkeypatch, 0, 503, 200)
    with monitor.prometheus(tmp_path, 9, FakeClock()) as url:
        assert url == "http://127.0.0.1:9"
        [process] = started
        assert process.poll() is None
    assert asked == [f"{url}/-/ready"] * 3
    assert process.poll() is not None


def test_a_prometheus_that_never_gets_ready_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list["subprocess.Popen[bytes]"]
) -> None:
    clock = FakeClock()
    began = clock.now
    answer(monkeypatch, *[503] * 1000)
    with (
        pytest.raises(ConfigurationError, match="Prometheus did not come up"),
        monitor.prometheus(tmp_path, 9, clock),
    ):
        pass
    assert clock.now - began == pytest.approx(30, abs=0.2)


def test_a_prometheus_that_ignores_the_request_to_end_is_killed() -> None:
    class Deaf:
        calls: ClassVar[list[str]] = []

        def terminate(self) -> None:
            self.calls.append("terminate")

        def kill(self) -> None:
            self.calls.append("kill")

        def wait(self, timeout: float | None = None) -> None:
            if timeout is not None:
                raise subprocess.TimeoutExpired("prometheus", timeout)
            self.calls.append("wait")

    monitor._end(cast("subprocess.Popen[bytes]", Deaf()))
    assert Deaf.calls == ["terminate", "kill", "wait"]


def run(*arguments: object) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(monitor.main)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_without_a_node_the_command_says_how_to_start_one(tmp_path: Path) -> None:
    code, output = run("--folder", tmp_path)
    assert (code, "make serve" in output, str(tmp_path) in output) == (1, True, True)


@pytest.fixture
def remembered(node: Node, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setattr("serve_app.local.node.remembered", lambda folder: node)
    monkeypatch.setattr("serve_app.local.deploy.readiness", lambda running: {"backends": {}})
    return node


def test_a_service_that_does_not_answer_is_named(
    remembered: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.local.deploy.readiness", lambda running: None)
    code, output = run("--folder", tmp_path)
    assert (code, "does not answer at http://127.0.0.1:8123" in output) == (1, True)


def test_missing_rules_are_named_in_full_with_their_option(
    remembered: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, output = run("--folder", tmp_path, "--port", free_port())
    assert code == 1
    assert f"{tmp_path / 'configs/prometheus/prometheus.yml'}: No such file" in output
    assert "--shipped" in output


def test_the_command_runs_prometheus_until_ctrl_c(
    remembered: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list["subprocess.Popen[bytes]"]
) -> None:
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    terminate = signal.getsignal(signal.SIGTERM)
    port = free_port()
    asked = answer(monkeypatch, 200)
    monkeypatch.setattr(signal, "pause", lambda: os.kill(os.getpid(), signal.SIGINT))
    try:
        code, output = run("--folder", tmp_path, "--port", port, "--shipped", FOLDER)
    finally:
        signal.signal(signal.SIGINT, ignored)
        signal.signal(signal.SIGTERM, terminate)
    assert code == 0
    assert f"Prometheus is at http://127.0.0.1:{port}" in output
    assert asked == [f"http://127.0.0.1:{port}/-/ready"]
    [process] = started
    assert isinstance(process.args, list)
    assert process.args[1:] == [
        f"--config.file={tmp_path}/prometheus/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/prometheus/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    assert process.poll() is not None
