"""Measured rows -> table, JSON, Markdown and plot. Used by `bench.serving`."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.serving.contenders import Name
from bench.serving.figures import STABLE_WINDOWS, STABLE_WITHIN
from bench.serving.measure import Row

_COLUMNS = [
    "load", "contender", "p50 ms", "p95", "p99", "over bare ms", "req/s", "x bare (95 %)",
    "CPU ms/req", "MB", "requests", "not 200"
]  # fmt: skip
_WORDS = 2  # columns that hold no number
_UNSTABLE = "~"
NOTE = (
    "x bare: throughput by bare's of the same rounds; under a fixed rate, bare's p50 by theirs. "
    f"{_UNSTABLE}: no {STABLE_WINDOWS} consecutive windows whose medians lie within {STABLE_WITHIN:.0%}, so the "
    "figures are of all windows. MB: proportional set size of all processes; ours hold the idle Torch arm too. "
    "Two inferences at once everywhere: LitServe, BentoML and MLServer in two workers, the others in one process."
)


def table(rows: Sequence[Row]) -> Table:
    """As it is printed."""
    result = Table()
    for number, column in enumerate(_COLUMNS):
        result.add_column(column, justify="left" if number < _WORDS else "right", no_wrap=True)
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        result.add_row(*_cells(row), end_section=following is None or following.load != row.load)
    return result


def markdown(rows: Sequence[Row], facts: dict[str, str]) -> str:
    """The same for a document."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|" + "---|" * _WORDS + "--:|" * (len(_COLUMNS) - _WORDS)]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    return "\n".join([line_of(facts), "", *lines, "", NOTE, ""])


def line_of(facts: dict[str, str]) -> str:
    """What was measured where, in one line."""
    return ", ".join(f"{key} {value}" for key, value in facts.items())


def _cells(row: Row) -> list[str]:
    found = row.figures
    load = f"{row.load}, {row.rate:.1f}/s" if row.rate else row.load
    return [
        load,
        row.contender,
        f"{_UNSTABLE if not found.stable else ''}{found.p50 * 1e3:.1f}",
        f"{found.p95 * 1e3:.1f}",
        f"{found.p99 * 1e3:.1f}",
        f"{found.over_reference * 1e3:+.1f}",
        f"{found.throughput:.1f}",
        f"{found.relative.value:.2f} ({found.relative.low:.2f}-{found.relative.high:.2f})",
        f"{found.cpu_per_request * 1e3:.1f}",
        f"{found.memory_bytes / 1e6:.0f}",
        str(found.requests),
        str(found.failed),
    ]


def write(folder: Path, facts: dict[str, str], rows: Sequence[Row]) -> None:
    """Write serving.json, serving.md and serving.png into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"facts": facts, "rows": [_plain(row) for row in rows]}
    (folder / "serving.json").write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    (folder / "serving.md").write_text(markdown(rows, facts))
    _plot(folder / "serving.png", rows)


def _plain(row: Row) -> dict[str, Any]:
    figures = {
        name: None if isinstance(value, float) and math.isinf(value) else value  # nothing was answered
        for name, value in row.figures._asdict().items()
    }
    return {**row._asdict(), "figures": {**figures, "relative": row.figures.relative._asdict()}}


def _plot(path: Path, rows: Sequence[Row]) -> None:
    import matplotlib

    matplotlib.use("Agg")  # no screen needed
    from matplotlib import pyplot

    loads = list(dict.fromkeys(row.load for row in rows))
    figure, axes = pyplot.subplots(2, len(loads), figsize=(3 * len(loads), 5.2), sharey=True, squeeze=False)
    for column, load in enumerate(loads):
        shown = [row for row in rows if row.load == load]
        _latencies(axes[0][column], shown)
        _speeds(axes[1][column], shown)
        axes[0][column].set_title(load, fontsize=9)
    axes[0][0].invert_yaxis()  # shared, so it turns them all
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _latencies(axis: Any, rows: Sequence[Row]) -> None:
    names = [row.contender for row in rows]
    axis.barh(names, [_drawn(row.figures.p50) for row in rows], color=_colors(rows))
    axis.plot([_drawn(row.figures.p95) for row in rows], names, "|", color="0.2", markersize=9)
    axis.set_xlabel("p50 (bar) and p95 (line), ms", fontsize=8)
    axis.tick_params(labelsize=8)


def _drawn(seconds: float) -> float:
    return seconds * 1e3 if math.isfinite(seconds) else 0.0


def _speeds(axis: Any, rows: Sequence[Row]) -> None:
    ratios = [row.figures.relative for row in rows]
    errors = [[max(one.value - one.low, 0) for one in ratios], [max(one.high - one.value, 0) for one in ratios]]
    axis.barh([row.contender for row in rows], [one.value for one in ratios], xerr=errors, color=_colors(rows))
    axis.axvline(1, color="0.3", linewidth=0.8)
    axis.set_xlabel("p50, bare / own" if rows[0].rate else "throughput, own / bare", fontsize=8)
    axis.tick_params(labelsize=8)


def _colors(rows: Sequence[Row]) -> list[str]:
    ours = {Name.ours_simple: "C0", Name.ours_fast: "C0"}
    return [ours.get(Name(row.contender), "0.6") for row in rows]
