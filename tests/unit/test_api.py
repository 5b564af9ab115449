"""The HTTP contract around a service that needs no Ray: every answer of the error table, and what a call carries."""

import base64
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.testclient import TestClient

from serve_app.api import Page, build_api
from serve_app.calls import Answer, Call, Options
from serve_app.errors import (
    BackendUnavailable,
    DeadlineExceeded,
    EngineFailed,
    InvalidImage,
    Overloaded,
    ServingError,
    TooLarge,
)
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


def test_the_answer_has_the_documented_shape(client: TestClient) -> None:
    response = post(client, X_Request_ID="my-id")
    assert response.status_code == 200
    assert response.json() == {
        "request_id": "my-id",
        "backend": "torch",
        "assigned": "onnx",
        "image": {"width": 400, "height": 533},
        "detections": [
            {"label": "pants", "score": 0.91, "box": {"xmin": 31.2, "ymin": 12.9, "xmax": 371.0, "ymax": 520.4}}
        ],
    }
    assert response.headers["X-Backend"] == "torch"
    stages = dict(part.split(";dur=") for part in response.headers["Server-Timing"].split(", "))
    assert stages.keys() == {"queue", "decode", "preprocess", "inference", "postprocess", "total"}
    assert float(stages["inference"]) == 40


@pytest.mark.parametrize(
    "kind", ["image/jpeg", "image/png", "image/webp", "application/octet-stream", "IMAGE/JPEG; q=1"]
)
def test_a_raw_body_is_the_image(client: TestClient, service: FakeService, kind: str) -> None:
    assert post(client, kind=kind).status_code == 200
    assert service.calls[0].data == IMAGE


def test_a_form_carries_image_and_options(client: TestClient, service: FakeService) -> None:
    form = {"image": ("a.jpg", io.BytesIO(IMAGE), "image/jpeg")}
    response = client.post("/detect", files=form, data={"threshold": "0.3", "max_detections": "20"})
    assert response.status_code == 200
    assert (service.calls[0].data, service.calls[0].options) == (IMAGE, Options(0.3, 20))


def test_json_carries_image_and_options(client: TestClient, service: FakeService) -> None:
    body = {"image_base64": base64.b64encode(IMAGE).decode(), "threshold": 0.3, "max_detections": 20}
    assert client.post("/detect", json=body).status_code == 200
    assert (service.calls[0].data, service.calls[0].options) == (IMAGE, Options(0.3, 20))


def test_options_come_from_the_query(client: TestClient, service: FakeService) -> None:
    assert post(client, query="?threshold=0.25&max_detections=7").status_code == 200
    assert service.calls[0].options == Options(0.25, 7)


def test_the_sticky_header_is_the_policys(client: TestClient, service: FakeService) -> None:
    service.policy = TrafficPolicy(sticky_header="X-User")
    post(client, X_User="anna", X_Client_Id="other")
    post(client, X_Client_Id="other")
    assert [call.key for call in service.calls] == ["anna", None]


@pytest.mark.parametrize(
    ("query", "named"),
    [("?threshold=1.5", "threshold"), ("?threshold=x", "threshold"), ("?threshold=nan", "threshold"),
     ("?threshold=", "threshold"), ("?max_detections=0", "max_detections"), ("?max_detections=101", "max_detections"),
     ("?max_detections=2.5", "max_detections"), ("?max_detections=inf", "max_detections"),
     ("?treshold=0.3", "unknown query parameter 'treshold'"), ("?threshold=0.3&threshold=0.4", "given twice")],
)  # fmt: skip
def test_a_wrong_parameter_is_named(client: TestClient, query: str, named: str) -> None:
    assert named in problem(post(client, query=query), 400, "malformed_request")


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{", "1", "null", '{"threshold": 0.3}', '{"image_base64": 3}', '{"image_base64": "a"}',
     '{"image_base64": "é"}',
     '{"image_base64": ""}', '{"image_base64": "aGk=", "threshold": true}', '{"image_base64": "aGk=", "x": 1}',
     '{"image_base64": "aGk=", "threshold": null}', '{"image_base64": "aGk=", "threshold": 1e999}', "[" * 900],
)  # fmt: skip
def test_malformed_json_is_refused(client: TestClient, body: str) -> None:
    problem(post(client, content=body.encode(), kind="application/json"), 400, "malformed_request")


