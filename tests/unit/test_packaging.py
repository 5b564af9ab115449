"""What the wheel carries, and the Pythons that it declares."""

import tomllib
from pathlib import Path

from setuptools import find_packages

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_wheel_carries_the_service_and_the_export_alone() -> None:
    find = SETTINGS["tool"]["setuptools"]["packages"]["find"]
    assert find.pop("namespaces") is False, "otherwise folders without __init__.py count too"
    found = set(find_packages(str(ROOT), **find))
    folders = {path.parent for room in ("serve_app", "export") for path in (ROOT / room).rglob("*.py")}
    assert found == {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert {package.partition(".")[0] for package in found} == {"serve_app", "export"}


def test_the_declared_pythons_agree() -> None:
    project = SETTINGS["project"]
    prefix = "Programming Language :: Python :: 3."
    minors = sorted(int(entry.removeprefix(prefix)) for entry in project["classifiers"] if entry.startswith(prefix))
    assert project["requires-python"] == f">=3.{minors[0]},<3.{minors[-1] + 1}"
    assert SETTINGS["tool"]["ruff"]["target-version"] == f"py3{minors[0]}"
    assert SETTINGS["tool"]["mypy"]["python_version"] == f"3.{minors[0]}"
