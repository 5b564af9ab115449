"""When the assigned backend fails, the other one answers: real processes that are killed, frozen or fed nonsense."""

import concurrent.futures
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image

from tests.integration import artifacts
from tests.integration.conftest import JPEG, Service
from tests.integration.faults import PATIENT, Grows, catch_up, counted, counts, eventually, frozen

pytestmark = pytest.mark.integration
Detect = Callable[..., httpx.Response]


def assert_rescued(response: httpx.Response, assigned: str = "onnx", backend: str = "torch") -> None:
    assert response.status_code == 200, response.text
    answer = response.json()
    assert (answer["assigned"], answer["backend"]) == (assigned, backend)
    assert response.headers["X-Backend"] == backend


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (artifacts.not_a_number, "bad_output"),
        (artifacts.wrong_shape, "bad_output"),
        (artifacts.failing, "engine"),
    ],
)
def test_an_engine_that_gives_nonsense_is_overruled(
    service: Service, detect: Detect, tmp_path: Path, damage: artifacts.Damage, reason: str
) -> None:
    artifacts.make_good(tmp_path)
    damage(tmp_path)
    broken = {"artifact": str(tmp_path), "reload": 1}
    patient = {"onnx_fraction": 1.0, "arm_timeout_s": 50, "deadline_s": 120}
    calm = {"consecutive_failures": 100, "window": 1000}
    service.deploy(Router={**patient, "breaker": calm}, OnnxDeployment=broken)
    with counts(
        service,
        Grows(1, "detect_fallbacks_total", assigned="onnx", reason=reason),
        Grows(1, "detect_requests_total", assigned="onnx", backend="torch", outcome="rescued"),
    ):
        assert_rescued(detect())
    service.deploy(Router={**patient, "breaker": calm, "fallback": False}, OnnxDeployment=broken)
    alone = detect()
    assert (alone.status_code, alone.json()["code"]) == (503, "engine_failed")


@pytest.mark.parametrize("name", ["OnnxDeployment", "TorchDeployment"])
def test_a_replica_killed_with_requests_in_it(service: Service, detect: Detect, name: str) -> None:
    assigned, rescuer = ("onnx", "torch") if name == "OnnxDeployment" else ("torch", "onnx")
    changes: dict[str, dict[str, Any]] = {name: {"options": PATIENT}}
    # An ONNX without a share answers for Torch only if it is told to.
    policy = {"onnx_fraction": float(assigned == "onnx"), "fallback": "always"}
    service.deploy(ready=True, Router=policy, **changes)
    (pid,) = service.pids()[name]
    with concurrent.futures.ThreadPoolExecutor(4) as pool, frozen(pid):
        answers = [pool.submit(detect) for _ in range(4)]
        # The gauge lags behind: if the backend was silent for seconds meanwhile, its calls went to the other one.
        eventually(lambda: in_flight(service, assigned) == 4 or all(answer.done() for answer in answers))
        os.kill(pid, signal.SIGKILL)
        for answer in answers:
            assert_rescued(answer.result(), assigned, rescuer)
    later = detect()
    assert (later.status_code, later.json()["assigned"]) == (200, assigned)
    if service.pids()[name] in ([], [pid]):  # else the next replica may have answered
        assert_rescued(later, assigned, rescuer)
    eventually(lambda: detect().json()["backend"] == assigned)
    assert service.pids()[name] != [pid]


