"""The HTTP contract on the running service: real images, real limits, real headers."""

import base64
import json
import re
import socket
from collections.abc import Callable

import httpx
import pytest

from serve_app.local import deploy
from tests.integration.conftest import JPEG, PHOTOS, ROOT, Service
from tests.integration.faults import PATIENCE_S

pytestmark = pytest.mark.integration


def boxes_of(response: httpx.Response) -> list[dict[str, float]]:
    assert response.status_code == 200, response.text
    return [detection["box"] for detection in response.json()["detections"]]


def test_both_backends_find_the_same_in_every_sample(service: Service, client: httpx.Client) -> None:
    service.deploy(Router={"allow_override": True})
    for path in PHOTOS:
        url, photo = "/detect?threshold=0.05", path.read_bytes()
        torch, onnx = (
            client.post(url, content=photo, headers=JPEG | {"X-Backend": backend})
            .raise_for_status()
            .json()["detections"]
            for backend in ("torch", "onnx")
        )
        assert torch, f"nothing was found in {path.name}"
        assert [d["label"] for d in torch] == [d["label"] for d in onnx], path.name
        for one, two in zip(torch, onnx, strict=True):
            assert one["score"] == pytest.approx(two["score"], abs=1e-3), path.name
            assert one["box"] == pytest.approx(two["box"], abs=1.0), path.name


def test_real_photographs_come_back_with_boxes(service: Service, client: httpx.Client) -> None:
    service.deploy(Router={"allow_override": True})
    photos = sorted((ROOT / "tests/photos").rglob("*.jpg"))
    assert photos
    found = dict.fromkeys(("torch", "onnx"), 0)
    for photo in photos:
        for backend in found:
            headers = JPEG | {"X-Backend": backend}
            found[backend] += bool(boxes_of(client.post("/detect", content=photo.read_bytes(), headers=headers)))
    assert found["torch"] == found["onnx"]
    assert found["onnx"] >= len(photos) / 2


def test_every_way_of_sending_gives_the_same_answer(client: httpx.Client, photo: bytes) -> None:
    raw = client.post("/detect?threshold=0.2", content=photo, headers={"Content-Type": "application/octet-stream"})
    form = client.post("/detect", files={"image": ("a.jpg", photo, "image/jpeg")}, data={"threshold": "0.2"})
    as_json = client.post("/detect", json={"image_base64": base64.b64encode(photo).decode(), "threshold": 0.2})
    assert boxes_of(raw)
    assert boxes_of(raw) == boxes_of(form) == boxes_of(as_json)


def test_what_clients_really_send_is_taken(client: httpx.Client, photo: bytes) -> None:
    expected = boxes_of(client.post("/detect", content=photo, headers=JPEG))
    wrapped = base64.encodebytes(photo).decode()
    url = f"data:image/jpeg;base64,{base64.urlsafe_b64encode(photo).decode().rstrip('=')}"
    for image_base64 in (wrapped, url):
        assert boxes_of(client.post("/detect", json={"image_base64": image_base64})) == expected
    for kind in ("image/jpg", "IMAGE/PJPEG", "binary/octet-stream", "image/jpeg; charset=binary"):
        assert boxes_of(client.post("/detect", content=photo, headers={"Content-Type": kind})) == expected
    assert boxes_of(client.post("/detect", content=photo)) == expected
    assert boxes_of(client.post("/detect", content=iter([photo[:999], photo[999:]]), headers=JPEG)) == expected


def test_a_client_that_waits_for_100_continue_gets_its_answer(service: Service, photo: bytes) -> None:
    head = f"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(photo)}\r\n"
    with socket.create_connection(("127.0.0.1", service.node.ports.http), timeout=60) as connection:
        connection.sendall(head.encode() + b"Connection: close\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(photo)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_what_is_no_body_of_ours_is_refused_by_name(client: httpx.Client, photo: bytes) -> None:
    response = client.post("/detect", content=photo, headers=JPEG | {"Content-Encoding": "gzip"})
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
    nested = b"[" + b'{"":0},' * 2_800_000 + b"1]"
    response = client.post("/detect", content=nested, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (400, "malformed_request")
    assert "19600003 bytes beside the image, the limit is 10000" in response.json()["detail"]


def test_the_answer_carries_its_headers_once(detect: Callable[..., httpx.Response]) -> None:
    response = detect(X_Request_ID="from-the-client")
    assert response.headers.get_list("x-request-id") == ["from-the-client"]
    assert response.json()["request_id"] == "from-the-client"
    assert response.headers["x-backend"] == "torch"
    assert re.fullmatch(r"(\w+;dur=[\d.]+(, )?){6}", response.headers["server-timing"])


def test_a_request_without_an_id_is_given_one(detect: Callable[..., httpx.Response]) -> None:
    response = detect()
    assert response.headers["x-request-id"] == response.json()["request_id"]


def test_limits_hold_on_the_running_service(client: httpx.Client) -> None:
    response = client.post("/detect", content=b"x" * 20_000_001, headers=JPEG)
    assert (response.status_code, response.json()["code"]) == (413, "too_large")
    response = client.post("/detect", content=b"x" * 1000, headers=JPEG)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_image")


def test_override_is_refused_by_default(detect: Callable[..., httpx.Response]) -> None:
    assert detect(X_Backend="onnx").json()["code"] == "override_refused"


def test_readiness_tells_policy_and_backends(service: Service) -> None:
    state = service.readyz()
    assert state["ready"] is True
    assert state["policy"]["onnx_fraction"] == 0
    torch, onnx = state["backends"]["torch"], state["backends"]["onnx"]
    assert torch["fingerprint"] == onnx["fingerprint"]
    assert torch["threads"] == onnx["threads"]
    assert (torch["engine"], onnx["engine"]) == ("torch-sdpa", "onnxruntime")


def test_a_wrong_policy_is_refused_and_the_last_good_one_stays(
    service: Service, detect: Callable[..., httpx.Response]
) -> None:
    service.deploy(Router={"onnx_fraction": 1.0})
    deploy.deploy(service.node, service.config({"Router": {"onnx_fraction": 7}}))
    state = deploy.wait_until(service.node, lambda state: state["policy_error"] is not None, PATIENCE_S)
    assert "Router.user_config.onnx_fraction" in state["policy_error"]
    assert state["policy"]["onnx_fraction"] == 1.0
    assert detect().json()["backend"] == "onnx"


def test_the_openapi_document_is_served(client: httpx.Client) -> None:
    assert json.loads(client.get("/openapi.json").content)["paths"]["/detect"]["post"]["operationId"] == "detect"
