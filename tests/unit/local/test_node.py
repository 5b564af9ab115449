"""Starting and ending a node: its processes, its state file, and what is said when it does not come up."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from serve_app.errors import ConfigurationError
from serve_app.local import node
from serve_app.local.modes import Mode
from serve_app.local.polling import Clock
from serve_app.local.ports import Ports, free_port
from tests.unit.local.clocks import ImpatientClock

SLEEPER = "import time; time.sleep(600)"
# Each process writes one letter into the pipe when it is there, and closes it.
PARENT_WITH_CHILD = """
import os, sys, time
pipe = os.open(sys.argv[1], os.O_WRONLY)
os.fork()
os.write(pipe, b"x")
os.close(pipe)
time.sleep(600)
"""
DEAF = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pipe = os.open(sys.argv[1], os.O_WRONLY)
os.write(pipe, b"x")
os.close(pipe)
time.sleep(600)
"""


def spawn(folder: Path, code: str, *arguments: str) -> node.Node:
    pid = node._spawn([sys.executable, "-c", code, *arguments], dict(os.environ), folder / "log")
    return node.Node(folder=folder, ports=Ports(), pid=pid, leader_born=node.born(pid))


def spawn_and_hear(folder: Path, code: str, letters: bytes) -> node.Node:
    """Spawn, and return when every process of the program has written its letter."""
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    running = spawn(folder, code, str(pipe))
    assert pipe.read_bytes() == letters  # blocks until all of them have closed their end
    return running


def end_leader(running: node.Node) -> None:
    os.kill(running.pid, signal.SIGKILL)
    os.waitpid(running.pid, 0)


def test_stopping_also_ends_children_whose_parent_has_died(tmp_path: Path) -> None:
    running = spawn_and_hear(tmp_path, PARENT_WITH_CHILD, b"xx")
    assert len(running.processes()) == 2
    end_leader(running)
    assert len(running.processes()) == 1
    node.stop(running)
    assert running.processes() == []


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    running = spawn_and_hear(tmp_path, DEAF, b"x")
    node.stop(running, ImpatientClock())
    assert running.processes() == []


def test_other_programs_are_left_alone(tmp_path: Path) -> None:
    ours, other = spawn(tmp_path, SLEEPER), spawn(tmp_path, SLEEPER)
    try:
        node.stop(ours)
        assert [process.pid for process in other.processes()] == [other.pid]
    finally:
        node.stop(other)


@pytest.mark.parametrize("seconds", [-100, 100])
def test_a_process_number_that_was_given_again_is_not_ours(tmp_path: Path, seconds: float) -> None:
    running = spawn(tmp_path, SLEEPER)
    try:
        before = running.model_copy(update={"leader_born": running.leader_born + seconds})
        assert before.processes() == []
    finally:
        node.stop(running)


def test_children_of_an_older_session_with_the_same_number_are_not_ours(tmp_path: Path) -> None:
    running = spawn_and_hear(tmp_path, PARENT_WITH_CHILD, b"xx")
    try:
        end_leader(running)
        later = running.model_copy(update={"leader_born": running.leader_born + 100})
        assert later.processes() == []
    finally:
        node.stop(running)


@pytest.mark.parametrize("step_s", [-3600, 3600])
@pytest.mark.parametrize("cut", [0.0, 0.999])
def test_our_processes_are_still_known_after_the_system_clock_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_s: float, cut: float
) -> None:
    running = spawn(tmp_path, SLEEPER)
    try:
        boot_time = psutil.boot_time() + step_s
        monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot_time - cut)  # psutil adds it to process times
        monkeypatch.setattr("psutil.boot_time", lambda: boot_time)
        assert [process.pid for process in running.processes()] == [running.pid]
    finally:
        monkeypatch.undo()
        node.stop(running)


def test_a_process_that_ends_while_it_is_listed_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = psutil.Process(spawn(tmp_path, SLEEPER).pid)
    running = node.Node(folder=tmp_path, ports=Ports(), pid=gone.pid, leader_born=node.born(gone.pid))
    monkeypatch.setattr("psutil.process_iter", lambda: iter([gone]))
    assert running.processes() == [gone]
    end_leader(running)
    assert running.processes() == []


