"""One Ray for the whole session, on free ports; every test deploys what it needs onto it and talks real HTTP."""

import copy
import io
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from serve_app.check import load_config
from serve_app.local import deploy
from serve_app.local.node import Node, Ports, free_port, running
from serve_app.settings import DEFAULT_ARTIFACT, DEFAULT_CHECKPOINT

ROOT = Path(__file__).parents[2]
PHOTOS = sorted((ROOT / "demo/photos").glob("*.jpg"))
READY_TIMEOUT_S = 180

Overrides = Mapping[str, Mapping[str, Any]]


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A Ray node of our own; ended with the session, also when it fails."""
    artifact_of_the_checkout()
    ports = Ports(http=free_port(), dashboard=free_port(), metrics=free_port())
    with running(tmp_path_factory.mktemp("node"), ports) as started:
        yield started


def artifact_of_the_checkout() -> None:
    """Export the default checkpoint if that has not happened yet, as `make serve` does."""
    subprocess.run([sys.executable, "-m", "export", "--if-stale"], cwd=ROOT, check=True, timeout=300)


class Service:
    """The shipped configuration on the test node, with changes; every call waits until they are in force."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.url = node.http_url
        self._shipped = load_config(ROOT / "serve_config.yaml")

    def config(self, overrides: Overrides) -> dict[str, Any]:
        """The shipped configuration with some `user_config` values, and options (key `options`), changed."""
        config = copy.deepcopy(self._shipped)
        config["http_options"]["port"] = self.node.ports.http
        for deployment in config["applications"][0]["deployments"]:
            changes = dict(overrides.get(deployment["name"], {}))
            deployment.update(changes.pop("options", {}))
            if "checkpoint" in deployment["user_config"]:
                deployment["user_config"]["checkpoint"] = str(ROOT / DEFAULT_CHECKPOINT)
            if "artifact" in deployment["user_config"]:
                deployment["user_config"]["artifact"] = str(ROOT / DEFAULT_ARTIFACT)
            deployment["user_config"].update(changes)
        return config

    def deploy(self, ready: bool = True, **overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Deploy with `overrides` by deployment name; returns `/readyz` once it is in force."""
        config = self.config(overrides)
        policy, torch, onnx = (deployment["user_config"] for deployment in config["applications"][0]["deployments"])
        deploy.deploy(self.node, config)

        def done(state: dict[str, Any]) -> bool:
            backends = state["backends"]
            return (
                all(state["policy"][key] == value for key, value in policy.items() if key != "breaker")
                and all(
                    backends[name].get("reload") == arm["reload"] for name, arm in (("torch", torch), ("onnx", onnx))
                )
                and (not ready or all(backend["state"] == "ready" for backend in backends.values()))
                and self.application()["status"] == "RUNNING"
            )

        return deploy.wait_until(self.node, done, READY_TIMEOUT_S)

    def readyz(self) -> dict[str, Any]:
        """The state the router reports."""
        state = deploy.readiness(self.node)
        assert state is not None, "nobody answers /readyz"
        return state

    def application(self) -> dict[str, Any]:
        """What Serve itself says of the application."""
        application: dict[str, Any] = deploy.dashboard_request(self.node, "GET")["applications"]["detect"]
        return application

    def pids(self) -> dict[str, list[int]]:
        """Process ids of the running replicas, by deployment, from Serve itself."""
        return {
            name: sorted(replica["pid"] for replica in deployment["replicas"] if replica["state"] == "RUNNING")
            for name, deployment in self.application()["deployments"].items()
        }


@pytest.fixture(scope="session")
def _service(node: Node) -> Service:
    service = Service(node)
    service.deploy()
    return service


@pytest.fixture
def service(_service: Service) -> Service:
    """The running service, put back to the shipped configuration."""
    _service.deploy()
    return _service


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    """An HTTP client of the service."""
    with httpx.Client(base_url=service.url, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def photo() -> bytes:
    """One encoded sample image."""
    return PHOTOS[0].read_bytes()


@pytest.fixture(scope="session")
def small_photo(photo: bytes) -> bytes:
    """The sample image scaled down, for tests that send thousands."""
    with Image.open(io.BytesIO(photo)) as image, io.BytesIO() as buffer:
        image.resize((160, 120)).save(buffer, "JPEG")
        return buffer.getvalue()


@pytest.fixture
def detect(client: httpx.Client, photo: bytes) -> Callable[..., httpx.Response]:
    """POST the sample image; keyword arguments become headers."""

    def post(data: bytes = photo, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.post("/detect", content=data, headers={"Content-Type": "image/jpeg"} | named)

    return post
