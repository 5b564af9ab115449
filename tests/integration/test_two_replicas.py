"""Two replicas of each backend on a real Ray: the failure of one loses no request and leaves the other one alone.

One deploy for the whole file; each test leaves all four replicas well.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.local.node import Node
from tests.integration import artifacts
from tests.integration.conftest import JPEG, ROOT, Service
from tests.integration.faults import eventually, frozen

pytestmark = pytest.mark.integration
ONNX, TORCH = "OnnxDeployment", "TorchDeployment"
# Serve must neither replace the frozen replica nor take long to notice the killed one.
TWO = {"num_replicas": 2, "health_check_timeout_s": 60, "ray_actor_options": {"num_cpus": 0.2}}


class Pair:
    """The service with two replicas of each backend; its ONNX artifact lies in `artifact`, where it can be damaged."""

    def __init__(self, service: Service, artifact: Path) -> None:
        self.service, self.artifact = service, artifact
        self.url = service.url
        self._reloads = 0

    def deploy(self, fraction: float = 1.0, ready: bool = True, **changes: dict[str, Any]) -> dict[str, Any]:
        """Deploy with a new `reload`, so that both backends load again; returns `/readyz`."""
        self._reloads += 1
        return self._deploy(fraction, ready, changes)

    def split(self, fraction: float, **policy: Any) -> None:
        """Change the policy and nothing else."""
        self._deploy(fraction, True, {"Router": policy})

    def _deploy(self, fraction: float, ready: bool, changes: dict[str, dict[str, Any]]) -> dict[str, Any]:
        own = {TORCH: {"checkpoint": str(ROOT / "demo/checkpoint")}, ONNX: {"artifact": str(self.artifact)}}
        backends = {
            name: {**own[name], **changes.get(name, {}), "options": TWO, "reload": self._reloads} for name in own
        }
        return self.service.deploy(ready, Router={"onnx_fraction": fraction, **changes.get("Router", {})}, **backends)

    def onnx(self) -> dict[str, Any]:
        """What `/readyz` says of the ONNX backend."""
        told: dict[str, Any] = self.service.readyz()["backends"]["onnx"]
        return told

    def is_well(self) -> bool:
        """Whether the router knows all four replicas as ready, with nothing wrong."""
        return all(
            (backend["state"], backend["replicas"], backend.get("replicas_ready")) == ("ready", 2, 2)
            and not (backend["breaker_open"] or "replica_errors" in backend or "configuration_error" in backend)
            for backend in self.service.readyz()["backends"].values()
        )

    def answers(self, count: int, photo: bytes) -> list[str]:
        """The backends that answered `count` requests, one after the other."""
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as client:
            responses = [client.post("/detect", content=photo, headers=JPEG) for _ in range(count)]
        assert {response.status_code for response in responses} == {200}
        return [response.json()["backend"] for response in responses]


@pytest.fixture(scope="module")
def _pair(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    artifact = tmp_path_factory.mktemp("two") / "artifact"
    artifacts.make_good(artifact)
    pair = Pair(Service(node), artifact)
    pair.deploy()
    return pair


@pytest.fixture
def pair(_pair: Pair) -> Pair:
    eventually(_pair.is_well)
    return _pair


@contextlib.contextmanager
def under_load(pair: Pair, photo: bytes) -> Iterator[Callable[[], int]]:
    """Four clients that send all the time; each answer must be 200. Gives the number of answers so far."""
    over, answered = threading.Event(), []

    def client() -> None:
        with httpx.Client(base_url=pair.url, timeout=60, trust_env=False) as session:
            while not over.is_set():
                answered.append(session.post("/detect", content=photo, headers=JPEG).status_code)

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(client) for _ in range(4)]
        try:
            eventually(lambda: len(answered) > 20)
            yield lambda: len(answered)
            enough = len(answered) + 20
            eventually(lambda: len(answered) > enough)
        finally:
            over.set()
    for running in clients:
        running.result()
    assert set(answered) == {200}


def test_a_replica_that_cannot_load_takes_no_request_of_its_sibling(pair: Pair, small_photo: bytes) -> None:
    """It answers at once and always has the shortest queue: left to Serve, it would get most of the requests."""
    first, second = pair.service.pids()[ONNX]
    artifacts.missing(pair.artifact)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: "replica_errors" in pair.onnx())
    state = pair.onnx()
    assert (state["state"], state["pid"]) == ("ready", second)
    assert (state["replicas"], state["replicas_ready"]) == (2, 1)
    (error,) = state["replica_errors"].values()
    assert "is missing" in error
    assert "run: python -m export" in error
    assert set(pair.answers(40, small_photo)) == {"onnx"}
    assert pair.service.application()["status"] == "RUNNING"
    artifacts.make_good(pair.artifact)
    pair.deploy()
    eventually(pair.is_well)


def test_a_replica_killed_under_load_loses_nothing(pair: Pair, small_photo: bytes) -> None:
    pair.split(0.5)
    for name in (ONNX, TORCH):
        with under_load(pair, small_photo):
            killed, left = pair.service.pids()[name]
            os.kill(killed, signal.SIGKILL)
            eventually(lambda name=name, killed=killed: _is_replaced(pair, name, killed))  # type: ignore[misc]
        assert left in pair.service.pids()[name]


def _is_replaced(pair: Pair, name: str, killed: int) -> bool:
    pids = pair.service.pids()[name]
    return len(pids) == 2 and killed not in pids


def test_a_frozen_replica_loses_nothing(pair: Pair, small_photo: bytes) -> None:
    pair.split(1.0, arm_timeout_s=1.0)
    for name in (ONNX, TORCH):
        with frozen(pair.service.pids()[name][0]), under_load(pair, small_photo):
            pass
        eventually(pair.is_well)


def test_split_changes_under_load_lose_nothing(pair: Pair, small_photo: bytes) -> None:
    pids = pair.service.pids()
    with under_load(pair, small_photo):
        for fraction in (0.0, 1.0, 0.3):
            pair.split(fraction)
    assert pair.service.pids() == pids


def test_a_bad_reload_changes_nothing_in_either_replica(pair: Pair, small_photo: bytes) -> None:
    pids, before = pair.service.pids(), pair.onnx()
    with under_load(pair, small_photo):
        pair.deploy(ready=False, OnnxDeployment={"thread": 3}, TorchDeployment={"checkpoint": "./nowhere"})
        eventually(lambda: len(pair.onnx().get("replica_errors", {})) == 2)
    state = pair.service.readyz()["backends"]
    assert state["onnx"]["configuration_error"].startswith("OnnxDeployment.user_config.thread: unknown key")
    assert state["torch"]["configuration_error"].startswith("checkpoint ./nowhere: no such folder")
    for key in ("state", "fingerprint", "engine", "threads", "replicas"):
        assert state["onnx"][key] == before[key]
    assert set(pair.answers(10, small_photo)) == {"onnx"}
    pair.deploy()
    eventually(pair.is_well)
    assert pair.service.pids() == pids
