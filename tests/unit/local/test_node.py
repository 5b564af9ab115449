"""Starting and ending what is ours: ports, process sessions, half-dead runs."""

import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from serve_app.errors import ConfigurationError
from serve_app.local import node
from serve_app.local.ports import Ports, free_port

PARENT_WITH_CHILD = "import os, time; os.fork(); time.sleep(60)"


def spawn(folder: Path, code: str) -> node.Node:
    pid = node._spawn([sys.executable, "-c", code], dict(os.environ), folder / "log")
    return node.Node(folder=folder, ports=Ports(), pid=pid, leader_born=node.born(pid))


def wait_for(count: int, running: node.Node) -> None:
    deadline = time.monotonic() + 30
    while len(running.processes()) != count:
        assert time.monotonic() < deadline, running.processes()
        time.sleep(0.05)


def test_stopping_ends_also_children_whose_parent_died(tmp_path: Path) -> None:
    running = spawn(tmp_path, PARENT_WITH_CHILD)
    wait_for(2, running)
    os.kill(running.pid, signal.SIGKILL)
    os.waitpid(running.pid, 0)
    assert len(running.processes()) == 1
    node.stop(running)
    assert running.processes() == []


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    running = spawn(tmp_path, code)
    deadline = time.monotonic() + 30
    while "deaf" not in (tmp_path / "log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    node.stop(running)
    assert running.processes() == []


def test_strangers_are_never_ours(tmp_path: Path) -> None:
    ours, stranger = spawn(tmp_path, "import time; time.sleep(60)"), spawn(tmp_path, "import time; time.sleep(60)")
    try:
        wait_for(1, stranger)
        node.stop(ours)
        assert [process.pid for process in stranger.processes()] == [stranger.pid]
    finally:
        node.stop(stranger)


@pytest.mark.parametrize("seconds", [-100, 100])
def test_a_reused_number_is_not_ours(tmp_path: Path, seconds: float) -> None:
    running = spawn(tmp_path, "import time; time.sleep(60)")
    try:
        wait_for(1, running)
        before = running.model_copy(update={"leader_born": running.leader_born + seconds})
        assert before.processes() == []
    finally:
        node.stop(running)


def test_children_of_an_older_session_with_the_same_number_are_not_ours(tmp_path: Path) -> None:
    running = spawn(tmp_path, PARENT_WITH_CHILD)
    try:
        wait_for(2, running)
        os.kill(running.pid, signal.SIGKILL)
        os.waitpid(running.pid, 0)
        later = running.model_copy(update={"leader_born": running.leader_born + 100})
        assert later.processes() == []
    finally:
        node.stop(running)


@pytest.mark.parametrize("step_s", [-3600, 3600])
@pytest.mark.parametrize("cut", [0.0, 0.999])
def test_ours_are_known_also_after_the_clock_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_s: float, cut: float
) -> None:
    running = spawn(tmp_path, "import time; time.sleep(60)")
    try:
        wait_for(1, running)
        boot_time = psutil.boot_time() + step_s
        monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot_time - cut)  # what it makes process times from
        monkeypatch.setattr("psutil.boot_time", lambda: boot_time)
        assert [process.pid for process in running.processes()] == [running.pid]
    finally:
        monkeypatch.undo()
        node.stop(running)


def test_nothing_is_remembered_before_the_first_start(tmp_path: Path) -> None:
    assert node.remembered(tmp_path) is None


@pytest.mark.parametrize("content", ["", '{"pid": 1'])
def test_a_damaged_memory_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "node.json").write_text(content)
    with pytest.raises(ConfigurationError, match=r"node\.json, which tells what was started, is damaged"):
        node.remembered(tmp_path)


def test_a_start_that_fails_leaves_nothing_and_shows_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "_command", lambda *_: [sys.executable, "-c", "raise SystemExit('no memory left')"])
    with pytest.raises(ConfigurationError, match="Ray ended while starting:\nno memory left"):
        node.start(tmp_path, Ports(dashboard=free_port()))
    assert node.remembered(tmp_path) is None


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
