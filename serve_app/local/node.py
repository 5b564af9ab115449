"""Starting and ending a Ray node on this machine. Called by the commands of this package and by the tests.

The node runs in a process session of its own. Stopping ends the processes of that session, including those whose
parent has died. `ray stop` would end every other Ray on the machine too.
"""

import contextlib
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from serve_app.errors import ConfigurationError
from serve_app.local import modes
from serve_app.local.modes import Mode
from serve_app.local.polling import Clock, attempts
from serve_app.local.ports import Ports, free_port

_STATE, _TOKEN, _LOG = "node.json", "auth_token", "ray.log"
_CLUSTER = "ray/ray_current_cluster"
_START_TIMEOUT_S = 180  # on two cores at a load of 12, a start took 77 s
_TERMINATE_S, _KILL_S = 4, 30
_OBJECT_STORE_BYTES = 512 * 1024 * 1024
# By default Ray reports metrics every 10 s, so a scrape would be up to 10 s old. Ray forgets a gauge that was not set
# for two intervals. The figures of a node, set every 5 s by default, must therefore come more often too.
_METRICS_REPORT_MS, _NODE_REPORT_MS = 1800, 3000
# The system gives its boot time in whole seconds, and process times in clock ticks.
_CLOCK_SLACK_S = 2.0


class Node(BaseModel):
    """A node that was started: what its state file holds. `leader_born` is in seconds after the machine's boot."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    ports: Ports
    mode: Mode = Mode.simple
    pid: int
    leader_born: float
    gcs_port: int = 0

    @property
    def dashboard_url(self) -> str:
        """Address of Ray's dashboard, which takes deploys."""
        return f"http://127.0.0.1:{self.ports.dashboard}"

    @property
    def serve_api(self) -> str:
        """Address of Serve's REST API, a part of the dashboard."""
        return f"{self.dashboard_url}/api/serve/applications/"

    @property
    def credentials(self) -> dict[str, str]:
        """The headers that Ray's own HTTP ports require."""
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def http_url(self) -> str:
        """Address of the service."""
        return f"http://127.0.0.1:{self.ports.http}"

    @property
    def token(self) -> str:
        """The secret that Ray's own ports require."""
        return (self.folder / _TOKEN).read_text().strip()

    def processes(self) -> list[psutil.Process]:
        """Every living process of this node."""
        if _is_strangers(self):
            return []
        return [process for process in psutil.process_iter() if _belongs(process, self)]


def born(pid: int) -> float:
    """When a process started, in seconds after the machine's boot. Setting the system clock does not change it.

    Raises psutil.NoSuchProcess.
    """
    return psutil.Process(pid).create_time() - psutil.boot_time()


def _is_strangers(node: Node) -> bool:
    """Whether another process has the number of the session's leader now, as happens after a reboot."""
    try:
        return abs(born(node.pid) - node.leader_born) > _CLOCK_SLACK_S
    except psutil.NoSuchProcess:
        return False  # the leader has died; its children may live on


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
    """The node that was last started with this folder, running or not; None without one.

    Raises ConfigurationError if its state file cannot be read.
    """
    try:
        return Node.model_validate_json((folder / _STATE).read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else "damaged"
        raise ConfigurationError(
            f"the record of the running node, {(folder / _STATE).absolute()}, cannot be read ({reason}); "
            "end its processes by hand (ps -e | grep ray) and delete the file"
        ) from None


def require_remembered(folder: Path) -> Node:
    """The node that `remembered` gives. Raises ConfigurationError if there is none."""
    node = remembered(folder)
    if node is None:
        raise ConfigurationError(nothing_runs(folder))
    return node


def nothing_runs(folder: Path) -> str:
    """Tell where a running node was looked for, and how to start or find one."""
    return (
        f"nothing is running: {folder.absolute()} remembers no node; "
        "start one with: make serve, or name another folder with --folder"
    )


def _write_state(node: Node) -> None:
    """Replace the file in one step. A half-written file would be a node that `stop` cannot find."""
    fresh = node.folder / f"{_STATE}.new"
    fresh.write_text(node.model_dump_json())
    fresh.replace(node.folder / _STATE)


def start(
    folder: Path,
    ports: Ports,
    mode: Mode = Mode.simple,
    extra_environment: Mapping[str, str] | None = None,
    clock: Clock = time,
) -> Node:
    """Start a head node and wait until its dashboard can take a deploy.

    Raises ConfigurationError, with the end of Ray's log, if it does not come up. Nothing is left running then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_secret(folder / _TOKEN)
    environment = _environment(folder) | modes.environment(mode, folder) | dict(extra_environment or {})
    gcs_port = free_port()
    pid = _spawn(_command(ports, gcs_port), os.environ | environment, folder / _LOG)
    node = Node(folder=folder.resolve(), ports=ports, mode=mode, pid=pid, leader_born=born(pid), gcs_port=gcs_port)
    _write_state(node)
    try:
        _await_dashboard(node, clock)
    except BaseException:
        stop(node, clock)
        raise
    return node


def _spawn(command: list[str], environment: dict[str, str], log: Path) -> int:
    """Start a program in a session of its own, so that it outlives this command. Returns its process number."""
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
        "RAY_worker_niceness": "0",  # with Ray's default of 15, any other program slows the service down
    }


def _write_secret(path: Path) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))


def _await_dashboard(node: Node, clock: Clock) -> None:
    for _ in attempts(_START_TIMEOUT_S, 0.2, clock):
        if not node.processes():
            raise ConfigurationError(f"Ray ended while starting:\n{_log_tail(node.folder)}")
        # The port opens before Serve's part of the dashboard, a process of its own, can take a deploy.
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(
                node.serve_api, headers=node.credentials, timeout=30, trust_env=False, verify=False
            ).is_success:
                return
    raise ConfigurationError(f"Ray did not come up within {_START_TIMEOUT_S} s:\n{_log_tail(node.folder)}")


def _log_tail(folder: Path, lines: int = 15) -> str:
    return "\n".join((folder / _LOG).read_text(errors="replace").splitlines()[-lines:])


def stop(node: Node, clock: Clock = time) -> None:
    """End every process of the node and forget the node. A process that ignores the request to end is killed."""
    if not _ended(node, signal.SIGTERM, _TERMINATE_S, clock):
        _ended(node, signal.SIGKILL, _KILL_S, clock)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(node.pid, os.WNOHANG)  # works only in the process that started the node
    _withdraw_address(node)
    (node.folder / _STATE).unlink(missing_ok=True)


def _ended(node: Node, number: signal.Signals, patience_s: float, clock: Clock) -> bool:
    """Send a signal to all processes, and again to those that start meanwhile, until none is left or time is over."""
    signalled: set[psutil.Process] = set()
    for _ in attempts(patience_s, 0.1, clock):
        left = set(node.processes())
        if not left:
            return True
        for process in left - signalled:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        signalled |= left
    return False


def _withdraw_address(node: Node) -> None:
    """Delete the address file that Ray left, if it is this node's. Every later `ray.init()` would try that address."""
    left = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / _CLUSTER
    with contextlib.suppress(OSError):
        if left.read_text().rpartition(":")[2] == str(node.gcs_port):
            left.unlink()


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
