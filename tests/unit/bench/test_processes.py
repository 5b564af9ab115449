"""All of a contender's processes are found and ended, also those that opened a session of their own."""

import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from bench.processes import Processes, lives

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


def wait_until_stopped(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + 30
    while any(process.status() != psutil.STATUS_STOPPED for process in processes):
        assert time.monotonic() < deadline, "some run on"
        time.sleep(0.01)


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


def test_frozen_ones_use_no_cpu_and_can_still_be_ended(leader: "subprocess.Popen[bytes]") -> None:
    processes = Processes(leader.pid)
    processes.freeze()
    wait_until_stopped(processes.all())
    before = processes.cpu_seconds()
    time.sleep(0.3)
    assert processes.cpu_seconds() == before > 0
    assert processes.memory_bytes() > 1_000_000
    processes.end()
    assert processes.all() == []
