"""Measurements as a table, JSON and a plot. Used by `bench.engines`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench import command
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
        f"{row.ratio.value:.2f} ({row.ratio.low:.2f}-{row.ratio.high:.2f})",
        f"{row.operations / 1e9:.1f}",
        f"{row.operations / row.seconds / peak:.0%}",
        f"{row.peak_bytes / 1e6:.0f}",
        f"{row.unmatched} lost" if row.unmatched else f"{row.score_deviation:.1e}",
        f"{row.box_deviation:.1e}",
    ]


def write(folder: Path, machine: dict[str, str], peak: float, rows: Sequence[Row]) -> None:
    """Write engines.json, engines.md and engines.png into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": machine,
        "peak": peak,
        "rows": [{**row._asdict(), "ratio": row.ratio._asdict()} for row in rows],
    }
    (folder / "engines.json").write_text(json.dumps(content, indent=2) + "\n")
    (folder / "engines.md").write_text(table(rows, peak) + "\n")
    _plot(folder / "engines.png", rows)


def _plot(path: Path, rows: Sequence[Row]) -> None:
    from matplotlib.figure import Figure

    groups = sorted({(row.model, row.height, row.width) for row in rows})
    figure = Figure(figsize=(3.2 * len(groups), 3), layout="tight")
    spots = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axes, group in zip(spots, groups, strict=True):
        shown = [row for row in rows if (row.model, row.height, row.width) == group]
        colors = ["0.6" if row.contender.startswith("torch") else "C0" for row in shown]
        names, ratios = [row.contender for row in shown], [row.ratio for row in shown]
        command.bars(axes, names, ratios, colors, "times as fast as Torch fp32")
        axes.set_title(f"{group[0]} {group[1]}x{group[2]}", fontsize=9)
    spots[0].invert_yaxis()
    figure.savefig(path, dpi=120)
