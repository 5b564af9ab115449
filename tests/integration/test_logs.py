"""What the replicas write: a line per request only when asked for, and what each arm runs."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from serve_app.local import monitor
from tests.integration.conftest import Service
from tests.integration.traffic import send

pytestmark = pytest.mark.integration


def log_lines(service: Service, deployment: str) -> list[dict[str, Any]]:
    """What the replicas of a deployment have written, oldest first."""
    folder = monitor.discovery_file(service.node).parent / "logs/serve"
    texts = [path.read_text() for path in sorted(folder.glob(f"replica_detect_{deployment}_*.log"), key=_written)]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def _written(path: Path) -> float:
    return path.stat().st_mtime


def test_requests_are_logged_as_json_only_on_request(service: Service, small_photo: bytes) -> None:
    def logged() -> list[dict[str, Any]]:
        return [line for line in log_lines(service, "Router") if line["message"] == "detect"]

    before = len(logged())
    send(service.url, small_photo, 3)
    service.deploy(Router={"log_requests": True, "onnx_fraction": 1.0})
    send(service.url, small_photo, 1, headers={"X-Request-ID": "one-of-ours"})
    deadline = time.monotonic() + 30
    while len(lines := logged()) == before and time.monotonic() < deadline:
        time.sleep(0.2)
    [line] = lines[before:]
    assert line["request_id"] == "one-of-ours"
    assert (line["assigned"], line["backend"], line["outcome"]) == ("onnx", "onnx", "ok")
    assert line["stages"].keys() == {"queue", "decode", "preprocess", "inference", "postprocess"}
    assert 0 < sum(line["stages"].values()) <= line["milliseconds"] * 1.001


@pytest.mark.parametrize(("deployment", "name"), [("TorchDeployment", "Torch"), ("OnnxDeployment", "ONNX")])
def test_each_arm_says_at_its_start_what_it_runs(service: Service, deployment: str, name: str) -> None:
    ready = [line for line in log_lines(service, deployment) if line["message"].startswith(f"{name} ready: ")]
    said = json.loads(ready[-1]["message"].partition(": ")[2])
    assert {"engine", "device", "precision", "threads", "fingerprint", "versions"} <= said.keys()
