"""The body of `GET /readyz`: the policy in force, and what the router knows of each backend. Called by `http.api`."""

from collections.abc import Mapping
from typing import Any

from serve_app.backends.watch import ReplicaWatch
from serve_app.schemas import Backend
from serve_app.traffic.lane import Lane
from serve_app.traffic.policy import PolicyInForce


def readiness(
    policy: PolicyInForce, watches: Mapping[Backend, ReplicaWatch], lanes: Mapping[Backend, Lane], barred: str | None
) -> dict[str, Any]:
    """The state of one router replica. It is ready while at least one backend is.

    `barred` is why ONNX carries no traffic although it may be ready.
    """
    backends: dict[str, dict[str, Any]] = {}
    for name, watch in watches.items():
        backends[name] = watch.report() | {
            "breaker_open": lanes[name].breaker.is_open,
            "timeout_s": round(lanes[name].timeout_s(policy.current), 3),
        }
    if barred:
        backends["onnx"]["reason"] = "; ".join(filter(None, [backends["onnx"].get("reason"), barred]))
    return {
        "ready": any(backend["state"] == "ready" for backend in backends.values()),
        "policy": policy.current.model_dump(),
        "policy_error": policy.error,
        "backends": backends,
    }
