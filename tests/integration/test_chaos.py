"""A short round of `make chaos`: the same faults under the same clients, and what must hold on any machine."""

import pytest

from bench.chaos.faults import hang, kill_replicas, kill_routers
from bench.load.plan import Target
from bench.service import Service

pytestmark = pytest.mark.integration
DYING_S = 2.0  # a killed process accepts connections until the system has closed its sockets


@pytest.fixture
def target(service: Service, photo: bytes) -> Target:
    return Target(service.url, photo)


def test_killing_both_backends_in_turn_fails_no_request(service: Service, target: Target) -> None:
    result = kill_replicas(service, target, "both in turn", ["OnnxDeployment", "TorchDeployment"])
    assert result.failed == []
    assert result.rescued > 0
    assert len(result.recoveries) == 2


@pytest.mark.parametrize(
    ("victim", "share"), [("OnnxDeployment", 0.1), ("OnnxDeployment", 0.5), ("TorchDeployment", 0.5)]
)
def test_a_frozen_backend_fails_no_request(service: Service, target: Target, victim: str, share: float) -> None:
    result = hang(service, target, 4.0, victim, share, seconds=4)
    assert result.failed == []
    assert result.rescued > 0


def test_killing_a_router_fails_only_what_was_in_flight_in_it(service: Service, target: Target) -> None:
    result = kill_routers(service, target, times=1)
    (struck,) = result.struck
    assert all(sent.due < struck + DYING_S and sent.ended > struck for sent in result.failed)
    assert len(result.sent) > len(result.failed)
