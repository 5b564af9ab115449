"""The API around a service that needs no Ray, and what its tests ask and check."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.testclient import TestClient

from serve_app.calls import Answer, Call
from serve_app.errors import Overloaded
from serve_app.http.api import Page, build_api
from serve_app.schemas import Box, Detection, DetectionResult, ImageSize
from serve_app.settings import LimitSettings, TrafficPolicy

IMAGE = b"encoded image"
RESULT = DetectionResult(
    image=ImageSize(width=400, height=533),
    detections=[Detection(label="pants", score=0.91, box=Box(xmin=31.2, ymin=12.9, xmax=371, ymax=520.4))],
    stages={"queue": 0.001, "decode": 0.002, "preprocess": 0.003, "inference": 0.04, "postprocess": 0.0005},
)


class FakeService:
    """Answers with one result, or raises what it is told to."""

    def __init__(self) -> None:
        self.policy = TrafficPolicy()
        self.calls: list[Call] = []
        self.told: list[Call] = []
        self.raises: Exception | None = None
        self.full = False
        self.ready = True

    @contextmanager
    def receive(self) -> Iterator[None]:
        yield

    @contextmanager
    def admit(self) -> Iterator[None]:
        if self.full:
            raise Overloaded("full")
        yield

    async def detect(self, call: Call) -> Answer:
        self.calls.append(call)
        if self.raises:
            raise self.raises
        return Answer(RESULT, "onnx", "torch")

    def answered(self, call: Call, answer: Answer) -> None:
        self.told.append(call)

    def readiness(self) -> dict[str, Any]:
        return {"ready": self.ready}

    def disagreements(self) -> dict[str, Any]:
        return {"disagreements": []}

    async def metrics_page(self, accept: str) -> Page:
        return Page(b"# none\n", "text/plain; version=0.0.4; charset=utf-8")


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def client(service: FakeService) -> Iterator[TestClient]:
    limits = LimitSettings(max_body_bytes=1000)
    with TestClient(build_api(service, limits), raise_server_exceptions=False) as client:
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
