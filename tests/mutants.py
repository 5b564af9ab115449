"""`make mutants`: small changes to the code that decides, and those that no unit test notices.

Cosmic Ray changes one operator, number or condition at a time, in a copy of the checkout, and the tests of that file
and of its folder run. What survives is either a missing test or a change that nobody can see.
"""

import contextlib
import difflib
import importlib
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer

ROOT = Path(__file__).parents[1]
_SAME_PLACE = 2  # of the eleven operators that may stand for another one; comparisons are tried with all
_SLACK_S = 20.0
_LOADED = ".loaded"
# The libraries are loaded before pytest can rewrite what it would rewrite in them.
_OPTIONS = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]


def targets() -> dict[Path, list[str]]:
    """The files to change, each with the tests to run: those of the file first, as they are the likeliest to fail."""
    found: dict[Path, list[str]] = {}
    for name, tests in _configured().items():
        files = sorted((ROOT / name).glob("*.py")) if (ROOT / name).is_dir() else [ROOT / name]
        for file in (file.relative_to(ROOT) for file in files if file.name != "__init__.py"):
            own = f"{tests}/test_{file.name}"
            found[file] = [own, tests] if (ROOT / own).is_file() else [tests]
    return found


def main(
    files: Annotated[list[Path] | None, typer.Argument(help="Only these of the files.")] = None,
    at_once: Annotated[int, typer.Option(min=1, help="Files that are worked on at the same time.")] = 2,
) -> None:
    """Change every file in every way, and print the changes that no test noticed."""
    if strangers := sorted(map(str, set(files or []) - targets().keys())):
        raise typer.BadParameter(f"no target: {', '.join(strangers)}; see [tool.mutants] in pyproject.toml")
    chosen = {file: tests for file, tests in targets().items() if not files or file in files}
    tried = survived = 0
    with ProcessPoolExecutor(at_once, get_context("spawn"), max_tasks_per_child=1) as pool:
        for file, (count, survivors) in zip(chosen, pool.map(survivors_of, chosen, chosen.values()), strict=True):
            typer.echo("\n".join([f"{file}: {len(survivors)} of {count} survived", *survivors]))
            tried, survived = tried + count, survived + len(survivors)
    typer.echo(f"{survived} of {tried} survived")


def survivors_of(file: Path, tests: list[str]) -> tuple[int, list[str]]:
    """How many changes were tried on one file, and those that its tests did not notice, each with its place."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    sys.dont_write_bytecode = True  # two changes may come within the second that a file's time is told in
    survivors = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, contextlib.chdir(folder):
        _copy_checkout(Path(folder))
        _pass(tests, math.inf)
        for name in Path(_LOADED).read_text().split():
            with contextlib.suppress(Exception):
                importlib.import_module(name)  # once here, and in no test process after this
        began = time.monotonic()
        if not _pass(tests, math.inf):
            raise RuntimeError(f"the tests of {file} fail before any change: {' '.join(tests)}")
        limit = 3 * (time.monotonic() - began) + _SLACK_S  # a change may make an endless loop
        right, changes = file.read_text(), list(_changes(file))
        for change in changes:
            wrong = mutate_code(right, get_operator(change.operator_name)(), change.occurrence)
            file.write_text(wrong)
            if _pass(tests, limit):
                survivors.append(f"  {file}:{change.start_pos[0]}\n{_difference(right, wrong)}")
    return len(changes), survivors


def _pass(tests: list[str], limit_s: float) -> bool:
    """Whether the tests pass, in a process that has loaded the libraries already and imports the code anew."""
    process = get_context("fork").Process(target=_test, args=(tests,))
    process.start()
    process.join(None if limit_s == math.inf else limit_s)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode == 0


def _test(tests: list[str]) -> None:
    import pytest

    here = os.getcwd()
    sys.path.insert(0, here)
    ours = {"tests", *(name.partition("/")[0] for name in _configured())}
    for name in [name for name in sys.modules if name.partition(".")[0] in ours]:
        del sys.modules[name]  # this command's own, from the checkout and not from the copy
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        status = pytest.main([*_OPTIONS, *tests])
    modules = [
        name
        for name, module in list(sys.modules.items())
        if not (getattr(module, "__file__", "") or "").startswith(here)
    ]
    Path(_LOADED).write_text("\n".join(modules))
    os._exit(int(status))


def _copy_checkout(folder: Path) -> None:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def _changes(file: Path) -> Iterator[Any]:
    """Cosmic Ray's changes to a file of the current folder."""
    from cosmic_ray.commands import init
    from cosmic_ray.work_db import WorkDB, use_db

    with use_db("session.sqlite", WorkDB.Mode.create) as session:
        init([file], session, {})
        mutations = [mutation for item in session.work_items for mutation in item.mutations]
    seen: Counter[tuple[str, Any]] = Counter()
    for mutation in mutations:
        if mutation.operator_name.endswith(("_Is", "_IsNot")):
            continue  # between numbers and texts, nobody could see the difference
        family = mutation.operator_name.partition("_")[0]
        seen[family, mutation.start_pos] += 1
        if seen[family, mutation.start_pos] <= (_SAME_PLACE if "Binary" in family else math.inf):
            yield mutation


def _difference(right: str, wrong: str) -> str:
    lines = difflib.ndiff(right.splitlines(), wrong.splitlines())
    return "\n".join(f"    {line}" for line in lines if line[:2] in ("- ", "+ "))


def _configured() -> dict[str, str]:
    found: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutants"]
    return found


if __name__ == "__main__":
    typer.run(main)
