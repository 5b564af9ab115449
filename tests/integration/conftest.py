"""One Ray for the whole session, on free ports; every test deploys what it needs onto it and talks real HTTP."""

import io
from collections.abc import Callable, Iterator

import httpx
import pytest
from PIL import Image

from bench.service import ROOT, Service, artifact_of_the_checkout
from serve_app.local.modes import Mode
from serve_app.local.node import Node, running
from serve_app.local.ports import Ports, free_port
from tests.integration.faults import eventually

__all__ = ["PHOTOS", "ROOT", "Service", "artifact_of_the_checkout"]

PHOTOS = sorted((ROOT / "demo/photos").glob("*.jpg"))
JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Node]:
    """A Ray node of our own; ended with the session, also when it fails."""
    artifact_of_the_checkout()
    ports = Ports(http=free_port(), dashboard=free_port(), metrics=free_port())
    mode = Mode(pytestconfig.getoption("mode"))
    with running(tmp_path_factory.mktemp("node"), ports, mode) as started:
        yield started


@pytest.fixture(scope="session")
def _service(node: Node) -> Service:
    service = Service(node)
    service.deploy()
    return service


@pytest.fixture
def service(_service: Service) -> Service:
    """The running service, put back to the shipped configuration, with both breakers closed."""
    _service.deploy()
    left_alone = [name for name, arm in _service.readyz()["backends"].items() if arm["breaker_open"]]
    for name in left_alone:
        _close_breaker(_service, name)
    if left_alone:
        _service.deploy()
    return _service


def _close_breaker(service: Service, name: str) -> None:
    """Send requests until one was the probe: the test before left this arm alone for some seconds."""
    service.deploy(Router={"onnx_fraction": float(name == "onnx")})

    def is_closed() -> bool:
        httpx.post(f"{service.url}/detect", content=PHOTOS[1].read_bytes(), headers=JPEG, timeout=60, trust_env=False)
        return not service.readyz()["backends"][name]["breaker_open"]

    eventually(is_closed)


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    """An HTTP client of the service."""
    with httpx.Client(base_url=service.url, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def photo() -> bytes:
    """One encoded sample image."""
    return PHOTOS[1].read_bytes()


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
        return client.post("/detect", content=data, headers=JPEG | named)

    return post
