"""The OpenAPI document of the service, made from the wire types. Called by `http.api`."""

from typing import Any

from pydantic.json_schema import models_json_schema

from serve_app.http.media_types import FORM_TYPE, JSON_TYPE, RAW_TYPES
from serve_app.http.options import option_schemas
from serve_app.schemas import BACKENDS, DetectResponse, Problem
from serve_app.settings import LimitSettings

_PROBLEMS = {
    400: "Malformed request, header or parameter",
    403: "X-Backend is not allowed by the policy",
    408: "The body did not arrive in time",
    413: "Body or image over a limit",
    415: "Not an accepted content type, or a HEIC",
    422: "Not a decodable image",
    503: "Overloaded, or no backend can answer",
    504: "The deadline passed",
}
_BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
_DIGIT = "[A-Za-z0-9+/_-]"
_BASE64: dict[str, Any] = {
    "type": "string",
    "contentEncoding": "base64",
    "pattern": f"^(data:[a-z]+/[a-z0-9.+-]+;base64,)?({_DIGIT}{{4}})*{_DIGIT}{{2}}({_DIGIT}{{1,2}}|{_DIGIT}=|==|)$",
    "description": "The image, or a data: URL of it. Line breaks are passed over, and padding may be left out.",
}


def openapi_document(limits: LimitSettings) -> dict[str, Any]:
    """OpenAPI 3.1: every path, parameter, header and answer but 500, which would be a bug of ours."""
    models = [(DetectResponse, "serialization"), (Problem, "serialization")]
    _, schemas = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Clothing detection, served by two backends",
            "version": "1",
            "description": f"Bodies up to {limits.max_body_bytes} bytes, images up to {limits.max_pixels} pixels "
            "(larger JPEGs are decoded reduced).",
        },
        "paths": {
            "/detect": {"post": _detect()},
            "/healthz": {"get": _get("The process is alive", {"type": "object"})},
            "/readyz": {"get": _get("At least one backend is ready", {"type": "object"}, unavailable=True)},
            "/shadow/disagreements": {"get": _get("The newest shadow disagreements", {"type": "object"})},
            "/metrics": {"get": _metrics()},
            "/openapi.json": {"get": _get("This document", {"type": "object"})},
        },
        "components": {"schemas": schemas["$defs"]},
    }


def _detect() -> dict[str, Any]:
    options = option_schemas()
    form = _object(options | {"image": _BINARY}, required="image")
    as_json = _object(options | {"image_base64": _BASE64}, required="image_base64")
    raw = {media_type: {"schema": _BINARY} for media_type in RAW_TYPES}
    return {
        "operationId": "detect",
        "summary": "Find clothing in one image (JPEG, PNG, WebP or AVIF)",
        "parameters": [
            *(_parameter(name, "query", schema) for name, schema in options.items()),
            _parameter("X-Client-Id", "header", {"type": "string"}),
            _parameter("X-Backend", "header", {"enum": list(BACKENDS)}),
            _parameter("X-Request-Timeout-Ms", "header", {"type": "number", "exclusiveMinimum": 0}),
            _parameter("X-Request-ID", "header", {"type": "string", "pattern": "^[!-~]{1,128}$"}),
        ],
        "requestBody": {
            "required": True,
            "content": {**raw, FORM_TYPE: {"schema": form}, JSON_TYPE: {"schema": as_json}},
        },
        "responses": {
            "200": {
                "description": "The detections, best first",
                "headers": _headers("X-Request-ID", "X-Backend", "Server-Timing"),
                "content": {JSON_TYPE: {"schema": {"$ref": "#/components/schemas/DetectResponse"}}},
            },
            **{str(status): _problem(description, status) for status, description in _PROBLEMS.items()},
        },
    }


def _object(properties: dict[str, dict[str, Any]], required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [required], "additionalProperties": False}


def _get(description: str, schema: dict[str, Any], unavailable: bool = False) -> dict[str, Any]:
    answer = {"content": {JSON_TYPE: {"schema": schema}}}
    responses: dict[str, Any] = {"200": {"description": description, **answer}}
    if unavailable:
        responses["503"] = {"description": f"Not so: {description}", **answer}
    return {"summary": description, "responses": responses}


def _metrics() -> dict[str, Any]:
    types = ("text/plain", "application/openmetrics-text")
    content = {media_type: {"schema": {"type": "string"}} for media_type in types}
    return {
        "summary": "The series of the whole application, for Prometheus",
        "responses": {
            "200": {"description": "Text or OpenMetrics, as the Accept header asks", "content": content},
            "503": _problem("No metrics agent can be reached", 503),
        },
    }


def _parameter(name: str, place: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": place, "required": False, "schema": schema}


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"schema": {"type": "string"}} for name in names}


def _problem(description: str, status: int) -> dict[str, Any]:
    retried = ["Retry-After"] if status == 503 else []
    return {
        "description": description,
        "headers": _headers("X-Request-ID", *retried),
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
