"""A body that the transport between the replicas does not take: told to the client, counted, and no breaker opens."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from bench.service import Overrides
from tests.integration.conftest import Service
from tests.integration.faults import Grows, counts

pytestmark = pytest.mark.integration

LIMIT = 1_000_000
TIMES = 6  # one more than failures in a row open a breaker


class NarrowTransport(Service):
    """The service with a transport that takes less than `max_body_bytes`, as before somebody sets both."""

    def config(self, overrides: Overrides) -> dict[str, Any]:
        config = super().config(overrides)
        variables = config["applications"][0]["runtime_env"]["env_vars"]
        assert int(variables["RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH"]) > LIMIT
        variables["RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH"] = str(LIMIT)
        return config


def test_a_body_larger_than_a_message_may_be_is_told_and_counted(
    service: Service, detect: Callable[..., httpx.Response], photo: bytes
) -> None:
    NarrowTransport(service.node).deploy(Router={"onnx_fraction": 1.0})
    large = photo + bytes(LIMIT)  # what follows the end of a JPEG does not matter, only its size
    with counts(
        service,
        Grows(TIMES, "detect_fallbacks_total", assigned="onnx", reason="message_too_large"),
        Grows(TIMES, "detect_requests_total", assigned="onnx", backend="onnx", outcome="failed"),
    ):
        for _ in range(TIMES):
            assert_too_large(detect(large))
    # The body is to blame, not the backend: both go on, also for the next client.
    assert not any(backend["breaker_open"] for backend in service.readyz()["backends"].values())
    small = detect()
    assert (small.status_code, small.json()["backend"]) == (200, "onnx")


def assert_too_large(response: httpx.Response) -> None:
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (response.status_code, problem["code"]) == (503, "engine_failed")
    assert problem["detail"] == "the transport to onnx takes no message of this size"
    assert int(response.headers["Retry-After"]) >= 1
