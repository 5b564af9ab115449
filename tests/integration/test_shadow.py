"""The shadow run on the running service: it compares what the backends found, and no answer waits for it."""

import concurrent.futures
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.integration.conftest import JPEG, Service
from tests.integration.faults import PATIENT, Grows, counts, eventually, frozen

pytestmark = pytest.mark.integration
Detect = Callable[..., httpx.Response]
RESULTS = ("agree", "disagree", "failed", "dropped")


def report(client: httpx.Client) -> dict[str, Any]:
    content: dict[str, Any] = client.get("/shadow/disagreements").raise_for_status().json()
    return content


def not_run(client: httpx.Client) -> int:
    counts: dict[str, int] = report(client)["comparisons"]
    return counts["dropped"] + counts["failed"]


def finished(client: httpx.Client, pair: str) -> int:
    return sum(report(client)[pair][result] for result in RESULTS)


def test_the_backends_agree_and_so_does_torch_with_itself(service: Service, client: httpx.Client, photo: bytes) -> None:
    for pair, noise_share in (("comparisons", 0.0), ("noise_floor", 1.0)):
        service.deploy(Router={"shadow_fraction": 1.0, "shadow_noise_share": noise_share})
        before, name = report(client)[pair], "agree" if pair == "comparisons" else "noise_agree"
        with counts(service, Grows(5, "detect_shadow_total", result=name)):
            for number in range(1, 6):
                answer = client.post("/detect?threshold=0.05", content=photo, headers=JPEG)
                assert answer.json()["detections"]
                wanted = before["agree"] + number
                eventually(lambda wanted=wanted, pair=pair: report(client)[pair]["agree"] == wanted)  # type: ignore[misc]
        after = report(client)[pair]
        assert after["disagree"] == before["disagree"]
        assert after["max_score_deviation"] < 1e-3
        assert after["max_box_deviation"] < 1e-3
    assert report(client)["noise_floor"]["max_score_deviation"] == 0.0


def test_an_answer_does_not_wait_for_its_comparison(service: Service, client: httpx.Client, detect: Detect) -> None:
    compared = {"shadow_fraction": 1.0, "shadow_noise_share": 0.0, "arm_timeout_s": 50}
    service.deploy(Router=compared, OnnxDeployment={"options": PATIENT})
    (onnx,) = service.pids()["OnnxDeployment"]

    def answered_before_it_was_compared() -> bool:
        before = report(client)["comparisons"]
        with frozen(onnx):
            assert detect().status_code == 200
        eventually(lambda: finished(client, "comparisons") == sum(before[result] for result in RESULTS) + 1)
        return bool(report(client)["comparisons"]["agree"] == before["agree"] + 1)

    # An answer that waited would come after seconds of silence, when the hanging backend counts as down and the
    # comparison has failed. On a slow machine the silence may be as long without it: then once more.
    eventually(answered_before_it_was_compared)


def test_a_hanging_other_backend_is_not_queued_for(service: Service, client: httpx.Client, detect: Detect) -> None:
    compared = {"shadow_fraction": 1.0, "shadow_noise_share": 0.0, "arm_timeout_s": 20}
    service.deploy(Router=compared, OnnxDeployment={"options": PATIENT})
    (onnx,) = service.pids()["OnnxDeployment"]
    before = report(client)["comparisons"]
    with frozen(onnx):
        assert {detect().status_code for _ in range(6)} == {200}
        # Failed, where the backend has been silent for so long that it counts as down.
        eventually(lambda: not_run(client) >= before["dropped"] + before["failed"] + 5)
    eventually(lambda: finished(client, "comparisons") == sum(before[result] for result in RESULTS) + 6)


def test_a_busy_backend_drops_comparisons(service: Service, client: httpx.Client, photo: bytes) -> None:
    service.deploy(
        Router={
            "onnx_fraction": 0.5,
            "shadow_fraction": 1.0,
            "shadow_noise_share": 0.0,
            "shadow_concurrency": 8,
        }
    )
    before = report(client)["comparisons"]

    def post(_: int) -> int:
        return client.post("/detect", content=photo, headers=JPEG).status_code

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(post, range(60))) == {200}
    eventually(lambda: finished(client, "comparisons") == sum(before[result] for result in RESULTS) + 60)
    after = report(client)["comparisons"]
    assert after["dropped"] > before["dropped"]
    assert after["disagree"] == before["disagree"]
