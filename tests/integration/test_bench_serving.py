"""A short run of `python -m bench.serving`: it measures something, and leaves nothing running. No limits on time."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

from bench.load.plan import Span
from bench.processes import of_each
from bench.service import ROOT
from bench.serving.__main__ import run
from bench.serving.contenders import Name
from bench.serving.measure import Plan

pytestmark = pytest.mark.integration

SHORT = Plan([2], [0.5], warm_up=Span(0.0, 0.3), span=Span(0.1, 0.5), rounds=3)
MARK = "DETECT_AB_SMOKE"


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """A variable that everything started from now on carries in its environment."""
    value = uuid.uuid4().hex
    monkeypatch.setenv(MARK, value)
    return value


def carriers(mark: str) -> list[psutil.Process]:
    marked = of_each(psutil.process_iter(), lambda process: (process, process.environ().get(MARK)))
    return [process for process, value in marked if value == mark and process.pid != os.getpid()]


def commands(processes: list[psutil.Process]) -> list[str]:
    return list(of_each(processes, lambda process: " ".join(process.cmdline())))


def until_none_carries(mark: str) -> list[psutil.Process]:
    """Who is left after some patience: multiprocessing's resource tracker ends a moment after its parent."""
    deadline = time.monotonic() + 10
    while (left := carriers(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def test_it_measures_ours_beside_bare(tmp_path: Path, mark: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = [Name.bare, Name.ours_simple]
    rows = run(names, SHORT, tmp_path / "out")

    printed = capsys.readouterr().out
    assert "left out none" in printed
    assert [row.contender for row in rows] == names * SHORT.loads
    for row in rows:
        assert row.figures.requests > 0
        assert row.figures.failed == 0
        assert 0 < row.figures.p50 <= row.figures.p95 <= row.figures.p99
        assert row.figures.cpu_per_request > 0
        assert row.figures.memory_bytes > 10_000_000
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"serving.json", "serving.md", "serving.png"}
    assert len(json.loads((tmp_path / "out/serving.json").read_text())["rows"]) == len(rows)
    left = [command for command in commands(until_none_carries(mark)) if "resource_tracker" not in command]
    assert left == []


def test_it_ends_its_servers_when_it_is_told_to_stop(tmp_path: Path, mark: str) -> None:
    command = [sys.executable, "-m", "bench.serving", "--quick", "--only", "bare", "--out", str(tmp_path)]
    benchmark = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not any("bare_server" in command for command in commands(carriers(mark))):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        benchmark.send_signal(signal.SIGTERM)
        _, error = benchmark.communicate(timeout=60)
        assert (benchmark.returncode, error) == (2, "error: interrupted; every server was ended\n")
        assert until_none_carries(mark) == []
    finally:
        for process in carriers(mark):
            process.kill()
        benchmark.wait()
