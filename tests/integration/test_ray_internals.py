"""Ray's private parts on the real Ray: a newer Ray that hides them would degrade the service silently."""

import pytest

from bench.service import Service
from tests.integration.faults import eventually


@pytest.mark.parametrize("name", ["torch", "onnx"])
def test_the_router_reads_serves_table_of_replicas(service: Service, name: str) -> None:
    # The table is None until the router's handle is connected, which its first question for the status does.
    eventually(lambda: service.readyz()["backends"][name]["state"] == "ready")
    assert service.readyz()["backends"][name]["replicas"] == 1


@pytest.mark.parametrize("name", ["torch", "onnx"])
def test_serve_tells_the_router_what_each_replica_says_of_itself(service: Service, name: str) -> None:
    eventually(lambda: service.readyz()["backends"][name].get("replicas_ready") == 1)
