"""The commands behind `make serve`, `make split` and `make stop`, on a node that only looks like one."""

import functools
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from serve_app.errors import ConfigurationError
from serve_app.local import __main__ as local
from serve_app.local import deploy, node
from serve_app.local.modes import Mode
from serve_app.local.node import Node
from serve_app.local.ports import Ports, free_port
from tests.unit.local.clocks import FakeClock

ROOT = Path(__file__).parents[3]
SHIPPED = (ROOT / "serve_config.yaml").read_text()
READY = {"state": "ready", "engine": "onnxruntime", "precision": "fp32", "threads": 2}


class Machine:
    """Stands for Ray and the service: what was started, deployed and stopped, and what `/readyz` says."""

    def __init__(self) -> None:
        self.deployed: list[Mapping[str, Any]] = []
        self.started: list[Node] = []
        self.stopped: list[Node] = []
        self.processes: list[psutil.Process] = []
        self.backends: dict[str, Any] = {"torch": READY, "onnx": READY}
        self.failure: str | None = None
        self.answers = True

    def start(self, folder: Path, ports: Ports, mode: Mode) -> Node:
        folder.mkdir(exist_ok=True)
        made = Node(folder=folder.resolve(), ports=ports, mode=mode, pid=1, leader_born=0)
        node._write_state(made)
        self.started.append(made)
        return made

    def stop(self, running: Node, *_: object) -> None:
        self.stopped.append(running)
        (running.folder / "node.json").unlink()

    def deploy(self, running: Node, content: Mapping[str, Any]) -> None:
        self.deployed.append(content)

    def readiness(self, running: Node) -> dict[str, Any] | None:
        if not self.answers or not self.deployed:
            return None
        policy = self.deployed[-1]["applications"][0]["deployments"][0]["user_config"]
        return {"backends": self.backends, "policy": policy}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(node, "start", machine.start)
    monkeypatch.setattr(node, "stop", machine.stop)
    monkeypatch.setattr(deploy, "deploy", machine.deploy)
    monkeypatch.setattr(deploy, "readiness", machine.readiness)
    monkeypatch.setattr(deploy, "failure", lambda running: machine.failure)
    monkeypatch.setattr(Node, "processes", lambda self: machine.processes)
    return machine


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def config(tmp_path: Path, port: int) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(SHIPPED.replace("port: 8000", f"port: {port}"))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(local.commands, [str(argument) for argument in arguments])
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def up(config: Path, folder: Path, *options: object) -> tuple[int, str]:
    ports = ("--dashboard-port", free_port(), "--metrics-port", free_port())
    return run("up", "--config", config, "--folder", folder, *ports, *options)


def test_up_starts_deploys_and_says_how_to_go_on(machine: Machine, config: Path, folder: Path, port: int) -> None:
    machine.backends["onnx"] = {"state": "unavailable", "reason": "no artifact"}
    code, output = up(config, folder, "--mode", "fast")
    assert code == 0
    [running] = machine.started
    assert (running.mode, running.ports.http) == (Mode.fast, port)
    assert [content["applications"][0]["name"] for content in machine.deployed] == ["detect"]
    assert "torch: ready (onnxruntime, fp32, 2 threads)" in output
    assert "onnx: unavailable (no artifact)" in output
    assert f"curl -s http://127.0.0.1:{port}/detect" in output
    assert "0% of the traffic assigned to ONNX" in output


def test_up_leaves_an_environment_for_rays_own_commands(machine: Machine, config: Path, folder: Path) -> None:
    up(config, folder)
    [running] = machine.started
    environment = (folder / "env").read_text()
    assert f"RAY_ADDRESS={running.dashboard_url} RAY_DASHBOARD_ADDRESS={running.dashboard_url}" in environment
    assert f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={folder / 'auth_token'}" in environment


