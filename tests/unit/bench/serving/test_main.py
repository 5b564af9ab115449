"""What the command says when it cannot begin."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from bench.service import ROOT
from bench.serving import __main__ as command


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)


def test_a_missing_photo_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        command.main(photo=tmp_path / "none.jpg")
    assert ended.value.exit_code == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'none.jpg'}: No such file or directory\n"


# The signal arrives inside an `exec` of a text, as while a module with dataclasses is imported.
INTERRUPTED = """
import typer
from bench.serving import __main__ as command
command.run = lambda *_: exec("import os, signal\\nos.kill(os.getpid(), signal.SIGTERM)\\nwhile True: pass")
typer.run(command.main)
"""


def test_an_interruption_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (2, "error: interrupted; every server was ended\n")
