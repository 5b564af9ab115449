"""The options of a request: what is taken, what is refused and how it is shown, and that OpenAPI says the same."""

from typing import Any

import pytest

from serve_app.errors import MalformedRequest
from serve_app.http.options import option_schemas, parse_options
from serve_app.schemas import Options


def test_the_defaults() -> None:
    assert parse_options({}) == Options(threshold=0.5, max_detections=100)


@pytest.mark.parametrize("value", [0, 1, 0.5, "0.5", "1e-3", "0.0"])
def test_good_thresholds(value: Any) -> None:
    assert parse_options({"threshold": value}).threshold == float(value)


NESTED: list[Any] = []
for _ in range(100_000):
    NESTED = [NESTED]
BAD: dict[str, list[Any]] = {
    "threshold": [-0.1, 1.1, "nan", "inf", "", "x", True, None, [0.5], 10**400, "1" * 5000, NESTED],
    "max_detections": [0, 101, 1.5, "1.5", "-1", False, {}, "1e999"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_bad_options_are_named_and_shown_shortened(name: str, value: Any) -> None:
    with pytest.raises(MalformedRequest, match=f"^{name} must be") as caught:
        parse_options({name: value})
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"threshold": "1.5"}, "threshold must be a number from 0 to 1, got '1.5'"),
        ({"threshold": True}, "threshold must be a number from 0 to 1, got True"),
        ({"max_detections": 101}, "max_detections must be a whole number from 1 to 100, got 101"),
        ({"max_detections": [1]}, "max_detections must be a whole number from 1 to 100, got a list"),
    ],
)
def test_the_message_holds_name_range_and_value(values: dict[str, Any], told: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        parse_options(values)
    assert caught.value.detail == told


@pytest.mark.parametrize("value", [1, 20, 100, "20", 20.0, "2e1", "20.0"])
def test_good_limits(value: Any) -> None:
    assert parse_options({"max_detections": value}).max_detections == float(value)


def test_openapi_documents_what_is_parsed() -> None:
    assert option_schemas() == {
        "threshold": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5},
        "max_detections": {"type": "integer", "minimum": 1, "maximum": 100, "default": 100},
    }
