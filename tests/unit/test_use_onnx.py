"""The old flag is named with what replaces it, wherever it is set."""

from typing import Any

import pytest

from serve_app import use_onnx


def told(value: str, onnx: int) -> str:
    return (
        f"USE_ONNX={value!r} is set and changes nothing: onnx_fraction in the Router's user_config moves the traffic "
        f"(make split ONNX={onnx})"
    )


@pytest.mark.parametrize(
    ("value", "onnx"),
    [("true", 1), ("TRUE ", 1), ("1", 1), ("yes", 1), ("on", 1), ("false", 0), ("0", 0), ("", 0), ("maybe", 0)],
)
def test_a_value_is_told_with_the_command_that_replaces_it(value: str, onnx: int) -> None:
    assert use_onnx.warnings({"USE_ONNX": value, "PATH": "/bin"}) == [told(value, onnx)]


def test_nothing_is_told_where_it_is_not_set() -> None:
    assert use_onnx.warnings({}) == []
    assert (
        use_onnx.warnings({"USE_ONNXRUNTIME": "1"}, {"applications": [{"runtime_env": {"env_vars": {"A": "1"}}}]}) == []
    )


def config(application: dict[str, Any], replica: dict[str, Any]) -> dict[str, Any]:
    deployment = {"name": "Router", "ray_actor_options": {"runtime_env": {"env_vars": replica}}}
    return {"applications": [{"runtime_env": {"env_vars": application}, "deployments": [deployment]}]}


def test_it_is_found_in_the_file_and_each_value_told_once() -> None:
    assert use_onnx.warnings({}, config({"USE_ONNX": "true"}, {})) == [told("true", 1)]
    assert use_onnx.warnings({}, config({}, {"USE_ONNX": True})) == [told("True", 1)]
    everywhere = use_onnx.warnings({"USE_ONNX": "true"}, config({"USE_ONNX": "true"}, {"USE_ONNX": "false"}))
    assert everywhere == [told("true", 1), told("false", 0)]
