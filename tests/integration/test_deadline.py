"""Deadlines on the running service: 504 when the time is over, whatever hangs, and no answer ever stays away."""

import concurrent.futures
import http.client
import json
import socket
from collections.abc import Callable

import httpx
import pytest

from tests.integration.conftest import Service
from tests.integration.faults import PATIENT, Grows, counts, eventually, frozen

pytestmark = pytest.mark.integration
Detect = Callable[..., httpx.Response]


def assert_deadline(response: httpx.Response) -> None:
    assert response.status_code == 504, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "deadline_exceeded"


def test_with_both_backends_hanging_the_deadline_is_kept(service: Service, detect: Detect, small_photo: bytes) -> None:
    patient = {"options": PATIENT}
    limited = {"deadline_s": 2, "onnx_fraction": 0.5}
    service.deploy(Router=limited, TorchDeployment=patient, OnnxDeployment=patient)
    pids = service.pids()
    (torch,), (onnx,) = pids["TorchDeployment"], pids["OnnxDeployment"]
    with (
        counts(service, Grows(4, "detect_requests_total", outcome="deadline")),
        frozen(torch),
        frozen(onnx),
        concurrent.futures.ThreadPoolExecutor(4) as pool,
    ):
        shorter = pool.submit(detect, small_photo, X_Request_Timeout_Ms="700")
        # Both hang until the last answer is here. How far past the deadline they come stands in docs/reliability.md.
        for answer in [shorter, *(pool.submit(detect) for _ in range(3))]:
            assert_deadline(answer.result())
    eventually(lambda: detect().status_code == 200)
    eventually(lambda: {backend["state"] for backend in service.readyz()["backends"].values()} == {"ready"})


def test_the_clients_limit_counts_if_it_is_shorter(service: Service, detect: Detect) -> None:
    service.deploy(Router={"deadline_s": 55})
    assert detect(X_Request_Timeout_Ms="50000").status_code == 200
    assert_deadline(detect(X_Request_Timeout_Ms="1"))
    service.deploy(Router={"deadline_s": 0.001})
    assert_deadline(detect(X_Request_Timeout_Ms="50000"))


def test_hurried_clients_do_not_open_a_breaker(service: Service, detect: Detect) -> None:
    for _ in range(12):
        assert_deadline(detect(X_Request_Timeout_Ms="2"))
    assert not any(backend["breaker_open"] for backend in service.readyz()["backends"].values())


def test_the_deadline_holds_while_the_body_is_still_arriving(service: Service) -> None:
    service.deploy(Router={"deadline_s": 1})
    head = b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\nonly this"
    with socket.create_connection(("127.0.0.1", service.node.ports.http), timeout=60) as connection:
        connection.sendall(head)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        problem = json.loads(answer.read())
    assert (answer.status, problem["code"]) == (504, "deadline_exceeded")
