"""The programs `promtool` and `prometheus` of Debian's package. Called by the tests here and by those on a real Ray."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "configs/prometheus"


def find_tool(name: str) -> str:
    """The path of `promtool` or `prometheus`. If it is missing, the test is skipped; in CI it fails."""
    path = shutil.which(name)
    if path is None:
        message = f"{name} is not installed: apt-get install prometheus"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return path


def promtool(*arguments: str | Path, stdin: str | None = None) -> None:
    """Run promtool. If it finds an error, the test fails with its output."""
    command = [find_tool("promtool"), *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
