"""All processes of a server are found, measured and ended, also those that opened a session of their own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from bench.processes import Processes, Used, cpu_between, lives, part_of, uninterrupted

# A leader with a child in its session and one in a session of its own, as BentoML's supervisor starts them.
SCRIPT = """
import subprocess, sys, time
sleep = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
for alone in (False, True):
    child = subprocess.Popen(sleep, start_new_session=alone, stdout=subprocess.PIPE)
    child.stdout.readline()
print("up", flush=True)
while True:
    sum(range(10_000))
"""


@pytest.fixture
def leader() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], start_new_session=True, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    processes = Processes(process.pid)
    processes.all()  # known from now on, whatever the test does to the leader
    yield process
    processes.end()
    process.wait()
    process.stdout.close()


def test_none_is_left(leader: "subprocess.Popen[bytes]") -> None:
    processes = Processes(leader.pid)
    found = processes.all()
    assert len(found) == 3
    processes.end()
    assert not any(lives(process) for process in found)


def test_children_are_remembered_when_their_parent_has_died(leader: "subprocess.Popen[bytes]") -> None:
    processes = Processes(leader.pid)
    assert len(processes.all()) == 3
    leader.kill()
    leader.wait()
    assert len(processes.all()) == 2
    processes.end()
    assert processes.all() == []


def test_frozen_ones_go_on_when_thawed_and_can_be_ended(leader: "subprocess.Popen[bytes]") -> None:
    processes = Processes(leader.pid)
    processes.freeze()
    os.waitid(os.P_PID, leader.pid, os.WSTOPPED)  # returns when it is
    processes.thaw()
    os.waitid(os.P_PID, leader.pid, os.WCONTINUED)
    processes.freeze()
    processes.end()
    assert processes.all() == []


def test_cost_is_of_all(leader: "subprocess.Popen[bytes]") -> None:
    found = Processes(leader.pid)
    assert found.memory_bytes() > psutil.Process(leader.pid).memory_full_info().pss
    assert found.cpu_seconds() > 0


@pytest.mark.parametrize(
    ("name", "title", "part"),
    [
        ("haproxy", "/usr/bin/haproxy -f x", "haproxy"),
        ("ray::Serve", "ray::ServeReplica:detect:Router.handle", "router"),
        ("ray::Serve", "ray::ServeReplica:detect:OnnxDeployment", "backend"),
        ("python", "python", "rest of Ray"),
    ],
)
def test_each_process_has_a_part(name: str, title: str, part: str) -> None:
    assert part_of(name, title) == part


def test_processor_time_is_of_those_that_lived_all_the_time() -> None:
    before: Used = {(1, "router"): 1.0, (2, "backend"): 5.0, (3, "router"): 0.5}
    after: Used = {(1, "router"): 1.5, (3, "router"): 0.75, (4, "backend"): 9.0}
    found = cpu_between(before, after)
    assert found["router"] == 0.75
    assert sum(found.values()) == 0.75


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_waits_for_the_end_of_the_block(number: signal.Signals) -> None:
    steps: list[str] = []
    before = signal.signal(number, lambda *_: steps.append("interrupted"))
    try:
        with uninterrupted():
            signal.raise_signal(number)
            steps.append("has its clean-up")
        assert steps == ["has its clean-up", "interrupted"]
        signal.raise_signal(number)
        assert steps[2:] == ["interrupted"]
    finally:
        signal.signal(number, before)
