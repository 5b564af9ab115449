"""What the benchmarks' commands share: one-line errors, tables and bars. Called by every `__main__` of `bench`."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

import typer

from bench.statistics import Interval
from serve_app.errors import ConfigurationError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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


def line_of(facts: dict[str, str]) -> str:
    """What was measured where, in one line."""
    return ", ".join(f"{key} {value}" for key, value in facts.items())


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A Markdown table that can also be read in a terminal; all columns after the first `words` hold numbers."""
    lines = [list(columns), *map(list, rows)]
    widths = [max(3, *map(len, cells)) for cells in zip(*lines, strict=True)]
    rule = ["-" * width if n < words else "-" * (width - 1) + ":" for n, width in enumerate(widths)]
    aligned = [
        [
            cell.ljust(width) if n < words else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in [lines[0], rule, *lines[1:]]
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in aligned)


def bars(axes: "Axes", names: Sequence[str], values: Sequence[Interval], colors: Sequence[str], label: str) -> None:
    """Horizontal bars with their intervals; 1 is marked, as the reference."""
    errors = [[max(one.value - one.low, 0) for one in values], [max(one.high - one.value, 0) for one in values]]
    axes.barh(names, [one.value for one in values], xerr=errors, color=colors)
    axes.axvline(1, color="0.3", linewidth=0.8)
    axes.set_xlabel(label, fontsize=8)
    axes.tick_params(labelsize=8)
