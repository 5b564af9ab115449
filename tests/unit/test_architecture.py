"""The contracts in pyproject.toml hold for this tree, each of them can fail, and every module says what it holds."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINTER = Path(sys.executable).with_name("lint-imports")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what is linted, to break."""
    for package in ("serve_app", "export"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def broken(folder: Path) -> list[str]:
    """The names of the contracts that the linter calls broken in `folder`."""
    environment = os.environ | {"COLUMNS": "200", "PYTHONPATH": str(folder)}
    command = [str(LINTER), "--no-cache", "--no-logo"]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    found = re.findall(r"^(.+) BROKEN\b", ran.stdout, re.MULTILINE)
    assert (ran.returncode != 0) == bool(found), ran.stdout + ran.stderr
    return found


def test_the_contracts_hold(tree: Path) -> None:
    assert broken(tree) == []


@pytest.mark.parametrize(
    ("contract", "module", "line"),
    [
        ("The rooms of the service", "serve_app/errors.py", "import serve_app.schemas"),
        ("The rooms of the service", "serve_app/rollout/__init__.py", "import json"),
        ("Inside http", "serve_app/http/cookies.py", "import json"),
        ("Inside traffic", "serve_app/traffic/split.py", "import serve_app.traffic.dispatch"),
        ("Inside backends", "serve_app/backends/retries.py", "import json"),
        ("Inside detection", "serve_app/detection/spec.py", "import serve_app.detection.pipeline"),
        ("Inside detection.engines", "serve_app/detection/engines/torch.py", "import serve_app.detection.engines.onnx"),
        ("Inside detection.model", "serve_app/detection/model/checkpoint.py", "from . import artifact"),
        ("Inside observability", "serve_app/observability/scrape.py", "import serve_app.observability.metrics"),
        ("Inside config", "serve_app/config/comparable.py", "import serve_app.config.serve_file"),
        ("Inside local", "serve_app/local/ports.py", "import serve_app.local.node"),
        ("The service imports nothing of what surrounds it", "serve_app/check.py", "def f(): import bench.flops"),
        ("The export needs neither training nor measurements", "export/write.py", "import training.labels"),
        ("PyTorch is imported by its engine alone", "serve_app/detection/processing.py", "from torch import nn"),
        ("ONNX Runtime is imported by its engine alone", "serve_app/detection/spec.py", "import onnxruntime"),
        ("OpenVINO is imported by its engine alone", "serve_app/detection/spec.py", "import openvino"),
        ("Ray is imported where the service meets it", "serve_app/traffic/split.py", "import ray.serve"),
    ],
)
def test_each_contract_can_fail(tree: Path, contract: str, module: str, line: str) -> None:
    path = tree / module
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write(f"\n{line}\n")
    assert broken(tree) == [contract]


@pytest.mark.parametrize("package", ["serve_app", "export", "demo", "training"])
def test_every_module_says_what_it_holds(package: str) -> None:
    """A room of the service does so in its `__init__.py`."""
    modules = {path for path in (ROOT / package).rglob("*.py") if path.name != "__init__.py"}
    rooms = set((ROOT / "serve_app").glob("*/**/__init__.py")) if package == "serve_app" else set()
    silent = [path for path in modules | rooms if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []
