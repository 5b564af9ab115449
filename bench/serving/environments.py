"""A virtual environment for each peer, made on first use from `peers/NAME.txt`. Called by `bench.serving.contenders`.

A peer has an environment of its own, because its pinned versions conflict with the project's.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from serve_app.errors import ConfigurationError

PINS = Path(__file__).with_name("peers")
_INSTALL_TIMEOUT_S = 900


def python_of(name: str, folder: Path) -> Path:
    """The interpreter of a peer's environment, installed if it is not. Raises ConfigurationError with pip's reason."""
    pins, environment = PINS / f"{name}.txt", folder / name
    python, stamp = environment / "bin/python", environment / "installed.txt"
    wanted = hashlib.sha256(pins.read_bytes()).hexdigest()
    if not (python.exists() and stamp.is_file() and stamp.read_text() == wanted):
        shutil.rmtree(environment, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(environment)], "the environment cannot be made")
        _run(
            [str(python), *["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"], str(pins)],
            "pip failed",
        )
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
        # pip lists every available version before it says what is wrong.
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no reason was given"]
        raise ConfigurationError(f"{failure}: {errors[-1][:300]}")
