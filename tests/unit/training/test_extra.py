"""Without the `training` extra: what needs it says so in one line, what does not goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def run_without(library: str, folder: Path, module: str) -> subprocess.CompletedProcess[str]:
    (folder / f"{library}.py").write_text(f"raise ModuleNotFoundError('gone', name={library!r})\n")
    environment = os.environ | {"PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", module, "--help"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("library", ["cv2", "pycocotools"])
@pytest.mark.parametrize("module", ["training.train", "training.evaluate"])
def test_what_needs_the_extra_names_it(tmp_path: Path, module: str, library: str) -> None:
    result = run_without(library, tmp_path, module)
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        f"error: {library} is not installed; run: {sys.executable} -m pip install -e '.[training]'"
    ]


@pytest.mark.parametrize("module", ["training.scenes", "demo.draw"])
def test_what_does_not_need_it_goes_on(tmp_path: Path, module: str) -> None:
    assert run_without("cv2", tmp_path, module).returncode == 0