def test_up_waits_for_a_backend_that_is_still_starting(
    machine: Machine, config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = iter([{"state": "starting"}, {"state": "starting"}, READY])
    clock = FakeClock(meanwhile=lambda: machine.backends.update(onnx=next(states)))
    monkeypatch.setattr(deploy, "wait_until", functools.partial(deploy.wait_until, clock=clock))
    machine.backends["onnx"] = {"state": "starting"}
    code, output = up(config, folder)
    assert (code, next(states, "all seen")) == (0, "all seen")
    assert "onnx: ready" in output


def test_up_stops_what_it_started_if_the_deploy_fails(machine: Machine, config: Path, folder: Path) -> None:
    machine.answers, machine.failure = False, "no such module"
    code, output = up(config, folder)
    assert (code, "the deploy failed: no such module" in output) == (1, True)
    assert machine.stopped == machine.started
    assert not (folder / "env").exists()


def test_up_again_only_says_how_to_go_on(machine: Machine, config: Path, folder: Path) -> None:
    up(config, folder)
    code, output = up(config, folder)
    assert (code, len(machine.started)) == (0, 1)
    assert output.startswith("already running\n")
    assert "torch: ready" in output


def test_up_in_the_other_mode_is_refused(machine: Machine, config: Path, folder: Path) -> None:
    up(config, folder)
    code, output = up(config, folder, "--mode", "fast")
    assert (code, output) == (1, "already running, in simple mode; end it first: make stop\n")


def test_a_node_that_runs_and_does_not_answer_is_left_to_a_person(machine: Machine, config: Path, folder: Path) -> None:
    up(config, folder)
    machine.answers, machine.processes = False, [psutil.Process()]
    code, output = up(config, folder)
    assert (code, str(folder) in output, "make stop" in output) == (1, True, True)
    assert (len(machine.started), machine.stopped) == (1, [])


def test_a_node_that_has_ended_is_forgotten_and_started_anew(
    machine: Machine, config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    up(config, folder)
    answers = iter([False, True])
    readiness = machine.readiness
    monkeypatch.setattr(deploy, "readiness", lambda running: readiness(running) if next(answers) else None)
    code, _ = up(config, folder)
    assert (code, len(machine.started), machine.stopped) == (0, 2, machine.started[:1])


@pytest.fixture
def busy_port(port: int) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", port)):
        yield port


def test_a_busy_port_is_named_before_anything_starts(
    machine: Machine, config: Path, folder: Path, busy_port: int
) -> None:
    code, output = up(config, folder)
    assert (code, f"port {busy_port} (http) is in use" in output) == (1, True)
    assert "set http_options.port in the config" in output
    assert machine.started == []


@pytest.mark.parametrize("name", ["dashboard", "metrics"])
def test_the_option_that_moves_a_busy_port_is_named(machine: Machine, config: Path, folder: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        code, output = up(config, folder, f"--{name}-port", holder.getsockname()[1])
    assert (code, f"use --{name}-port" in output) == (1, True)


@pytest.mark.parametrize("command", ["up", "split"])
def test_the_old_flag_is_a_warning_and_never_acted_on(
    machine: Machine, config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    if command == "split":
        up(config, folder)
    monkeypatch.setenv("USE_ONNX", "true")
    split = ("split", 0, "--config", config, "--folder", folder)
    code, output = up(config, folder) if command == "up" else run(*split)
    assert code == 0
    assert output.startswith("warning: USE_ONNX='true' is set and changes nothing: onnx_fraction")
    policy = machine.deployed[-1]["applications"][0]["deployments"][0]["user_config"]
    assert policy["onnx_fraction"] == 0


def test_backends_that_cannot_be_compared_are_a_warning(machine: Machine, config: Path, folder: Path) -> None:
    config.write_text(config.read_text().replace("threads: 2", "threads: 1", 1))
    code, output = up(config, folder)
    assert code == 0
    assert output.startswith("warning: user_config.threads is 1 for TorchDeployment, 2 for OnnxDeployment")


def test_a_wrong_config_is_named_before_anything_starts(machine: Machine, config: Path, folder: Path) -> None:
    config.write_text(SHIPPED.replace("onnx_fraction: 0.0", "onnx_fraction: 2"))
    code, output = up(config, folder)
    assert (code, "onnx_fraction" in output, machine.started) == (1, True, [])


def test_a_missing_config_is_named_in_full_with_its_option(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, output = run("up")
    assert (code, machine.started) == (1, [])
    assert f"no config file at {tmp_path / 'serve_config.yaml'}" in output
    assert "--config" in output


def test_split_edits_deploys_and_waits_until_it_is_in_force(machine: Machine, config: Path, folder: Path) -> None:
    up(config, folder)
    code, output = run("split", 0.5, "--config", config, "--folder", folder)
    assert code == 0
    assert output.startswith("  onnx_fraction 0.5")
    assert "onnx_fraction: 0.5\n" in config.read_text()
    [_, content] = machine.deployed
    assert content["applications"][0]["deployments"][0]["user_config"]["onnx_fraction"] == 0.5


def test_split_warns_of_a_backend_that_refused_what_was_deployed(machine: Machine, config: Path, folder: Path) -> None:
    run("up", "--config", config, "--folder", folder)
    machine.backends = {"torch": READY, "onnx": READY | {"configuration_error": "no artifact; run: python -m export"}}
    for command in (["split", 0.5], ["up"]):
        code, output = run(*command, "--config", config, "--folder", folder)
        assert code == 0
        assert "warning: onnx keeps its last good model: no artifact; run: python -m export" in output


def test_split_without_a_node_says_how_to_start_one(machine: Machine, config: Path, folder: Path) -> None:
    before = config.read_text()
    code, output = run("split", 0.5, "--config", config, "--folder", folder)
    assert (code, "make serve" in output, str(folder) in output) == (1, True, True)
    assert config.read_text() == before


def test_split_on_a_service_that_does_not_answer_changes_nothing(
    machine: Machine, config: Path, folder: Path, port: int
) -> None:
    up(config, folder)
    before, machine.answers = config.read_text(), False
    code, output = run("split", 0.5, "--config", config, "--folder", folder)
    assert (code, f"does not answer at http://127.0.0.1:{port}" in output) == (1, True)
    assert config.read_text() == before


def test_split_without_a_config_names_it_in_full(
    machine: Machine, config: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    up(config, folder)
    monkeypatch.chdir(tmp_path)
    code, output = run("split", 0.5, "--folder", folder)
    assert (code, f"no config file at {tmp_path / 'serve_config.yaml'}" in output) == (1, True)


def test_down_ends_the_node(machine: Machine, config: Path, folder: Path) -> None:
    up(config, folder)
    code, output = run("down", "--folder", folder)
    assert (code, output.startswith("  stopping")) == (0, True)
    assert machine.stopped == machine.started


def test_down_without_a_node_is_fine_and_says_where_it_looked(machine: Machine, folder: Path) -> None:
    code, output = run("down", "--folder", folder)
    assert code == 0
    assert output.startswith(f"nothing is running: {folder} remembers no node")


def test_ending_waits_until_the_system_has_closed_the_port(machine: Machine, folder: Path, port: int) -> None:
    running = machine.start(folder, Ports(http=port), Mode.simple)
    listener = socket.create_server(("127.0.0.1", port))
    local._shut_down(running, FakeClock(meanwhile=listener.close))
    assert listener.fileno() == -1, "it did not wait"


def test_a_port_that_stays_taken_is_another_programs(machine: Machine, folder: Path, busy_port: int) -> None:
    running = machine.start(folder, Ports(http=busy_port), Mode.simple)
    with pytest.raises(ConfigurationError, match=rf"port {busy_port} .*it was not started by make serve"):
        local._shut_down(running, FakeClock())
