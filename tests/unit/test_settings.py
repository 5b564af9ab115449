"""Settings: unknown keys and wrong values are refused by name."""

from typing import Any

import pytest
from pydantic import BaseModel

from serve_app.errors import ConfigurationError
from serve_app.settings import (
    AppSettings,
    BreakerSettings,
    LimitSettings,
    OnnxSettings,
    TorchSettings,
    TrafficPolicy,
    parse,
)


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
        (TrafficPolicy, {"breaker": {"windw": 9}}, "Router.breaker.windw: unknown key, did you mean window?"),
        (TrafficPolicy, {"breaker": {"x": 9}}, "Router.breaker.x: unknown key (known here: consecutive_failures, "),
        (TorchSettings, {"revision": 12}, "Router.revision: Input should be a valid string, got 12; put it in quotes"),
        (TrafficPolicy, {"allow_override": "yes"}, "got 'yes'; write true or false, without quotes"),
        (TrafficPolicy, {"max_inflight": "12"}, "got '12'; write it without quotes"),
        (TrafficPolicy, {"onnx_fraction": "1e-2"}, "got '1e-2'; write it without quotes, and a power of ten as 1.0e-2"),
    ],
)
def test_a_wrong_value_is_named(model: type[BaseModel], values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match="Router") as caught:
        parse(model, values, "Router")
    assert named in caught.value.detail


NUMBERS = [
    (model, name)
    for model in (TrafficPolicy, BreakerSettings, LimitSettings, TorchSettings, OnnxSettings)
    for name, field in model.model_fields.items()
    if field.annotation in (int, float)
]


@pytest.mark.parametrize(("model", "name"), NUMBERS)
def test_neither_a_switch_nor_text_is_a_number(model: type[BaseModel], name: str) -> None:
    right = model.model_fields[name].default
    for wrong in (True, str(right)):
        with pytest.raises(ConfigurationError, match=rf"^R\.{name}: Input should be a valid \w+, got {wrong!r}"):
            parse(model, {name: wrong}, "R")


def test_a_number_is_no_switch() -> None:
    with pytest.raises(ConfigurationError, match=r"^R\.allow_override: Input should be a valid boolean, got 1"):
        parse(TrafficPolicy, {"allow_override": 1}, "R")


def test_a_whole_number_is_a_right_fraction() -> None:
    policy = parse(TrafficPolicy, {"onnx_fraction": 1, "deadline_s": 20, "breaker": {"failure_share": 1}}, "R")
    assert (policy.onnx_fraction, policy.deadline_s, policy.breaker.failure_share) == (1.0, 20.0, 1.0)


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
