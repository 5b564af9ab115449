"""The application as Serve gets it: three deployments, bound to each other, with their defaults."""

from typing import Any

import pytest

from serve_app.app import app
from serve_app.settings import AppSettings, LimitSettings, OnnxSettings, TorchSettings, TrafficPolicy


@pytest.fixture
def router() -> Any:
    bound: Any = app(AppSettings(limits=LimitSettings(max_pixels=123)))
    return bound._bound_deployment


def test_the_router_is_bound_to_both_backends(router: Any) -> None:
    limits, torch, onnx = router.init_args
    assert router.name == "Router"
    assert limits.max_pixels == 123
    assert (torch._bound_deployment.name, onnx._bound_deployment.name) == ("TorchDeployment", "OnnxDeployment")


def test_the_backends_get_the_limits_and_a_lower_priority_than_the_router(router: Any) -> None:
    for backend in router.init_args[1:]:
        limits, niceness = backend._bound_deployment.init_args
        assert limits.max_pixels == 123
        assert niceness > 0


def test_a_user_config_that_is_removed_goes_back_to_the_defaults(router: Any) -> None:
    torch, onnx = (backend._bound_deployment for backend in router.init_args[1:])
    assert router.user_config == TrafficPolicy().model_dump()
    assert torch.user_config == TorchSettings().model_dump()
    assert onnx.user_config == OnnxSettings().model_dump()


def test_the_calls_to_both_backends_go_to_replicas_that_are_ready(router: Any) -> None:
    for backend in router.init_args[1:]:
        routing = backend._bound_deployment._deployment_config.request_router_config
        assert routing.get_request_router_class().__name__ == "ReadyReplicas"
    assert (
        router._deployment_config.request_router_config.is_default_request_router()
    )  # Serve refuses it behind HAProxy
