"""The names of other detection services: each is refused with what to use instead."""

import pytest

from serve_app.errors import MalformedRequest
from serve_app.http.fields import single_values

KNOWN = ("image_base64", "threshold", "max_detections")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("score_threshold", "use threshold"),
        ("confidence", "use threshold"),
        ("conf", "use threshold"),
        ("min_score", "use threshold"),
        ("minScore", "use threshold"),
        ("MIN-SCORE", "use threshold"),
        ("max_crops", "use max_detections"),
        ("top_k", "use max_detections"),
        ("max_results", "use max_detections"),
        ("image", "use image_base64"),
        ("file", "use image_base64"),
        ("image_url", "the service fetches no URL"),
        ("labels", "choose from the labels of the answer"),
        ("classes", "choose from the labels of the answer"),
        ("expand_ratio", "enlarge them and cut them out in the client"),
        ("return_crops", "enlarge them and cut them out in the client"),
        ("nms", "needs no suppression"),
        ("iou_threshold", "needs no suppression"),
        ("model", "checkpoint in serve_config.yaml"),
        ("backend", "X-Backend"),
        ("use_onnx", "onnx_fraction in serve_config.yaml"),
        ("inputs", "one image per request"),
        ("x", "known: image_base64, threshold, max_detections"),
        ("x" * 1000, "known: "),
    ],
)
def test_an_unknown_field_is_refused_with_what_to_use(name: str, told: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        single_values([("threshold", 0.3), (name, 1)], KNOWN, "JSON field")
    assert caught.value.detail.startswith(f"unknown JSON field {name[:80]!r} (")
    assert told in caught.value.detail
    assert len(caught.value.detail) < 250


@pytest.mark.parametrize(
    ("what", "told"), [("form field", "use image"), ("query parameter", "send the image as the body")]
)
def test_an_image_is_sent_elsewhere_in_a_form_and_a_query(what: str, told: str) -> None:
    with pytest.raises(MalformedRequest, match=rf"unknown {what} 'file' \({told}\)"):
        single_values([("file", "x")], ("image", "threshold"), what)


def test_values_by_name_each_once() -> None:
    assert single_values([("threshold", "1"), ("max_detections", 2)], KNOWN, "x") == {
        "threshold": "1", "max_detections": 2,
    }  # fmt: skip
    with pytest.raises(MalformedRequest, match="x threshold is given twice: send it once"):
        single_values([("threshold", 1), ("threshold", 1)], KNOWN, "x")
