"""The API around fake parts that need no Ray, and what its tests ask and check."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
from starlette.testclient import TestClient

from serve_app.http.admission import Admission
from serve_app.http.api import build_api
from serve_app.observability.scrape import Page
from serve_app.schemas import Answer, Backend, Box, Call, Detection, DetectionResult, ImageSize
from serve_app.settings import LimitSettings, TrafficPolicy
from serve_app.traffic.dispatch import Dispatcher
from serve_app.traffic.policy import PolicyInForce
from serve_app.traffic.shadow import Shadow

IMAGE = b"encoded image"
RESULT = DetectionResult(
    image=ImageSize(width=400, height=533),
    detections=[Detection(label="pants", score=0.91, box=Box(xmin=31.2, ymin=12.9, xmax=371, ymax=520.4))],
    stages={"queue": 0.001, "decode": 0.002, "preprocess": 0.003, "inference": 0.04, "postprocess": 0.0005},
)


class FakeService:
    """Stands for the dispatcher and the shadow run: answers with one result, or raises what it is told to."""

    def __init__(self) -> None:
        self.in_force = PolicyInForce()
        self.refused = 0
        self.admission = Admission(self._count)
        self.calls: list[Call] = []
        self.compared: list[Call] = []
        self.raises: Exception | None = None
        self.ready = True
        self.asked: list[tuple[str | None, Backend | None]] = []
        self.places = True

    def _count(self) -> None:
        self.refused += 1

    def policy(self, **values: Any) -> TrafficPolicy:
        self.in_force.current = TrafficPolicy(**values)
        return self.in_force.current

    def has_place(self, key: str | None, forced: Backend | None) -> bool:
        self.asked.append((key, forced))
        return self.places

    async def detect(self, call: Call) -> Answer:
        self.calls.append(call)
        if self.raises:
            raise self.raises
        return Answer(RESULT, "onnx", "torch")

    def consider(self, call: Call, answer: Answer, policy: TrafficPolicy) -> None:
        self.compared.append(call)

    def report(self) -> dict[str, Any]:
        return {"disagreements": []}

    def readiness(self) -> dict[str, Any]:
        return {"ready": self.ready}

    async def metrics_page(self, accept: str) -> Page:
        return Page(b"# none\n", "text/plain; version=0.0.4; charset=utf-8")


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def client(service: FakeService) -> Iterator[TestClient]:
    api = build_api(
        limits=LimitSettings(max_body_bytes=1000),
        policy=service.in_force,
        admission=service.admission,
        dispatcher=cast(Dispatcher, service),
        shadow=cast(Shadow, service),
        readiness=service.readiness,
        metrics_page=service.metrics_page,
    )
    with TestClient(api, raise_server_exceptions=False) as client:
        yield client


def post(client: TestClient, content: bytes = IMAGE, query: str = "", kind: str = "image/jpeg", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(f"/detect{query}", content=content, headers={"Content-Type": kind} | named)


def problem(response: Any, status: int, code: str) -> str:
    """Check an error's whole shape; returns its detail."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert (body["status"], body["code"], bool(body["request_id"]), bool(body["title"])) == (status, code, True, True)
    return str(body["detail"])
