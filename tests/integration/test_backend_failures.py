"""A backend that cannot load blocks neither the application nor a model of its own that works.

It says why and what repairs it; a reload brings it back.
"""

import os
import shutil
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration import artifacts
from tests.integration.conftest import ROOT, Service
from tests.integration.faults import eventually

pytestmark = pytest.mark.integration
Detect = Callable[..., httpx.Response]


class Repairs:
    """Assigns everything to one backend and deploys it with a new `reload`, as an operator does after a repair."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._reloads = 0

    def deploy(self, deployment: str, **values: Any) -> dict[str, Any]:
        self._reloads += 1
        changed = {deployment: values | {"reload": self._reloads}}
        fraction = 1.0 if deployment == "OnnxDeployment" else 0.0
        return self._service.deploy(ready=False, Router={"onnx_fraction": fraction, "fallback": "always"}, **changed)


@pytest.fixture
def repairs(service: Service) -> Repairs:
    return Repairs(service)


BROKEN = [
    (artifacts.missing, "is missing"),
    (artifacts.truncated, "its hash is not the manifest's"),
    (artifacts.flipped_bit, "its hash is not the manifest's"),
    (artifacts.foreign, "was exported from another checkpoint"),
    (artifacts.no_manifest, "is damaged or from another version"),
    (artifacts.unknown_opset, "cannot load"),
]


def test_a_bad_artifact_puts_no_model_out(service: Service, repairs: Repairs, detect: Detect, tmp_path: Path) -> None:
    service.deploy()
    pids = service.pids()
    folder = tmp_path / "artifact"
    for damage, reason in BROKEN:
        artifacts.make_good(folder)
        damage(folder)
        state = repairs.deploy("OnnxDeployment", artifact=str(folder))
        told = state["backends"]["onnx"]
        assert told["state"] == "ready"
        assert_names_the_remedy(told["configuration_error"], reason, folder)
        assert_answered(detect, "onnx", "onnx")
    state = repairs.deploy("OnnxDeployment", thread=2)
    assert "OnnxDeployment.user_config.thread: unknown key" in state["backends"]["onnx"]["configuration_error"]
    artifacts.make_good(folder)
    state = repairs.deploy("OnnxDeployment", artifact=str(folder))
    assert "configuration_error" not in state["backends"]["onnx"]
    assert_answered(detect, "onnx", "onnx")
    assert service.pids() == pids


def test_a_replica_that_starts_with_a_bad_artifact_never_blocks_the_application(
    service: Service, repairs: Repairs, detect: Detect, tmp_path: Path
) -> None:
    folder = tmp_path / "artifact"
    artifacts.make_good(folder)
    repairs.deploy("OnnxDeployment", artifact=str(folder))
    artifacts.missing(folder)
    kill(service, "OnnxDeployment")
    eventually(lambda: "pid" in service.readyz()["backends"]["onnx"] and _state(service, "onnx") == "unavailable")
    pids = service.pids()
    for damage, reason in BROKEN:
        artifacts.make_good(folder)
        damage(folder)
        state = repairs.deploy("OnnxDeployment", artifact=str(folder))
        assert state["backends"]["onnx"]["state"] == "unavailable"
        assert_names_the_remedy(state["backends"]["onnx"]["reason"], reason, folder)
        assert state["ready"]
        assert_answered(detect, "onnx", "torch")
        assert service.application()["status"] == "RUNNING"
    artifacts.make_good(folder)
    repairs.deploy("OnnxDeployment", artifact=str(folder))
    assert_answered(detect, "onnx", "onnx")
    assert service.pids() == pids


def assert_names_the_remedy(told: str, reason: str, folder: Path) -> None:
    assert reason in told
    assert f"run: python -m export --checkpoint {ROOT}/demo/checkpoint --out {folder}" in told
    assert told.endswith("then change OnnxDeployment.user_config.reload")


def kill(service: Service, name: str) -> None:
    """Kill the only replica of a deployment, and wait until Serve has replaced it."""
    (pid,) = service.pids()[name]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: service.pids()[name] not in ([], [pid]))


def _state(service: Service, name: str) -> str:
    return str(service.readyz()["backends"][name]["state"])


def test_the_torch_backend_never_blocks_it_either(
    service: Service, repairs: Repairs, detect: Detect, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(ROOT / "demo/checkpoint", checkpoint)
    repairs.deploy("TorchDeployment", checkpoint=str(checkpoint))
    pids = service.pids()
    weights = checkpoint / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])  # in place, under the model that was loaded from it
    state = repairs.deploy("TorchDeployment", checkpoint=str(checkpoint))
    assert state["backends"]["torch"]["configuration_error"].endswith("then change TorchDeployment.user_config.reload")
    assert_answered(detect, "torch", "torch")
    assert service.pids() == pids
    kill(service, "TorchDeployment")
    eventually(lambda: "pid" in service.readyz()["backends"]["torch"] and _state(service, "torch") == "unavailable")
    state = service.readyz()
    assert state["backends"]["torch"]["reason"].endswith("then change TorchDeployment.user_config.reload")
    assert_answered(detect, "torch", "onnx")
    pids = service.pids()
    weights.write_bytes(whole)
    repairs.deploy("TorchDeployment", checkpoint=str(checkpoint))
    assert_answered(detect, "torch", "torch")
    assert service.pids() == pids


def test_serve_replaces_a_replica_whose_inference_never_ends(service: Service, detect: Detect) -> None:
    # Serve replaces a replica after failures in a row, and the router asks a backend that is not ready once a second.
    often = {"health_check_period_s": 0.2}
    service.deploy(Router={"onnx_fraction": 1.0}, OnnxDeployment={"inference_limit_s": 1e-4, "options": often})
    before = service.pids()
    over = threading.Event()

    def keep_it_busy() -> set[int]:
        return {detect().status_code for _ in iter(over.is_set, True)}

    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(keep_it_busy) for _ in range(4)]
        try:
            eventually(lambda: service.pids()["OnnxDeployment"] not in ([], before["OnnxDeployment"]))
        finally:
            over.set()
    assert set().union(*(answer.result() for answer in answers)) == {200}
    assert service.pids()["TorchDeployment"] == before["TorchDeployment"]


def test_with_both_backends_broken_the_answer_is_503(service: Service, repairs: Repairs, detect: Detect) -> None:
    new_replicas = {"ray_actor_options": {"num_cpus": 0.7}}
    nowhere = {"checkpoint": "./nowhere", "reload": 99, "options": new_replicas}
    service.deploy(ready=False, TorchDeployment=nowhere, OnnxDeployment=nowhere)
    response = detect()
    problem = response.json()
    assert (response.status_code, problem["code"]) == (503, "backend_unavailable")
    assert int(response.headers["Retry-After"]) > 0
    assert "nowhere" not in problem["detail"]
    ready = httpx.get(f"{service.url}/readyz", trust_env=False)
    assert (ready.status_code, ready.json()["ready"]) == (503, False)


def test_an_onnxruntime_that_does_not_import_is_a_status(
    service: Service, repairs: Repairs, detect: Detect, tmp_path: Path
) -> None:
    poison = tmp_path / "onnxruntime"
    poison.mkdir()
    (poison / "__init__.py").write_text("raise ImportError('libonnxruntime.so: cannot open shared object file')\n")
    options = {"ray_actor_options": {"num_cpus": 0.8, "runtime_env": {"env_vars": {"PYTHONPATH": str(tmp_path)}}}}
    state = repairs.deploy("OnnxDeployment", options=options)
    told = state["backends"]["onnx"]["reason"]
    assert "cannot open shared object file" in told
    assert "run: pip install --force-reinstall -c constraints.txt onnxruntime" in told
    assert_answered(detect, "onnx", "torch")
    assert service.application()["status"] == "RUNNING"
    pids = service.pids()
    shutil.rmtree(poison)
    repairs.deploy("OnnxDeployment", options=options)
    assert_answered(detect, "onnx", "onnx")
    assert service.pids() == pids


def assert_answered(detect: Detect, assigned: str, backend: str) -> None:
    response = detect()
    assert response.status_code == 200, response.text
    answer = response.json()
    assert (answer["assigned"], answer["backend"]) == (assigned, backend)
