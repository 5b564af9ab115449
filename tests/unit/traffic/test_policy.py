"""The policy in force: replaced by a good one, kept when a wrong one comes."""

from collections.abc import Mapping
from typing import Any

from serve_app.settings import TrafficPolicy
from serve_app.traffic.policy import PolicyInForce


def error_after(policy: PolicyInForce, user_config: Mapping[str, Any]) -> str | None:
    policy.replace(user_config)
    return policy.error


def test_a_good_policy_replaces_it_and_a_wrong_one_is_named() -> None:
    policy = PolicyInForce()
    assert policy.current == TrafficPolicy()
    assert error_after(policy, {"onnx_fraction": 0.5}) is None
    told = error_after(policy, {"onnx_fraction": "much", "fallbck": True})
    assert told is not None
    assert "Router.user_config.onnx_fraction" in told
    assert "Router.user_config.fallbck: unknown key" in told
    assert policy.current.onnx_fraction == 0.5
    assert error_after(policy, {}) is None
    assert policy.current == TrafficPolicy()