def test_a_hanging_replica_is_left_after_its_time_and_its_breaker_opens(service: Service, detect: Detect) -> None:
    breaker = {"consecutive_failures": 2, "probe_interval_s": 10}  # none of the three requests is a probe
    policy = {"onnx_fraction": 1.0, "arm_timeout_s": 0.5, "breaker": breaker}
    service.deploy(Router=policy, OnnxDeployment={"options": PATIENT})
    (pid,) = service.pids()["OnnxDeployment"]
    with (
        counts(
            service,
            Grows(2, "detect_fallbacks_total", assigned="onnx", reason="timeout"),
            Grows(3, "detect_fallbacks_total", assigned="onnx"),  # the third did not even wait
        ),
        frozen(pid),
    ):
        # At once: some seconds later the backend counts as down, and no request waits for it.
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for answer in [pool.submit(detect) for _ in range(2)]:
                assert_rescued(answer.result())
        assert service.readyz()["backends"]["onnx"]["breaker_open"]
        assert_rescued(detect())
        eventually(lambda: service.readyz()["backends"]["onnx"]["state"] == "unavailable")
    eventually(lambda: detect().json()["backend"] == "onnx")
    assert not service.readyz()["backends"]["onnx"]["breaker_open"]


def test_a_full_queue_is_handed_on(service: Service, detect: Detect, small_photo: bytes) -> None:
    narrow = {"options": {**PATIENT, "max_ongoing_requests": 1, "max_queued_requests": 1}}
    service.deploy(Router={"onnx_fraction": 1.0, "arm_timeout_s": 50, "deadline_s": 120}, OnnxDeployment=narrow)
    (pid,) = service.pids()["OnnxDeployment"]
    full = {"assigned": "onnx", "reason": "queue_full"}
    catch_up(service)
    before = counted(service, "detect_fallbacks_total", **full)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        with frozen(pid):
            waiting = [pool.submit(detect, small_photo) for _ in range(8)]
            eventually(lambda: sum(answer.done() for answer in waiting) >= 5)
            for answer in waiting:
                if answer.done():
                    assert_rescued(answer.result())
        for answer in waiting:
            assert answer.result().status_code == 200
    catch_up(service)
    assert counted(service, "detect_fallbacks_total", **full) - before >= 5


def in_flight(service: Service, backend: str) -> int:
    """Calls under way as the gauge has it."""
    return counted(service, "detect_inflight", backend=backend)


def test_a_client_that_goes_away_cancels_its_work(service: Service, client: httpx.Client, photo: bytes) -> None:
    # Without a fallback every call stays at the frozen backend until its client leaves.
    calm = {"consecutive_failures": 100, "window": 1000}
    patient = {"onnx_fraction": 0.0, "fallback": False, "arm_timeout_s": 50, "deadline_s": 120, "breaker": calm}
    service.deploy(Router=patient, TorchDeployment={"options": PATIENT})
    torch, photo = psutil.Process(service.pids()["TorchDeployment"][0]), enlarged(photo)
    before = cpu_seconds(torch)
    for _ in range(8):
        assert client.post("/detect", content=photo, headers=JPEG).is_success
    worth_of_eight = cpu_seconds(torch) - before
    gone = {"series": "detect_requests_total", "outcome": "cancelled"}
    catch_up(service)
    cancelled = counted(service, **gone)
    with frozen(torch.pid):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: impatient(service.url, photo), range(8)))
        eventually(lambda: counted(service, **gone) == cancelled + 8)
        before = cpu_seconds(torch)
    eventually(lambda: service.readyz()["backends"]["torch"]["state"] == "ready")
    eventually(lambda: in_flight(service, "torch") == 0)
    assert cpu_seconds(torch) - before < worth_of_eight / 2


def enlarged(photo: bytes) -> bytes:
    """The image with 12 million pixels, so that the work on it stands out from what an idle process does."""
    with Image.open(io.BytesIO(photo)) as image, io.BytesIO() as buffer:
        image.resize((4000, 3000)).save(buffer, "JPEG")
        return buffer.getvalue()


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def impatient(url: str, photo: bytes) -> None:
    """A client that has sent everything and waits 2 s for the answer."""
    patience = httpx.Timeout(60, read=2.0)
    with httpx.Client(base_url=url, timeout=patience, trust_env=False) as client, pytest.raises(httpx.ReadTimeout):
        client.post("/detect", content=photo, headers=JPEG)
