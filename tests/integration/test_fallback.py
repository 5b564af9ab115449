"""Whatever goes wrong with the assigned arm, the other one answers: real processes, killed, frozen or fed nonsense."""

import concurrent.futures
import os
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from tests.integration import artifacts
from tests.integration.conftest import JPEG, Service
from tests.integration.faults import counted, counts, eventually, frozen, metrics_page, settled

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
    service: Service, client: httpx.Client, detect: Detect, tmp_path: Path, damage: artifacts.Damage, reason: str
) -> None:
    artifacts.make_good(tmp_path)
    damage(tmp_path)
    arm = {"artifact": str(tmp_path), "reload": 1}
    calm = {"consecutive_failures": 100, "window": 1000}
    service.deploy(Router={"onnx_fraction": 1.0, "breaker": calm}, OnnxDeployment=arm)
    with (
        counts(client, 1, "detect_fallbacks_total", assigned="onnx", reason=reason),
        counts(client, 1, "detect_requests_total", assigned="onnx", backend="torch", outcome="rescued"),
    ):
        assert_rescued(detect())
    service.deploy(Router={"onnx_fraction": 1.0, "breaker": calm, "fallback": False}, OnnxDeployment=arm)
    alone = detect()
    assert (alone.status_code, alone.json()["code"]) == (503, "engine_failed")


@pytest.mark.parametrize("name", ["OnnxDeployment", "TorchDeployment"])
def test_a_replica_killed_with_requests_in_it(
    service: Service, client: httpx.Client, detect: Detect, name: str
) -> None:
    assigned, rescuer = ("onnx", "torch") if name == "OnnxDeployment" else ("torch", "onnx")
    service.deploy(Router={"onnx_fraction": float(assigned == "onnx")})
    (pid,) = service.pids()[name]
    with concurrent.futures.ThreadPoolExecutor(4) as pool, frozen(pid):
        answers = [pool.submit(detect) for _ in range(4)]
        # The gauge may lag behind; when the arm was silent for seconds, its calls go on to the other one by themselves.
        eventually(lambda: in_flight(client, assigned) == 4 or all(answer.done() for answer in answers))
        os.kill(pid, signal.SIGKILL)
        for answer in answers:
            assert_rescued(answer.result(), assigned, rescuer)
    later = detect()
    assert (later.status_code, later.json()["assigned"]) == (200, assigned)
    if service.pids()[name] in ([], [pid]):  # else the next replica may have answered
        assert_rescued(later, assigned, rescuer)
    eventually(lambda: detect().json()["backend"] == assigned, timeout_s=90)
    assert service.pids()[name] != [pid]


def test_a_hanging_replica_is_left_after_its_time_and_its_breaker_opens(
    service: Service, client: httpx.Client, detect: Detect
) -> None:
    policy = {"onnx_fraction": 1.0, "arm_timeout_s": 0.5, "breaker": {"consecutive_failures": 2}}
    service.deploy(Router=policy)
    (pid,) = service.pids()["OnnxDeployment"]
    with (
        counts(client, 2, "detect_fallbacks_total", assigned="onnx", reason="timeout"),
        counts(client, 1, "detect_fallbacks_total", assigned="onnx", reason="breaker_open"),
        frozen(pid),
    ):
        # One after the other: the breaker lets a probe through after some seconds.
        for _ in range(3):
            assert_rescued(detect())
        assert service.readyz()["backends"]["onnx"]["breaker_open"]
        eventually(lambda: service.readyz()["backends"]["onnx"]["state"] == "unavailable")
    eventually(lambda: detect().json()["backend"] == "onnx")
    assert not service.readyz()["backends"]["onnx"]["breaker_open"]


def test_a_full_queue_is_handed_on(service: Service, client: httpx.Client, detect: Detect, small_photo: bytes) -> None:
    # On a slow machine this may take longer than Serve waits for a frozen replica, and than a request is given.
    narrow = {"options": {"max_ongoing_requests": 1, "max_queued_requests": 1, "health_check_timeout_s": 60}}
    service.deploy(Router={"onnx_fraction": 1.0, "arm_timeout_s": 50, "deadline_s": 120}, OnnxDeployment=narrow)
    (pid,) = service.pids()["OnnxDeployment"]
    full = {"assigned": "onnx", "reason": "queue_full"}
    before = counted(client, "detect_fallbacks_total", **full)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        with frozen(pid):
            waiting = [pool.submit(detect, small_photo) for _ in range(8)]
            eventually(lambda: sum(answer.done() for answer in waiting) >= 5)
            for answer in waiting:
                if answer.done():
                    assert_rescued(answer.result())
        for answer in waiting:
            assert answer.result().status_code == 200
    eventually(lambda: counted(client, "detect_fallbacks_total", **full) - before >= 5)


def in_flight(client: httpx.Client, backend: str) -> float:
    """Calls under way as the gauge has it."""
    lines = metrics_page(client).splitlines()
    values = [line.rsplit(" ", 1)[1] for line in lines if "detect_inflight{" in line and f'backend="{backend}"' in line]
    return max(map(float, values), default=0.0)


def test_a_client_that_goes_away_cancels_its_work(service: Service, client: httpx.Client, photo: bytes) -> None:
    service.deploy(Router={"onnx_fraction": 0.0})
    torch = psutil.Process(service.pids()["TorchDeployment"][0])
    before = cpu_seconds(torch)
    for _ in range(8):
        assert client.post("/detect", content=photo, headers=JPEG).is_success
    worth_of_eight = cpu_seconds(torch) - before
    gone = {"series": "detect_requests_total", "outcome": "cancelled"}
    cancelled = settled(client, **gone)
    with frozen(torch.pid):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: impatient(service.url, photo), range(8)))
        eventually(lambda: counted(client, **gone) == cancelled + 8)
        before = cpu_seconds(torch)
    eventually(lambda: service.readyz()["backends"]["torch"]["state"] == "ready")
    eventually(lambda: in_flight(client, "torch") == 0)
    assert cpu_seconds(torch) - before < worth_of_eight / 2


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def impatient(url: str, photo: bytes) -> None:
    with httpx.Client(base_url=url, timeout=2.0, trust_env=False) as client, pytest.raises(httpx.ReadTimeout):
        client.post("/detect", content=photo, headers=JPEG)
