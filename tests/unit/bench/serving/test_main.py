"""What the command says when it cannot begin."""

import os
import subprocess
import sys
from pathlib import Path

from bench.service import ROOT

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
