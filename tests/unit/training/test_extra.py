"""Without the `training` extra: what needs it says so in one line, everything else works."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def without(library: str, folder: Path) -> Path:
    """A folder that, first on the path, makes the library look as if it were not installed."""
    (folder / f"{library}.py").write_text(f"raise ModuleNotFoundError('gone', name={library!r})\n")
    return folder


@pytest.mark.parametrize("library", ["cv2", "pycocotools"])
@pytest.mark.parametrize("module", ["training.train", "training.evaluate"])
def test_what_needs_the_extra_names_it(
    tmp_path: Path, module: str, library: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(without(library, tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] in ("training", library)]:
        monkeypatch.delitem(sys.modules, name)  # the test's end puts them back
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(module)
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: {library} is not installed; run: {sys.executable} -m pip install -e '.[training]'"
    ]


@pytest.mark.parametrize("module", ["training.scenes", "demo.draw"])
def test_what_does_not_need_it_works(tmp_path: Path, module: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(without("cv2", tmp_path))}
    command = [sys.executable, "-m", module, "--help"]
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=300, check=True)
