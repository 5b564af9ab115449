"""What listens where, in the mode under test: the service's port as configured, and nothing new for the network."""

import stat
from pathlib import Path

import psutil
import pytest

from bench.processes import of_each
from bench.service import Service
from serve_app.local.modes import Mode

pytestmark = pytest.mark.integration
LOOPBACK = {"127.0.0.1", "::1"}


def listens_on(process: psutil.Process) -> set[tuple[str, int]]:
    return {(end.laddr.ip, end.laddr.port) for end in process.net_connections() if end.status == psutil.CONN_LISTEN}


def haproxies(service: Service) -> list[tuple[set[tuple[str, int]], list[str]]]:
    """Where each listens, and its command line."""
    found = of_each(service.node.processes(), lambda process: (process.name(), listens_on(process), process.cmdline()))
    return [(ends, command) for name, ends, command in found if name == "haproxy"]


def test_haproxy_runs_in_the_fast_mode_only(service: Service) -> None:
    assert bool(haproxies(service)) == (service.node.mode is Mode.fast)


def test_haproxy_is_reachable_from_this_machine_and_user_only(service: Service) -> None:
    found = haproxies(service)
    assert not found or any(ends for ends, _ in found)  # one that drains listens nowhere any more
    for ends, command in found:
        assert {address for address, _ in ends} <= {"127.0.0.1"}
        config = Path(command[command.index("-f") + 1])
        assert stat.S_IMODE((config.parent / "admin.sock").stat().st_mode) == 0o600


def test_the_service_listens_where_the_config_says(service: Service) -> None:
    ends = set().union(*of_each(service.node.processes(), listens_on))
    mine = {address for address, port in ends if port == service.node.ports.http}
    assert mine
    assert mine <= LOOPBACK
