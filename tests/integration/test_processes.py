"""What the replicas' processes hold: no PyTorch beside ONNX, and memory within its bounds."""

from collections.abc import Callable

import httpx
import psutil
import pytest

from tests.integration.conftest import Service

pytestmark = pytest.mark.integration
MEGABYTE = 1_000_000


def test_the_onnx_replica_loads_no_torch(service: Service) -> None:
    (pid,) = service.pids()["OnnxDeployment"]
    libraries = {mapped.path for mapped in psutil.Process(pid).memory_maps()}
    assert any("onnxruntime" in path for path in libraries)
    assert not [path for path in libraries if "/torch/" in path or "/transformers/" in path]


def test_replicas_stay_small(service: Service, detect: Callable[..., httpx.Response]) -> None:
    service.deploy(Router={"onnx_fraction": 0.5})
    for _ in range(40):
        assert detect().status_code == 200
    pids = service.pids()
    resident = {name: psutil.Process(pid).memory_info().rss / MEGABYTE for name, (pid,) in pids.items()}
    assert resident["OnnxDeployment"] < 400
    assert resident["Router"] < 350
