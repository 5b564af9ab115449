"""The split, measured from outside: exact shares, sticky clients, and deploys that lose no request."""

import concurrent.futures
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.integration.conftest import JPEG, Service

pytestmark = pytest.mark.integration


def post_many(url: str, photo: bytes, headers: Iterator[dict[str, str]], count: int) -> list[dict[str, str]]:
    """Send `count` requests from 4 clients; returns the answers' bodies, failing on the first that is not 200."""

    def one(extra: dict[str, str]) -> dict[str, str]:
        response = clients.post("/detect", content=photo, headers=JPEG | extra)
        assert response.status_code == 200, response.text
        body: dict[str, str] = response.json()
        return body

    with (
        httpx.Client(base_url=url, timeout=60, trust_env=False) as clients,
        concurrent.futures.ThreadPoolExecutor(4) as pool,
    ):
        return list(pool.map(one, itertools.islice(headers, count)))


def test_a_fraction_of_three_tenths_gives_exactly_that_share(service: Service, small_photo: bytes) -> None:
    service.deploy(Router={"onnx_fraction": 0.3})
    answers = post_many(service.url, small_photo, itertools.repeat({}), 300)
    assert Counter(answer["assigned"] for answer in answers)["onnx"] == 90  # of three blocks of 100
    assert all(answer["assigned"] == answer["backend"] for answer in answers)


def test_clients_keep_their_backend_and_only_move_towards_onnx(service: Service, small_photo: bytes) -> None:
    def assigned(fraction: float, count: int) -> list[str]:
        service.deploy(Router={"onnx_fraction": fraction, "experiment": "sticky"})
        keys = ({"X-Client-Id": f"client-{number}"} for number in range(count))
        return [answer["assigned"] for answer in post_many(service.url, small_photo, keys, count)]

    first, again, raised = assigned(0.3, 100), assigned(0.3, 100), assigned(0.6, 100)
    assert first == again
    moved = [(before, after) for before, after in zip(first, raised, strict=True) if before != after]
    assert moved
    assert set(moved) == {("torch", "onnx")}


def test_twenty_split_changes_under_load_lose_nothing(service: Service, small_photo: bytes) -> None:
    before = service.pids()
    statuses: Counter[int] = Counter()
    seen: Counter[str] = Counter()
    stop = threading.Event()

    def hammer() -> None:
        with httpx.Client(base_url=service.url, timeout=60, trust_env=False) as client:
            while not stop.is_set():
                response = client.post("/detect", content=small_photo, headers=JPEG)
                statuses[response.status_code] += 1
                seen[response.headers.get("X-Backend", "none")] += 1

    clients = [threading.Thread(target=hammer) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        for fraction in itertools.islice(itertools.cycle([1.0, 0.5, 0.0, 0.25]), 20):
            service.deploy(Router={"onnx_fraction": fraction})
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert set(statuses) == {200}
    assert seen["onnx"] > 0
    assert seen["torch"] > 0
    assert service.pids() == before


def test_rollback_sends_everything_back(service: Service, detect: Callable[..., httpx.Response]) -> None:
    service.deploy(Router={"onnx_fraction": 1.0})
    on_onnx = detect().json()
    service.deploy(Router={"onnx_fraction": 0.0})
    on_torch = detect().json()
    assert (on_onnx["backend"], on_torch["backend"]) == ("onnx", "torch")
    assert [d["label"] for d in on_onnx["detections"]] == [d["label"] for d in on_torch["detections"]]
    for one, two in zip(on_onnx["detections"], on_torch["detections"], strict=True):
        assert one["score"] == pytest.approx(two["score"], abs=1e-3)
        assert list(one["box"].values()) == pytest.approx(list(two["box"].values()), abs=0.5)
