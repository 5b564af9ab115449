"""Where a node of this machine listens, and ports that are free. Called by the commands here and by the tests."""

import contextlib
import itertools
import secrets
import socket

from pydantic import BaseModel, ConfigDict

from serve_app.errors import ConfigurationError

_HIGHEST_PORT = 65_535
# Above the ports of Ray's workers, below those of its HTTP replicas and of the system's outgoing connections: what is
# free here is still free some seconds later, when it is listened on.
_QUIET_PORTS = range(20_000, 30_000)
_turn = itertools.count(secrets.randbelow(len(_QUIET_PORTS)))


class Ports(BaseModel):
    """Where the node listens; 0 lets the system choose."""

    model_config = ConfigDict(frozen=True)

    http: int = 8000
    dashboard: int = 8265
    metrics: int = 8090


def require_free(port: int, what: str, remedy: str) -> None:
    """Raise ConfigurationError if something on this machine listens on `port`, or if it is none."""
    if not 0 <= port <= _HIGHEST_PORT:
        raise ConfigurationError(f"port {port} ({what}) is none: they go to {_HIGHEST_PORT}")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            raise ConfigurationError(f"port {port} ({what}) is in use by another program; {remedy}") from None


def free_port() -> int:
    """A port that nothing listens on, that neither the system nor Ray hands out by itself, and another at each call."""
    while True:
        port = _QUIET_PORTS[next(_turn) % len(_QUIET_PORTS)]
        with contextlib.suppress(ConfigurationError):
            require_free(port, "any", "")
            return port