@pytest.mark.parametrize(
    ("kind", "content"),
    [("multipart/form-data", b"x"), ("multipart/form-data; boundary=b", b""),
     ("multipart/form-data; boundary=b", b"--b"),
     ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\nx\r\n--b--\r\n'),
     ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n')],
)  # fmt: skip
def test_a_malformed_form_is_refused(client: TestClient, kind: str, content: bytes) -> None:
    problem(post(client, content=content, kind=kind), 400, "malformed_request")


def test_an_option_is_given_once(client: TestClient) -> None:
    body = json.dumps({"image_base64": "aGk=", "threshold": 0.3}).encode()
    detail = problem(post(client, body, "?threshold=0.3", "application/json"), 400, "malformed_request")
    assert "in the query and in the body" in detail


def test_an_empty_body_is_refused(client: TestClient) -> None:
    problem(post(client, content=b""), 400, "malformed_request")


@pytest.mark.parametrize("kind", ["", "text/plain", "image/gif", "application/x-www-form-urlencoded"])
def test_other_media_types_are_refused(client: TestClient, kind: str) -> None:
    assert "image/jpeg" in problem(post(client, kind=kind), 415, "unsupported_media_type")


def test_a_declared_body_over_the_limit_is_refused(client: TestClient, service: FakeService) -> None:
    assert "limit is 1000" in problem(post(client, content=b"x" * 1001), 413, "too_large")
    assert service.calls == []


def test_an_undeclared_body_is_cut_off_at_the_limit(client: TestClient, service: FakeService) -> None:
    sent = []

    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            sent.append(1)
            yield b"x" * 300

    response = client.post("/detect", content=chunks(), headers={"Content-Type": "image/jpeg"})
    problem(response, 413, "too_large")
    assert service.calls == []


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(InvalidImage("no image"), 422, "invalid_image"), (TooLarge("pixels"), 413, "too_large"),
     (Overloaded("busy"), 503, "overloaded"), (BackendUnavailable("none"), 503, "backend_unavailable"),
     (EngineFailed("died"), 503, "engine_failed"), (DeadlineExceeded("late"), 504, "deadline_exceeded")],
)  # fmt: skip
def test_the_services_errors_become_problems(
    client: TestClient, service: FakeService, error: ServingError, status: int, code: str
) -> None:
    service.raises = error
    response = post(client)
    assert problem(response, status, code) == error.detail
    assert ("Retry-After" in response.headers) == (status == 503)
    assert service.told == []


def test_an_unexpected_failure_is_ours_and_says_nothing(client: TestClient, service: FakeService) -> None:
    service.raises = RuntimeError("secret path")
    assert "secret" not in problem(post(client), 500, "internal_error")


def test_a_full_service_refuses_at_once(client: TestClient, service: FakeService) -> None:
    service.full = True
    problem(post(client), 503, "overloaded")


def test_the_backend_can_be_forced_only_where_the_policy_allows_it(client: TestClient, service: FakeService) -> None:
    problem(post(client, X_Backend="onnx"), 403, "override_refused")
    service.policy = TrafficPolicy(allow_override=True)
    assert post(client, X_Backend="onnx").status_code == 200
    assert service.calls[-1].forced == "onnx"
    assert "'tensorrt'" in problem(post(client, X_Backend="tensorrt"), 400, "malformed_request")


@pytest.mark.parametrize(("given", "seconds"), [("1500", 1.5), ("90000", 30)])
def test_a_client_may_set_a_shorter_deadline(
    client: TestClient, service: FakeService, given: str, seconds: float
) -> None:
    post(client, X_Request_Timeout_Ms=given)
    assert service.calls[0].deadline - service.calls[0].arrived == pytest.approx(seconds)


@pytest.mark.parametrize("given", ["0", "-1", "soon", "nan", "inf"])
def test_a_wrong_deadline_is_refused(client: TestClient, given: str) -> None:
    problem(post(client, X_Request_Timeout_Ms=given), 400, "malformed_request")


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "ü"])
def test_a_wrong_request_id_is_refused_and_not_echoed(client: TestClient, given: str) -> None:
    response = client.post(
        "/detect", content=IMAGE, headers=[(b"Content-Type", b"image/jpeg"), (b"X-Request-ID", given.encode())]
    )
    problem(response, 400, "malformed_request")
    assert response.json()["request_id"] != given


def test_the_service_is_told_after_the_answer(client: TestClient, service: FakeService) -> None:
    post(client)
    assert service.told == service.calls


def test_health_and_readiness(client: TestClient, service: FakeService) -> None:
    assert client.get("/healthz").json() == {"alive": True}
    assert client.get("/readyz").status_code == 200
    service.ready = False
    assert client.get("/readyz").status_code == 503
    assert client.get("/metrics").headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert client.get("/shadow/disagreements").json() == {"disagreements": []}


def test_unknown_paths_and_methods_are_problems(client: TestClient) -> None:
    problem(client.get("/nowhere"), 404, "not_found")
    response = client.get("/detect")
    problem(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "POST"


def test_the_openapi_document_names_every_answer(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        "/detect", "/healthz", "/readyz", "/metrics", "/shadow/disagreements", "/openapi.json",
    }  # fmt: skip
    assert set(document["paths"]["/detect"]["post"]["responses"]) == {
        "200", "400", "403", "408", "413", "415", "422", "503", "504",
    }  # fmt: skip
    assert {"DetectResponse", "Problem", "Box"} <= document["components"]["schemas"].keys()