def test_nothing_is_remembered_before_the_first_start(tmp_path: Path) -> None:
    assert node.remembered(tmp_path) is None


def test_a_folder_without_a_node_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        node.require_remembered(Path(".run"))
    assert str(tmp_path / ".run") in caught.value.detail
    assert "--folder" in caught.value.detail
    assert "make serve" in caught.value.detail


@pytest.mark.parametrize("content", ["", '{"pid": 1'])
def test_a_damaged_state_file_is_named_with_the_remedy(tmp_path: Path, content: str) -> None:
    (tmp_path / "node.json").write_text(content)
    with pytest.raises(ConfigurationError, match=r"/node\.json, cannot be read \(damaged\); end its processes by hand"):
        node.remembered(tmp_path)


def test_a_state_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "node.json").mkdir()
    with pytest.raises(ConfigurationError, match=r"/node\.json, cannot be read \(Is a directory\)"):
        node.remembered(tmp_path)


class Dashboard(ThreadingHTTPServer):
    """Answers as Ray's dashboard does while it starts: with a 500 until Serve's part of it is there."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.statuses = [500, 200]
        self.asked: list[tuple[str, str | None]] = []


class _Answers(BaseHTTPRequestHandler):
    server: Dashboard

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Authorization"]))
        self.send_response(self.server.statuses.pop(0))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    with Dashboard() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_node_is_started_once_serve_takes_a_deploy_and_remembered_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dashboard: Dashboard
) -> None:
    monkeypatch.setattr(node, "_command", lambda *_: [sys.executable, "-c", SLEEPER])
    ports = Ports(http=1, dashboard=dashboard.server_port)
    with node.running(tmp_path, ports, Mode.simple, {"EXTRA": "1"}) as running:
        assert node.require_remembered(tmp_path) == running
        assert (running.http_url, running.ports) == ("http://127.0.0.1:1", ports)
        assert running.token == (tmp_path / "auth_token").read_text()
        assert dashboard.asked == [("/api/serve/applications/", f"Bearer {running.token}")] * 2
        environment = psutil.Process(running.pid).environ()
        assert environment["EXTRA"] == "1"
        assert environment["RAY_AUTH_TOKEN_PATH"] == str(tmp_path / "auth_token")
    assert node.remembered(tmp_path) is None
    assert running.processes() == []


def test_ray_is_started_on_the_chosen_ports_of_this_machine_alone() -> None:
    program, *arguments = node._command(Ports(dashboard=7, metrics=8), gcs_port=9)
    assert program == str(Path(sys.executable).with_name("ray"))
    assert arguments[:3] == ["start", "--head", "--block"]
    assert {
        "--port=9",
        "--dashboard-port=7",
        "--metrics-export-port=8",
        "--node-ip-address=127.0.0.1",
        "--dashboard-host=127.0.0.1",
    } <= {*arguments}


def start(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str, clock: Clock = time) -> str:
    """Start a node that does not come up; what is said."""
    monkeypatch.setattr(node, "_command", lambda *_: [sys.executable, "-c", code])
    with pytest.raises(ConfigurationError) as caught:
        node.start(folder, Ports(dashboard=free_port()), clock=clock)
    assert node.remembered(folder) is None
    return caught.value.detail


def test_a_start_that_fails_leaves_nothing_and_shows_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = start(tmp_path, monkeypatch, "raise SystemExit('no memory left')")
    assert said == "Ray ended while starting:\nno memory left"


def test_a_start_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = start(tmp_path, monkeypatch, SLEEPER, ImpatientClock())
    assert said.startswith("Ray did not come up within 180 s:")


@pytest.mark.parametrize(("address", "is_left"), [("192.0.2.1:6001", False), ("192.0.2.1:6002", True)])
def test_only_our_own_address_is_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, is_left: bool
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    current = tmp_path / "ray" / "ray_current_cluster"
    current.parent.mkdir()
    current.write_text(address)
    node.stop(spawn(tmp_path, "pass").model_copy(update={"gcs_port": 6001}))
    assert current.exists() is is_left


def test_the_secret_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    node._write_secret(tmp_path / "token")
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert len((tmp_path / "token").read_text()) == 64
