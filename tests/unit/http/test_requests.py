"""What the API takes: bodies, options and headers, and how it refuses all others."""

import base64
import io
import json
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from serve_app.schemas import Options
from tests.unit.http.conftest import IMAGE, FakeService, post, problem


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
    assert (service.calls[0].data, service.calls[0].options) == (IMAGE, Options(threshold=0.3, max_detections=20))


def test_json_carries_image_and_options(client: TestClient, service: FakeService) -> None:
    body = {"image_base64": base64.b64encode(IMAGE).decode(), "threshold": 0.3, "max_detections": 20}
    assert client.post("/detect", json=body).status_code == 200
    assert (service.calls[0].data, service.calls[0].options) == (IMAGE, Options(threshold=0.3, max_detections=20))


def test_options_come_from_the_query(client: TestClient, service: FakeService) -> None:
    assert post(client, query="?threshold=0.25&max_detections=7").status_code == 200
    assert service.calls[0].options == Options(threshold=0.25, max_detections=7)


def test_the_sticky_header_is_the_policys(client: TestClient, service: FakeService) -> None:
    service.policy(sticky_header="X-User")
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
     ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\nx\r\n'),
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


@pytest.mark.parametrize("kind", ["text/plain", "image/gif", "application/x-www-form-urlencoded"])
def test_other_media_types_are_refused(client: TestClient, kind: str) -> None:
    assert "image/jpeg" in problem(post(client, kind=kind), 415, "unsupported_media_type")


def test_a_declared_body_over_the_limit_is_refused(client: TestClient, service: FakeService) -> None:
    assert "limit is 1000" in problem(post(client, content=b"x" * 1001), 413, "too_large")
    assert service.calls == []


def test_an_undeclared_body_is_cut_off_at_the_limit(client: TestClient, service: FakeService) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 300

    response = client.post("/detect", content=chunks(), headers={"Content-Type": "image/jpeg"})
    problem(response, 413, "too_large")
    assert service.calls == []


def test_the_backend_can_be_forced_only_where_the_policy_allows_it(client: TestClient, service: FakeService) -> None:
    problem(post(client, X_Backend="onnx"), 403, "override_refused")
    service.policy(allow_override=True)
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
