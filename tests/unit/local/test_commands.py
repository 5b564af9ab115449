"""The commands of `make serve` and its kin, up to where Ray begins."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serve_app.errors import ConfigurationError
from serve_app.local import __main__ as local
from serve_app.local import node
from serve_app.local.ports import Ports, free_port

ROOT = Path(__file__).parents[3]
SHIPPED = (ROOT / "serve_config.yaml").read_text()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(SHIPPED)
    return path


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(local.commands, [str(argument) for argument in arguments])
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def test_only_the_number_changes(config: Path) -> None:
    content = local._edit_fraction(config, 0.25)
    assert content["applications"][0]["deployments"][0]["user_config"]["onnx_fraction"] == 0.25
    assert config.read_text() == SHIPPED.replace("onnx_fraction: 0.0", "onnx_fraction: 0.25")
    assert list(config.parent.iterdir()) == [config]


def test_a_wrong_number_leaves_the_file_as_it_was(config: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"config\.yaml.*onnx_fraction"):
        local._edit_fraction(config, 1.5)
    assert config.read_text() == SHIPPED
    assert list(config.parent.iterdir()) == [config]


def test_a_file_without_the_number_is_not_guessed_at(config: Path) -> None:
    config.write_text(SHIPPED.replace("onnx_fraction", "fraction"))
    with pytest.raises(ConfigurationError, match="expected one onnx_fraction, found 0"):
        local._edit_fraction(config, 0.5)


def test_a_config_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nope\.yaml: No such file"):
        local._edit_fraction(tmp_path / "nope.yaml", 0.5)


def test_a_split_without_a_service_says_how_to_start_it(config: Path, tmp_path: Path) -> None:
    code, output = run("split", 0.5, "--config", config, "--folder", tmp_path / "run")
    assert (code, "make serve" in output) == (1, True)
    assert config.read_text() == SHIPPED


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_a_busy_port_is_said_before_anything_starts(config: Path, tmp_path: Path, busy_port: int) -> None:
    config.write_text(SHIPPED.replace("port: 8000", f"port: {busy_port}"))
    code, output = run("up", "--config", config, "--folder", tmp_path / "run")
    assert (code, f"port {busy_port} (http) is in use" in output) == (1, True)
    assert not (tmp_path / "run").exists()


def test_arms_that_cannot_be_compared_are_told_first(config: Path, tmp_path: Path, busy_port: int) -> None:
    config.write_text(SHIPPED.replace("port: 8000", f"port: {busy_port}").replace("threads: 2", "threads: 1", 1))
    _, output = run("up", "--config", config, "--folder", tmp_path / "run")
    assert output.startswith("warning: user_config.threads is 1 for TorchDeployment, 2 for OnnxDeployment")


def test_a_wrong_config_is_said_before_anything_starts(config: Path, tmp_path: Path) -> None:
    config.write_text(SHIPPED.replace("onnx_fraction: 0.0", "onnx_fraction: 2"))
    code, output = run("up", "--config", config, "--folder", tmp_path / "run")
    assert (code, "onnx_fraction" in output) == (1, True)


def test_a_half_dead_run_is_said(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    monkeypatch.setattr(node, "_command", lambda *_: ["/bin/sleep", "60"])
    monkeypatch.setattr(node, "_await_dashboard", lambda running: None)
    half_dead = node.start(folder, Ports(http=free_port(), dashboard=free_port()))
    try:
        code, output = run("up", "--config", config, "--folder", folder)
        assert (code, "half alive" in output, "make stop" in output) == (1, True, True)
    finally:
        node.stop(half_dead)


def test_stopping_nothing_is_fine(tmp_path: Path) -> None:
    assert run("down", "--folder", tmp_path) == (0, "nothing is running\n")
