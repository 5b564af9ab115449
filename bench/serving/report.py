"""Measured rows as a table, JSON and a plot. Used by `bench.serving`."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import command
from bench.serving.figures import STABLE_WINDOWS, STABLE_WITHIN
from bench.serving.measure import Row

_COLUMNS = [
    "load", "contender", "p50 ms", "p95", "p99", "over bare ms", "req/s", "x bare (95 %)",
    "CPU ms/req", "MB", "requests", "not 200"
]  # fmt: skip
NOTE = (
    "x bare: throughput divided by bare's in the same rounds; at a fixed rate, bare's p50 divided by the contender's. "
    f"~: no {STABLE_WINDOWS} consecutive windows have medians within {STABLE_WITHIN:.0%}, so the figures are of all "
    "windows. MB: proportional set size of all processes; ours include the idle Torch backend. Two inferences at once "
    "everywhere: LitServe, BentoML and MLServer in two workers, the others in one process."
)


def table(rows: Sequence[Row]) -> str:
    """In Markdown."""
    return command.markdown(_COLUMNS, [_cells(row) for row in rows], words=2)


def _cells(row: Row) -> list[str]:
    found = row.figures
    return [
        f"{row.load}, {row.rate:.1f}/s" if row.rate else row.load,
        row.contender,
        f"{'' if found.stable else '~'}{found.p50 * 1e3:.1f}",
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
    (folder / "serving.md").write_text(f"{command.line_of(facts)}\n\n{table(rows)}\n\n{NOTE}\n")
    _plot(folder / "serving.png", rows)


def _plain(row: Row) -> dict[str, Any]:
    figures = {
        name: None if isinstance(value, float) and math.isinf(value) else value  # nothing was answered
        for name, value in row.figures._asdict().items()
    }
    return {**row._asdict(), "figures": {**figures, "relative": row.figures.relative._asdict()}}


def _plot(path: Path, rows: Sequence[Row]) -> None:
    from matplotlib.figure import Figure

    loads = list(dict.fromkeys(row.load for row in rows))
    figure = Figure(figsize=(3 * len(loads), 5.2), layout="tight")
    spots = figure.subplots(2, len(loads), sharey=True, squeeze=False)
    for latencies, speeds, load in zip(*spots, loads, strict=True):
        shown = [row for row in rows if row.load == load]
        names, colors = [row.contender for row in shown], ["C0" if "ours" in row.contender else "0.6" for row in shown]
        latencies.barh(names, [_milliseconds(row.figures.p50) for row in shown], color=colors)
        latencies.plot([_milliseconds(row.figures.p95) for row in shown], names, "|", color="0.2", markersize=9)
        latencies.set_xlabel("p50 (bar) and p95 (line), ms", fontsize=8)
        latencies.tick_params(labelsize=8)
        latencies.set_title(load, fontsize=9)
        label = "p50, bare / own" if shown[0].rate else "throughput, own / bare"
        command.bars(speeds, names, [row.figures.relative for row in shown], colors, label)
    spots[0][0].invert_yaxis()  # shared, so it turns them all
    figure.savefig(path, dpi=120)


def _milliseconds(seconds: float) -> float:
    return seconds * 1e3 if math.isfinite(seconds) else 0.0
