"""The names that a query, a form and JSON may hold, and what to use instead of those of other detection services.

Called by `http.request_body`, `json_body` and `form_body`.
"""

from collections.abc import Container, Iterable
from typing import Any

from serve_app.errors import MalformedRequest

_IMAGE_IN = {
    "query parameter": "send the image as the body",
    "form field": "use image",
    "JSON field": "use image_base64",
}
_IMAGE_NAMES = (
    "image", "image_base64", "images", "file", "files", "img", "photo", "picture", "upload", "data", "content", "b64",
    "base64", "image_b64", "image_data", "image_bytes", "image_file", "img_base64",
)  # fmt: skip
_INSTEAD: dict[str, tuple[str, ...]] = {
    "use threshold": (
        "score_threshold", "confidence", "confidence_threshold", "conf", "conf_threshold", "conf_thres", "min_score",
        "min_confidence", "score", "box_threshold", "prob_threshold",
    ),
    "use max_detections": (
        "max_crops", "top_k", "max_results", "max_det", "max_boxes", "max_objects", "max_items", "limit", "num_results",
    ),
    "the service fetches no URL: send the image itself": (
        "image_url", "image_urls", "url", "urls", "image_uri", "uri", "image_path", "path", "source",
    ),
    "every label is returned: choose from the labels of the answer": (
        "labels", "classes", "class", "class_names", "categories", "category", "filter", "prompt", "text",
    ),
    "the answer has boxes in pixels: enlarge them and cut them out in the client": (
        "expand_ratio", "expand", "padding", "margin", "return_crops", "include_crops", "crop", "crops",
    ),
    "the model gives one box per object and needs no suppression": (
        "nms", "nms_threshold", "agnostic_nms", "iou", "iou_threshold", "iou_thres",
    ),
    "there is one model, named by checkpoint in serve_config.yaml": (
        "model", "model_name", "model_id", "model_version", "checkpoint", "version",
    ),
    "the share is onnx_fraction in serve_config.yaml; for one request, header X-Backend where allow_override is on": (
        "backend", "use_onnx", "onnx", "engine", "runtime", "provider",
    ),
    "name image and options themselves, one image per request": (
        "inputs", "instances", "requests", "parameters", "params", "options",
    ),
}  # fmt: skip


def _plain(name: str) -> str:
    # As maxCrops, max-crops and MAX_CROPS are the same name.
    return name.lower().replace("_", "").replace("-", "")


_IMAGES = set(map(_plain, _IMAGE_NAMES))
_REMEDIES = {_plain(name): remedy for remedy, names in _INSTEAD.items() for name in names}


def require_new(name: str, seen: Container[str], known: tuple[str, ...], what: str) -> None:
    """Raise MalformedRequest for a name that is not known, and for one that has been `seen` already."""
    if name not in known:
        plain = _plain(name[:80])
        remedy = _IMAGE_IN[what] if plain in _IMAGES else _REMEDIES.get(plain, f"known: {', '.join(known)}")
        raise MalformedRequest(f"unknown {what} {name[:80]!r} ({remedy})")
    if name in seen:
        raise MalformedRequest(f"{what} {name} is given twice: send it once")


def single_values(items: Iterable[tuple[str, Any]], known: tuple[str, ...], what: str) -> dict[str, Any]:
    """The values by name. Raises MalformedRequest as `require_new` does."""
    values: dict[str, Any] = {}
    for name, value in items:
        require_new(name, values, known, what)
        values[name] = value
    return values
