"""The commands behind `make serve`, `make split` and `make stop`, as a new user runs them."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from serve_app.local import node
from serve_app.local.ports import free_port, require_free
from tests.integration.conftest import JPEG, PHOTOS, ROOT, artifact_of_the_checkout

pytestmark = pytest.mark.integration


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "serve_app.local", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def backend_of(url: str) -> str:
    response = httpx.post(f"{url}/detect", content=PHOTOS[0].read_bytes(), headers=JPEG, timeout=60, trust_env=False)
    return str(response.json()["backend"])


def test_up_split_and_down(tmp_path: Path) -> None:
    artifact_of_the_checkout()
    port, folder, config = free_port(), tmp_path / "run", tmp_path / "config.yaml"
    config.write_text((ROOT / "serve_config.yaml").read_text().replace("port: 8000", f"port: {port}"))
    here = ("--config", config, "--folder", folder)
    ports = ("--dashboard-port", free_port(), "--metrics-port", free_port())
    try:
        up = run("up", *here, *ports)
        assert up.returncode == 0, up.stdout + up.stderr
        url = f"http://127.0.0.1:{port}"
        assert f"curl -s {url}/detect" in up.stdout
        assert backend_of(url) == "torch"

        assert run("split", 1, *here).returncode == 0
        assert backend_of(url) == "onnx"
        assert "onnx_fraction: 1.0\n" in config.read_text()

        again = run("up", *here, *ports)
        assert (again.returncode, "already running" in again.stdout) == (0, True)
    finally:
        running = node.remembered(folder)
        down = run("down", "--folder", folder)
    assert down.returncode == 0, down.stdout + down.stderr
    assert running is not None
    assert running.processes() == []
    require_free(port, "http", "")
