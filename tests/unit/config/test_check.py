"""`python -m serve_app.check`: its exit code and what it says where."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from serve_app import check

SHIPPED = Path(__file__).parents[3] / "serve_config.yaml"


def run(path: Path) -> Result:
    app = typer.Typer()
    app.command()(check.main)
    return CliRunner().invoke(app, [str(path)])


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("USE_ONNX", raising=False)


def test_a_good_file_is_ok() -> None:
    result = run(SHIPPED)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{SHIPPED}: ok\n", "")


def test_backends_that_cannot_be_compared_are_a_warning_and_still_ok(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(SHIPPED.read_text().replace("threads: 2", "threads: 1", 1))
    result = run(path)
    assert (result.exit_code, result.stdout) == (0, f"{path}: ok\n")
    assert result.stderr.startswith(f"{path}: warning: user_config.threads is 1 for TorchDeployment, 2 for")


def test_the_old_flag_is_a_warning_and_never_acted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USE_ONNX", "true")
    result = run(SHIPPED)
    assert (result.exit_code, result.stdout) == (0, f"{SHIPPED}: ok\n")
    [line] = result.stderr.splitlines()
    assert line.startswith("warning: USE_ONNX='true' is set and changes nothing: onnx_fraction")


@pytest.mark.parametrize("name", ["nowhere.yaml", "wrong.yaml"])
def test_a_bad_file_is_an_error_without_a_traceback(tmp_path: Path, name: str) -> None:
    (tmp_path / "wrong.yaml").write_text("- 1")
    result = run(tmp_path / name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(str(tmp_path / name))
    assert len(result.stderr.splitlines()) == 1


def test_what_was_not_checked_is_said(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    other = "  - name: other\n    import_path: other.module:app\n    route_prefix: /other\n"
    path.write_text(SHIPPED.read_text() + other)
    result = run(path)
    assert (result.exit_code, result.stdout) == (0, f"{path}: ok\n")
    assert result.stderr == (
        f"{path}: note: applications[other] (other.module:app) is not this service: only Serve's keys are checked\n"
    )


def test_every_mistake_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        SHIPPED.read_text().replace("onnx_fraction: 0.0", "onnx_fraction: true").replace("port: 8000", "port: 0")
    )
    result = run(path)
    assert (result.exit_code, result.stdout) == (2, "")
    first, second = result.stderr.splitlines()
    assert first.startswith(f"{path}: http_options.port: expected a port from 1 to 65535, got 0")
    assert second.startswith(
        f"{path}: applications[detect].deployments[Router].user_config.onnx_fraction: Input should be"
    )


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.touch()
    result = run(path)
    assert result.exit_code == 2
    assert result.stderr == f"{path}: expected a mapping with the key applications, the file is empty\n"
