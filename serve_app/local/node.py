"""A Ray node on this machine, started and ended by us alone. Called by the commands of this package and by the tests.

It runs in a process session of its own, so that stopping finds exactly its processes, also those whose parent has
died: `ray stop` would end every other Ray of the machine too.
"""

import contextlib
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

from serve_app.errors import ConfigurationError
from serve_app.local import modes
from serve_app.local.modes import Mode

_STATE, _TOKEN, _LOG = "node.json", "auth_token", "ray.log"
_CLUSTER = "ray/ray_current_cluster"
_START_TIMEOUT_S = 60
_STOP_PATIENCE_S = 4
# Above the ports of Ray's workers, below those of its HTTP replicas and of the system's outgoing connections.
_QUIET_PORTS = range(20_000, 30_000)
_OBJECT_STORE_BYTES = 512 * 1024 * 1024
# Ray's default of 10 s would make every scrape up to 10 s old. Ray forgets a gauge after two intervals, so that what it
# says of its nodes, every 5 s by default, would come and go.
_METRICS_REPORT_MS, _NODE_REPORT_MS = 1800, 3000


class Ports(BaseModel):
    """Where the node listens; 0 lets the system choose."""

    model_config = ConfigDict(frozen=True)

    http: int = 8000
    dashboard: int = 8265
    metrics: int = 8090


class Node(BaseModel):
    """A running node, as its state file remembers it."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    ports: Ports
    mode: Mode = Mode.simple
    pid: int
    started: float
    gcs_port: int = 0

    @property
    def dashboard_url(self) -> str:
        """Address of the dashboard, which takes deploys."""
        return f"http://127.0.0.1:{self.ports.dashboard}"

    @property
    def http_url(self) -> str:
        """Address of the service."""
        return f"http://127.0.0.1:{self.ports.http}"

    @property
    def token(self) -> str:
        """The secret that Ray's own ports ask for."""
        return (self.folder / _TOKEN).read_text().strip()

    def processes(self) -> list[psutil.Process]:
        """Every living process of this node."""
        return [process for process in psutil.process_iter() if _belongs(process, self)]


def _belongs(process: psutil.Process, node: Node) -> bool:
    try:
        # The time guards against a number that was given to a stranger after a reboot.
        return (
            os.getsid(process.pid) == node.pid
            and process.create_time() >= node.started
            and process.status() != psutil.STATUS_ZOMBIE
        )
    except (psutil.Error, OSError):
        return False


def remembered(folder: Path) -> Node | None:
    """The node that was started with this folder, alive or not."""
    try:
        return Node.model_validate_json((folder / _STATE).read_bytes())
    except FileNotFoundError:
        return None


def require_free(port: int, what: str, remedy: str) -> None:
    """Raise ConfigurationError if something on this machine listens on `port`."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            raise ConfigurationError(f"port {port} ({what}) is in use by another program; {remedy}") from None


def free_port() -> int:
    """A port that nothing listens on at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _quiet_port() -> int:
    """A free port that neither the system nor Ray hands out by itself, so that it is still free some seconds later."""
    while True:
        port = secrets.choice(_QUIET_PORTS)
        with contextlib.suppress(ConfigurationError):
            require_free(port, "HAProxy", "")
            return port


def start(
    folder: Path, ports: Ports, mode: Mode = Mode.simple, extra_environment: Mapping[str, str] | None = None
) -> Node:
    """Start a head node and wait until its dashboard can take a deploy.

    Raises ConfigurationError, with the end of Ray's log, when it does not come up; nothing is left running then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_secret(folder / _TOKEN)
    started = time.time() - 1  # process times are rounded to the clock tick
    environment = _environment(folder) | modes.environment(mode, folder, _quiet_port) | dict(extra_environment or {})
    gcs_port = free_port()
    pid = _spawn(_command(ports, gcs_port), os.environ | environment, folder / _LOG)
    node = Node(folder=folder.resolve(), ports=ports, mode=mode, pid=pid, started=started, gcs_port=gcs_port)
    (folder / _STATE).write_text(node.model_dump_json())
    try:
        _await_dashboard(node)
    except BaseException:
        stop(node)
        raise
    return node


def _spawn(command: list[str], environment: dict[str, str], log: Path) -> int:
    """Start a program in a session of its own; nobody waits for it, it outlives us."""
    write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    redirections = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), write, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawn(command[0], command, environment, file_actions=redirections, setsid=True)


def _command(ports: Ports, gcs_port: int) -> list[str]:
    ray = Path(sys.executable).with_name("ray")
    options = {
        "--port": gcs_port,
        "--node-ip-address": "127.0.0.1",
        "--num-cpus": max(2, os.cpu_count() or 1),
        "--object-store-memory": _OBJECT_STORE_BYTES,
        "--dashboard-host": "127.0.0.1",
        "--dashboard-port": ports.dashboard,
        "--dashboard-agent-listen-port": free_port(),
        "--ray-client-server-port": free_port(),
        "--metrics-export-port": ports.metrics,
    }
    flags = [f"{name}={value}" for name, value in options.items()]
    return [str(ray), "start", "--head", "--block", "--disable-usage-stats", *flags]


def _environment(folder: Path) -> dict[str, str]:
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str((folder / _TOKEN).resolve()),
        "RAY_metrics_report_interval_ms": str(_METRICS_REPORT_MS),
        "REPORTER_UPDATE_INTERVAL_MS": str(_NODE_REPORT_MS),
        "RAY_worker_niceness": "0",  # Ray's default of 15 lets any other program slow the service down
    }


def _write_secret(path: Path) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))


def _await_dashboard(node: Node) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if not node.processes():
            raise ConfigurationError(f"Ray ended while starting:\n{_log_tail(node.folder)}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", node.ports.dashboard), timeout=1):
            return
        time.sleep(0.2)
    raise ConfigurationError(f"Ray did not come up within {_START_TIMEOUT_S} s:\n{_log_tail(node.folder)}")


def _log_tail(folder: Path, lines: int = 15) -> str:
    return "\n".join((folder / _LOG).read_text(errors="replace").splitlines()[-lines:])


def stop(node: Node) -> None:
    """End every process of the node and forget it. Returns only when none is left."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _STOP_PATIENCE_S
        _send(node, number)
        while (left := node.processes()) and time.monotonic() < deadline:
            psutil.wait_procs(left, timeout=0.2)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(node.pid, os.WNOHANG)  # ours to collect only if we started it
    _withdraw_address(node)
    (node.folder / _STATE).unlink(missing_ok=True)


def _withdraw_address(node: Node) -> None:
    """Ray leaves its address for every later `ray.init()` on this machine, which would look there in vain."""
    left = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / _CLUSTER
    with contextlib.suppress(OSError):
        if left.read_text().rpartition(":")[2] == str(node.gcs_port):
            left.unlink()


def _send(node: Node, number: signal.Signals) -> None:
    for process in node.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


@contextlib.contextmanager
def running(
    folder: Path, ports: Ports, mode: Mode = Mode.simple, extra_environment: Mapping[str, str] | None = None
) -> Iterator[Node]:
    """A node for the length of a `with` block."""
    node = start(folder, ports, mode, extra_environment)
    try:
        yield node
    finally:
        stop(node)
