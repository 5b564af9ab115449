"""`make monitor` on a running service: it prints where Prometheus is, and ends it on Ctrl-C."""

import signal
import subprocess
import sys

import httpx
import pytest

from serve_app.local.ports import free_port
from tests.config.prometheus_tools import find_tool
from tests.integration.conftest import ROOT, Service

pytestmark = pytest.mark.integration


def test_prometheus_is_there_until_ctrl_c(service: Service) -> None:
    find_tool("prometheus")
    port = free_port()
    options = ["--port", str(port), "--folder", str(service.node.folder)]
    command = [sys.executable, "-m", "serve_app.local.monitor", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert f"http://127.0.0.1:{port}" in process.stdout.readline()
            rules = httpx.get(f"http://127.0.0.1:{port}/api/v1/rules", timeout=30, trust_env=False).json()
            assert {group["name"] for group in rules["data"]["groups"]} >= {"detect_latency", "detect_alerts"}
        finally:
            process.send_signal(signal.SIGINT)
            try:
                assert process.wait(60) == 0
            finally:
                process.kill()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}", trust_env=False)
