"""The shipped Prometheus files, made for a node; and what is said when Prometheus cannot come up."""

from pathlib import Path
from typing import Any

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


class Process:
    """One process of a node, as far as its command line tells; without one it is gone."""

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
    with pytest.raises(ConfigurationError, match="is the service running"):
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


def test_without_a_service_the_command_says_how_to_start_one(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(monitor.main)
    result = CliRunner().invoke(app, ["--folder", str(tmp_path)])
    assert result.exit_code == 1
    assert "make serve" in result.output
