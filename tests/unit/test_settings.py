"""Settings: unknown keys and wrong values are refused by name."""

from typing import Any

import pytest
from pydantic import BaseModel

from serve_app.errors import ConfigurationError
from serve_app.settings import AppSettings, OnnxSettings, TorchSettings, TrafficPolicy, parse


@pytest.mark.parametrize(
    ("model", "values", "named"),
    [
        (TrafficPolicy, {"onnx_fractoin": 0.3}, "Router.onnx_fractoin: unknown key"),
        (TrafficPolicy, {"onnx_fraction": 1.1}, "Router.onnx_fraction: Input should be less than or equal to 1"),
        (TrafficPolicy, {"onnx_fraction": float("nan")}, "Router.onnx_fraction"),
        (TrafficPolicy, {"onnx_fraction": "half"}, "got 'half'"),
        (TrafficPolicy, {"deadline_s": 0}, "Router.deadline_s"),
        (TrafficPolicy, {"sticky_header": "x client"}, "Router.sticky_header"),
        (TrafficPolicy, {"breaker": {"window": 1}}, "Router.breaker.window"),
        (TrafficPolicy, {"fallback": "never"}, "Router.fallback: Input should be True, False or 'always', got 'never'"),
        *(
            (
                TrafficPolicy,
                {"arm_timeout_s": value},
                "Router.arm_timeout_s: give seconds (over 0, at most 3600) or auto",
            )
            for value in (0, -1, 3601, "soon", True, None, float("nan"), float("inf"))
        ),
        (TorchSettings, {"device": "gpu"}, "Router.device"),
        (TorchSettings, {"threads": 0}, "Router.threads"),
        (OnnxSettings, {"providers": []}, "Router.providers"),
        (TorchSettings, {"max_batch": 4, "inferences_at_once": 2}, "Router: max_batch 4 and inferences_at_once 2"),
        (OnnxSettings, {"engine": "openvino", "inferences_at_once": 2}, "Router: engine openvino runs one"),
        (AppSettings, {"limits": {"max_body": 1}}, "Router.limits.max_body: unknown key"),
    ],
)
def test_a_wrong_value_is_named(model: type[BaseModel], values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match="Router") as caught:
        parse(model, values, "Router")
    assert named in caught.value.detail


def test_every_wrong_key_is_listed() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(TrafficPolicy, {"a": 1, "b": 2, "onnx_fraction": -1}, "Router")
    assert all(f"Router.{key}" in caught.value.detail for key in ("a", "b", "onnx_fraction"))


def test_the_defaults_send_nothing_to_onnx() -> None:
    assert parse(TrafficPolicy, {}, "Router").onnx_fraction == 0


@pytest.mark.parametrize(
    ("values", "seconds"),
    [({}, 10), ({"deadline_s": 8}, 4), ({"arm_timeout_s": 20}, 20), ({"arm_timeout_s": 0.5, "deadline_s": 0.2}, 0.5)],
)
def test_the_longest_attempt(values: dict[str, Any], seconds: float) -> None:
    assert TrafficPolicy(**values).longest_attempt_s == seconds


@pytest.mark.parametrize("model", [TrafficPolicy, TorchSettings, OnnxSettings, AppSettings])
def test_every_field_is_explained(model: type[BaseModel]) -> None:
    nested = {"breaker", "limits"}
    assert [name for name, field in model.model_fields.items() if not field.description and name not in nested] == []
