"""A busy port is named. A free port is free, and each call gives another one."""

import socket

import pytest

from serve_app.errors import ConfigurationError
from serve_app.local.ports import free_port, require_free


def test_a_busy_port_is_named_with_the_remedy() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} \(HTTP\) is in use by another program; end it"):
            require_free(port, "HTTP", "end it")
    require_free(port, "HTTP", "end it")


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_number_that_is_not_a_port_is_named_with_the_range(port: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"{port} is not a valid port for http \(1 to 65535\)"):
        require_free(port, "http", "")


def test_free_ports_are_free_and_different_and_not_those_that_the_system_assigns() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    for port in ports:
        assert 20_000 <= port < 30_000
        require_free(port, "any", "")


def test_a_port_in_use_is_never_called_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as holder:
        taken, free = free_port(), free_port()
        holder.bind(("127.0.0.1", taken))
        holder.listen()
        monkeypatch.setattr("serve_app.local.ports._QUIET_PORTS", [taken, free])
        assert {free_port() for _ in range(4)} == {free}
