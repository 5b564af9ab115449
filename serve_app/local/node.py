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
from pydantic import BaseModel, ConfigDict, ValidationError

from serve_app.errors import ConfigurationError
from serve_app.local import modes
from serve_app.local.modes import Mode
from serve_app.local.ports import Ports, free_port

_STATE, _TOKEN, _LOG = "node.json", "auth_token", "ray.log"
_CLUSTER = "ray/ray_current_cluster"
_START_TIMEOUT_S = 60
_STOP_PATIENCE_S = {signal.SIGTERM: 4, signal.SIGKILL: 30}
_OBJECT_STORE_BYTES = 512 * 1024 * 1024
# Ray's default of 10 s would make every scrape up to 10 s old. Ray forgets a gauge after two intervals, so that what it
# says of its nodes, every 5 s by default, would come and go.
_METRICS_REPORT_MS, _NODE_REPORT_MS = 1800, 3000
# The system tells the time of its boot in whole seconds, and process times in clock ticks.
_CLOCK_SLACK_S = 2.0


class Node(BaseModel):
    """A running node, as its state file remembers it."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    ports: Ports
    mode: Mode = Mode.simple
    pid: int
    leader_born: float
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
        if _is_strangers(self):
            return []
        return [process for process in psutil.process_iter() if _belongs(process, self)]


def born(pid: int) -> float:
    """When a process began, in seconds after the machine did: this survives a clock that is set.

    Raises psutil.NoSuchProcess.
    """
    return psutil.Process(pid).create_time() - psutil.boot_time()


def _is_strangers(node: Node) -> bool:
    """Whether the number of the session's leader was given to another process, as happens after a reboot."""
    try:
        return abs(born(node.pid) - node.leader_born) > _CLOCK_SLACK_S
    except psutil.NoSuchProcess:
        return False  # it died, its children may live


def _belongs(process: psutil.Process, node: Node) -> bool:
    try:
        return (
            os.getsid(process.pid) == node.pid
            and born(process.pid) > node.leader_born - _CLOCK_SLACK_S
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
    except (ValidationError, OSError) as error:
        told = error.strerror if isinstance(error, OSError) else "damaged"
        remedy = "end its processes by hand (ps -e | grep ray) and delete the file"
        raise ConfigurationError(f"{folder / _STATE}, which tells what was started, is {told}; {remedy}") from None


def _write_state(node: Node) -> None:
    """In one step: half a file would be a node that nobody can stop."""
    fresh = node.folder / f"{_STATE}.new"
    fresh.write_text(node.model_dump_json())
    fresh.replace(node.folder / _STATE)


def start(
    folder: Path, ports: Ports, mode: Mode = Mode.simple, extra_environment: Mapping[str, str] | None = None
) -> Node:
    """Start a head node and wait until its dashboard can take a deploy.

    Raises ConfigurationError, with the end of Ray's log, when it does not come up; nothing is left running then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_secret(folder / _TOKEN)
    environment = _environment(folder) | modes.environment(mode, folder) | dict(extra_environment or {})
    gcs_port = free_port()
    pid = _spawn(_command(ports, gcs_port), os.environ | environment, folder / _LOG)
    node = Node(folder=folder.resolve(), ports=ports, mode=mode, pid=pid, leader_born=born(pid), gcs_port=gcs_port)
    _write_state(node)
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
    for number, patience_s in _STOP_PATIENCE_S.items():
        deadline = time.monotonic() + patience_s
        _send(node, number)
        while (left := node.processes()) and time.monotonic() < deadline:
            psutil.wait_procs(left, timeout=0.2)
            if number is signal.SIGKILL:
                _send(node, number)  # also to what was begun since
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
