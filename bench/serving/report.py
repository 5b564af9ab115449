"""Measurements of servers as a table and a plot. Used by `bench.serving`."""

import math
from collections.abc import Sequence
from pathlib import Path

from bench import command
from bench.report import Group, write
from bench.serving.figures import STABLE_WINDOWS, STABLE_WITHIN, Figures
from bench.serving.measure import Row
from bench.statistics import Interval

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
        found.relative.shown(),
        f"{found.cpu_per_request * 1e3:.1f}",
        f"{found.memory_bytes / 1e6:.0f}",
        str(found.requests),
        str(found.failed),
    ]


def save(folder: Path, facts: dict[str, str], rows: Sequence[Row]) -> None:
    """Write serving.json, serving.md and serving.png into `folder`."""
    latencies: list[Group] = []
    speeds: list[Group] = []
    for load in dict.fromkeys(row.load for row in rows):
        shown = [(row.contender, "ours" in row.contender, row.figures) for row in rows if row.load == load]
        latencies.append((load, "p50 to p95, ms", [(name, _to_p95(one), own) for name, own, one in shown]))
        speeds.append((load, "times as fast as bare", [(name, one.relative, own) for name, own, one in shown]))
    text = f"{command.line_of(facts)}\n\n{table(rows)}\n\n{NOTE}"
    write(folder, "serving", {"facts": facts, "rows": list(rows)}, text, [latencies, speeds])


def _to_p95(found: Figures) -> Interval:
    p50, p95 = (seconds * 1e3 if math.isfinite(seconds) else 0.0 for seconds in (found.p50, found.p95))
    return Interval(p50, p50, p95)
