"""What listens where, in the mode under test: the service's port as configured, and nothing new for the network."""

import stat
from pathlib import Path

import psutil
import pytest

from bench.service import Service
from serve_app.local.modes import Mode

pytestmark = pytest.mark.integration
LOOPBACK = {"127.0.0.1", "::1"}


def haproxies(service: Service) -> list[psutil.Process]:
    return [process for process in service.node.processes() if process.name() == "haproxy"]


def test_haproxy_runs_in_the_fast_mode_only(service: Service) -> None:
    assert bool(haproxies(service)) == (service.node.mode is Mode.fast)


def test_haproxy_is_reachable_from_this_machine_and_user_only(service: Service) -> None:
    for process in haproxies(service):
        listening = {end.laddr.ip for end in process.net_connections() if end.status == psutil.CONN_LISTEN}
        assert listening == {"127.0.0.1"}
        config = Path(process.cmdline()[process.cmdline().index("-f") + 1])
        assert stat.S_IMODE((config.parent / "admin.sock").stat().st_mode) == 0o600


def test_the_service_listens_where_the_config_says(service: Service) -> None:
    ends = [end for process in service.node.processes() for end in process.net_connections()]
    mine = {
        end.laddr.ip for end in ends if end.status == psutil.CONN_LISTEN and end.laddr.port == service.node.ports.http
    }
    assert mine
    assert mine <= LOOPBACK
