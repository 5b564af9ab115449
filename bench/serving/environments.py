"""A virtual environment for each peer, made on first use from `peers/NAME.txt`. Called by `bench.serving.contenders`.

A peer never shares the project's environment: its pins are not ours, and it must not be able to break them.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from serve_app.errors import ConfigurationError

PINS = Path(__file__).with_name("peers")
_STAMP = "installed.txt"
_INSTALL_TIMEOUT_S = 900


def python_of(name: str, folder: Path) -> Path:
    """The interpreter of a peer's environment, installed if it is not. Raises ConfigurationError with pip's reason."""
    pins, environment = PINS / f"{name}.txt", folder / name
    python, stamp = environment / "bin/python", environment / _STAMP
    wanted = hashlib.sha256(pins.read_bytes()).hexdigest()
    if python.exists() and stamp.is_file() and stamp.read_text() == wanted:
        return python.absolute()
    shutil.rmtree(environment, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(environment)], "the environment cannot be made")
    quiet = ["--quiet", "--disable-pip-version-check"]
    _run([str(python), "-m", "pip", "install", *quiet, "-r", str(pins)], "pip failed")
    stamp.write_text(wanted)
    return python.absolute()


def version_of(name: str) -> str:
    """Which release of a peer its pins name."""
    lines = (PINS / f"{name}.txt").read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith(f"{name}=="))


def _run(command: list[str], failure: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"{failure}: {error}") from None
    if done.returncode:
        # pip lists every version there is before it says what is wrong.
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no word why"]
        raise ConfigurationError(f"{failure}: {errors[-1][:300]}")
