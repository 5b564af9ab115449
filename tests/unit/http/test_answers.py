"""What the API answers: detections, the service's errors as problems, and its other pages."""

import base64
import re

import pytest
from starlette.testclient import TestClient

from serve_app.errors import (
    BackendUnavailable,
    DeadlineExceeded,
    EngineFailed,
    InvalidImage,
    Overloaded,
    ServingError,
    TooLarge,
)
from tests.unit.http.conftest import FakeService, post, problem


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
    assert service.compared == []


def test_an_unexpected_failure_is_ours_and_says_nothing(client: TestClient, service: FakeService) -> None:
    service.raises = RuntimeError("secret path")
    assert "secret" not in problem(post(client), 500, "internal_error")


def test_a_full_router_refuses_at_once_and_counts_it(client: TestClient, service: FakeService) -> None:
    service.places = False
    assert "the limit is" in problem(post(client, X_Client_Id="me"), 503, "overloaded")
    assert (service.refused, service.calls) == (1, [])
    service.places = True
    service.policy(allow_override=True)
    assert post(client, X_Backend="onnx").status_code == 200
    assert service.asked == [("me", None), (None, "onnx")]


def test_a_router_that_receives_enough_bodies_refuses_the_next(client: TestClient, service: FakeService) -> None:
    with service.admission.receive(service.policy(max_uploads=1), has_place=True):
        problem(post(client), 503, "overloaded")
    assert (service.refused, service.calls) == (1, [])


def test_the_shadow_run_is_considered_after_the_answer(client: TestClient, service: FakeService) -> None:
    post(client)
    assert service.compared == service.calls


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


def test_the_openapi_pattern_matches_what_is_taken(client: TestClient) -> None:
    content = client.get("/openapi.json").json()["paths"]["/detect"]["post"]["requestBody"]["content"]
    field = content["application/json"]["schema"]["properties"]["image_base64"]
    for size in range(1, 9):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode((b"\xff\xfe\xfb\xff" * 2)[:size]).decode()
            for spelling in (text, text.rstrip("="), f"data:image/svg+xml;base64,{text}"):
                assert re.search(field["pattern"], spelling), spelling
    for wrong in ("", "A", "AAAAA", "AA=", "AA===", "=", "http://x", "é" * 4):
        assert not re.search(field["pattern"], wrong), wrong
