"""What the replicas write: a line per request only when asked for, and what each backend runs."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.local import monitor
from tests.integration.conftest import Service
from tests.integration.faults import eventually

pytestmark = pytest.mark.integration


def log_lines(service: Service, deployment: str) -> list[dict[str, Any]]:
    """What the replicas of a deployment have written, oldest first; without a line that is just being written."""
    folder = monitor.discovery_file(service.node).parent / "logs/serve"
    texts = [path.read_text() for path in sorted(folder.glob(f"replica_detect_{deployment}_*.log"), key=_written)]
    return [json.loads(line) for text in texts for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _written(path: Path) -> float:
    return path.stat().st_mtime


def test_requests_are_logged_as_json_only_on_request(service: Service, detect: Callable[..., httpx.Response]) -> None:
    def logged(request_id: str) -> list[dict[str, Any]]:
        found = log_lines(service, "Router")
        return [line for line in found if line["message"] == "detect" and line["request_id"] == request_id]

    before, after = (f"{uuid.uuid4()}" for _ in range(2))
    assert detect(X_Request_ID=before).status_code == 200
    service.deploy(Router={"log_requests": True, "onnx_fraction": 1.0})
    assert detect(X_Request_ID=after).status_code == 200
    eventually(lambda: bool(logged(after)))
    [line] = logged(after)
    assert (line["assigned"], line["backend"], line["outcome"]) == ("onnx", "onnx", "ok")
    assert line["stages"].keys() == {"queue", "decode", "preprocess", "inference", "postprocess"}
    assert 0 < sum(line["stages"].values()) <= line["milliseconds"] * 1.001
    assert logged(before) == []


@pytest.mark.parametrize(("deployment", "name"), [("TorchDeployment", "Torch"), ("OnnxDeployment", "ONNX")])
def test_each_backend_says_at_its_start_what_it_runs(service: Service, deployment: str, name: str) -> None:
    ready = [line for line in log_lines(service, deployment) if line["message"].startswith(f"{name} ready: ")]
    said = json.loads(ready[-1]["message"].partition(": ")[2])
    assert {"engine", "device", "precision", "threads", "fingerprint", "versions"} <= said.keys()
