"""What the benchmarks' commands share: one-line errors, the machine, tables. Called by every `__main__` of `bench`."""

import os
import platform
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import typer

from serve_app.detection.engines import cpu
from serve_app.errors import ConfigurationError

_LIBRARIES = ("torch", "transformers", "onnxruntime", "openvino", "numpy")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the command with status 2 and one line where the user has something to repair."""
    try:
        yield
    except ConfigurationError as error:
        sys.stderr.write(f"error: {error.detail}\n")
        raise typer.Exit(2) from None


def require_matplotlib() -> None:
    """Raise ConfigurationError where matplotlib is missing: before minutes of measuring, not after."""
    if find_spec("matplotlib") is None:
        raise ConfigurationError("matplotlib is missing; run: .venv/bin/pip install -c constraints.txt -e '.[bench]'")


def machine(threads: int) -> dict[str, str]:
    """Processor, cores this process may use, load before the start, and the versions that matter."""
    names = re.findall(r"^model name\s*: (.+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    facts = {
        "cpu": names[0] if names else platform.machine(),
        "cores": str(cpu.cores()),
        "threads": str(threads),
        "load before": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
    }
    return facts | {name: version(name) if find_spec(name) else "not installed" for name in _LIBRARIES}


def line_of(facts: dict[str, str]) -> str:
    """What was measured where, in one line."""
    return ", ".join(f"{key} {value}" for key, value in facts.items())


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A Markdown table that can also be read in a terminal; all columns after the first `words` hold numbers."""
    lines = [list(columns), *map(list, rows)]
    widths = [max(3, *map(len, cells)) for cells in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width if n < words else "-" * (width - 1) + ":" for n, width in enumerate(widths)])
    for line in lines:
        line[:] = [line[n].ljust(width) if n < words else line[n].rjust(width) for n, width in enumerate(widths)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
