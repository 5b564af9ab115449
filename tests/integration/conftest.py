"""One Ray for the whole session, on free ports; every test deploys what it needs onto it and talks real HTTP."""

import io
from collections.abc import Callable, Iterator

import httpx
import pytest
from PIL import Image

from bench.service import ROOT, Service, artifact_of_the_checkout
from serve_app.local import deploy
from serve_app.local.modes import Mode
from serve_app.local.node import Node, running
from serve_app.local.ports import Ports, free_port
from tests.integration.faults import eventually

__all__ = ["PHOTOS", "ROOT", "Service", "artifact_of_the_checkout"]

PHOTOS = sorted((ROOT / "demo/photos").glob("*.jpg"))
JPEG = {"Content-Type": "image/jpeg"}
_DEPLOYMENTS = {"torch": "TorchDeployment", "onnx": "OnnxDeployment"}


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Node]:
    """A Ray node of our own; ended with the session, also when it fails."""
    artifact_of_the_checkout()
    ports = Ports(http=free_port(), dashboard=free_port(), metrics=free_port())
    mode = Mode(pytestconfig.getoption("mode"))
    # Prometheus scrapes these two as well, and with Ray's fixed numbers they belong to whichever Ray came first.
    own = {name: str(free_port()) for name in ("AUTOSCALER_METRIC_PORT", "DASHBOARD_METRIC_PORT")}
    with running(tmp_path_factory.mktemp("node"), ports, mode, own) as started:
        yield started


@pytest.fixture(scope="session")
def _service(node: Node) -> Service:
    service = Service(node)
    service.deploy()
    return service


@pytest.fixture
def service(_service: Service) -> Service:
    """The running service as `restore` leaves it."""
    restore(_service)
    return _service


def restore(service: Service) -> None:
    """Put the service back to the shipped configuration, with both backends in use, whatever the last test left."""
    if not _is_as_shipped(service):
        service.deploy()
    eventually(lambda: _both_ready(service))
    _close_breakers(service)


def _is_as_shipped(service: Service) -> bool:
    application, shipped = service.application(), service.config({})["applications"][0]
    return bool(application["status"] == "RUNNING" and shipped.items() <= application["deployed_app_config"].items())


def _both_ready(service: Service) -> bool:
    """Whether the router has heard from both backends, and from the replicas that Serve knows."""
    state, pids = deploy.readiness(service.node), service.pids()
    return state is not None and all(
        backend["state"] == "ready" and [backend["pid"]] == pids[_DEPLOYMENTS[name]]
        for name, backend in state["backends"].items()
    )


def _close_breakers(service: Service) -> None:
    """The test before may have left a backend alone for some seconds: send requests until one was the probe."""

    def is_closed(name: str) -> bool:
        httpx.post(f"{service.url}/detect", content=PHOTOS[1].read_bytes(), headers=JPEG, timeout=60, trust_env=False)
        return not service.readyz()["backends"][name]["breaker_open"]

    if left_alone := [name for name, backend in service.readyz()["backends"].items() if backend["breaker_open"]]:
        for name in left_alone:
            service.deploy(Router={"onnx_fraction": float(name == "onnx")})
            eventually(lambda name=name: is_closed(name))  # type: ignore[misc]
        service.deploy()


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    """An HTTP client of the service."""
    with httpx.Client(base_url=service.url, timeout=60, trust_env=False, verify=False) as client:
        yield client


@pytest.fixture(scope="session")
def photo() -> bytes:
    """One encoded sample image."""
    return PHOTOS[1].read_bytes()


@pytest.fixture(scope="session")
def small_photo(photo: bytes) -> bytes:
    """The sample image scaled down, for tests that send hundreds."""
    with Image.open(io.BytesIO(photo)) as image, io.BytesIO() as buffer:
        image.resize((160, 120)).save(buffer, "JPEG")
        return buffer.getvalue()


@pytest.fixture
def detect(client: httpx.Client, photo: bytes) -> Callable[..., httpx.Response]:
    """POST the sample image; keyword arguments become headers."""

    def post(data: bytes = photo, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.post("/detect", content=data, headers=JPEG | named)

    return post
