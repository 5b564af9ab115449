"""Measurements -> table, JSON and plot. Used by `bench.engines`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from bench.statistics import Ratio

_COLUMNS = ["model", "size", "engine", "ms", "x Torch fp32 (95 %)", "GFLOP", "of peak", "MB", "score off", "box off"]
_WORDS = 3  # columns that hold no number


class Row(NamedTuple):
    """One engine and precision on one model and image size."""

    model: str
    height: int
    width: int
    contender: str
    seconds: float
    ratio: Ratio
    operations: int
    peak_bytes: int
    score_deviation: float
    box_deviation: float
    unmatched: int


def table(rows: Sequence[Row], peak: float) -> Table:
    """As it is printed; `peak` is the machine's in operations per second."""
    result = Table()
    for number, column in enumerate(_COLUMNS):
        result.add_column(column, justify="left" if number < _WORDS else "right")
    for row in rows:
        result.add_row(*_cells(row, peak), end_section=row.contender == rows[-1].contender)
    return result


def markdown(rows: Sequence[Row], peak: float) -> str:
    """The same table for a document."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|" + "---|" * _WORDS + "--:|" * (len(_COLUMNS) - _WORDS)]
    lines += ["| " + " | ".join(_cells(row, peak)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


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
    (folder / "engines.md").write_text(markdown(rows, peak))
    _plot(folder / "engines.png", rows)


def _plot(path: Path, rows: Sequence[Row]) -> None:
    import matplotlib

    matplotlib.use("Agg")  # no screen needed
    from matplotlib import pyplot

    groups = sorted({(row.model, row.height, row.width) for row in rows})
    figure, axes = pyplot.subplots(1, len(groups), figsize=(3.2 * len(groups), 3), sharey=True, squeeze=False)
    for axis, group in zip(axes[0], groups, strict=True):
        shown = [row for row in rows if (row.model, row.height, row.width) == group]
        names, values = [row.contender for row in shown], [row.ratio.value for row in shown]
        errors = [
            [max(row.ratio.value - row.ratio.low, 0) for row in shown],
            [max(row.ratio.high - row.ratio.value, 0) for row in shown],
        ]
        axis.barh(names, values, xerr=errors, color=["0.6" if name.startswith("torch") else "C0" for name in names])
        axis.axvline(1, color="0.3", linewidth=0.8)
        axis.set_title(f"{group[0]} {group[1]}x{group[2]}", fontsize=9)
        axis.set_xlabel("times as fast as Torch fp32", fontsize=8)
        axis.tick_params(labelsize=8)
    axes[0][0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
