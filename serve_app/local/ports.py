"""Where a node of this machine listens, and ports that are free. Called by the commands here and by the tests."""

import contextlib
import itertools
import secrets
import socket

from pydantic import BaseModel, ConfigDict

from serve_app.errors import ConfigurationError

_HIGHEST_PORT = 65_535
# Above the ports of Ray's workers, and below those of its HTTP replicas and of the system's outgoing connections. So a
# port that is free here is still free some seconds later, when a process listens on it.
_QUIET_PORTS = range(20_000, 30_000)
_turn = itertools.count(secrets.randbelow(len(_QUIET_PORTS)))


class Ports(BaseModel):
    """Where the node listens; 0 lets the system choose."""

    model_config = ConfigDict(frozen=True)

    http: int = 8000
    dashboard: int = 8265
    metrics: int = 8090


def require_free(port: int, what: str, remedy: str) -> None:
    """Raise ConfigurationError if `port` is not a valid number, or if something on this machine listens on it."""
    if not 0 <= port <= _HIGHEST_PORT:
        raise ConfigurationError(f"{port} is not a valid port for {what} (1 to {_HIGHEST_PORT})")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            raise ConfigurationError(f"port {port} ({what}) is in use by another program; {remedy}") from None


def free_port() -> int:
    """A port that nothing listens on. Neither the system nor Ray assigns it by itself; each call gives another one."""
    while True:
        port = _QUIET_PORTS[next(_turn) % len(_QUIET_PORTS)]
        with contextlib.suppress(ConfigurationError):
            require_free(port, "any", "")
            return port
