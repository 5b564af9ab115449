"""Measurements of engines as a table and a plot. Used by `bench.engines`."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench import command
from bench.report import Bar, Group, write
from bench.statistics import Interval

_COLUMNS = ["model", "size", "engine", "ms", "x Torch fp32 (95 %)", "GFLOP", "of peak", "MB", "score off", "box off"]


class Row(NamedTuple):
    """One engine and precision on one model and image size."""

    model: str
    height: int
    width: int
    contender: str
    seconds: float
    ratio: Interval
    operations: int
    peak_bytes: int
    score_deviation: float
    box_deviation: float
    unmatched: int


def table(rows: Sequence[Row], peak: float) -> str:
    """In Markdown; `peak` is the machine's in operations per second."""
    return command.markdown(_COLUMNS, [_cells(row, peak) for row in rows], words=3)


def _cells(row: Row, peak: float) -> list[str]:
    milliseconds = row.seconds * 1e3
    return [
        row.model,
        f"{row.height}x{row.width}",
        row.contender,
        f"{milliseconds:.0f}" if milliseconds >= 100 else f"{milliseconds:.1f}",
        row.ratio.shown(),
        f"{row.operations / 1e9:.1f}",
        f"{row.operations / row.seconds / peak:.0%}",
        f"{row.peak_bytes / 1e6:.0f}",
        f"{row.unmatched} lost" if row.unmatched else f"{row.score_deviation:.1e}",
        f"{row.box_deviation:.1e}",
    ]


def save(folder: Path, machine: dict[str, str], peak: float, rows: Sequence[Row]) -> None:
    """Write engines.json, engines.md and engines.png into `folder`."""
    groups: dict[str, list[Bar]] = {}
    for row in rows:
        group = f"{row.model} {row.height}x{row.width}"
        groups.setdefault(group, []).append((row.contender, row.ratio, "torch" not in row.contender))
    plots: list[Group] = [(group, "times as fast as Torch fp32", bars) for group, bars in groups.items()]
    content = {"machine": machine, "peak": peak, "rows": list(rows)}
    write(folder, "engines", content, table(rows, peak), [plots])
