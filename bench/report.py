"""Measurements as a table, JSON and bars in one folder. Used by `bench.engines` and `bench.serving`."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.statistics import Interval

Bar = tuple[str, Interval, bool]  # name, value, whether it is ours
Group = tuple[str, str, list[Bar]]  # title, what its axis shows, bars


def write(folder: Path, name: str, content: dict[str, Any], text: str, grid: Sequence[Sequence[Group]]) -> None:
    """Write `name`.json, .md and .png into `folder`; the plot has a row of groups of bars for each row of `grid`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")
    (folder / f"{name}.md").write_text(f"{text}\n")
    _plot(folder / f"{name}.png", grid)


def _plain(value: Any) -> Any:
    """Named tuples by their names, and nothing for infinity, which JSON does not have."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and math.isinf(value) else value


def _plot(path: Path, grid: Sequence[Sequence[Group]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.1 * len(grid[0]), 2.8 * len(grid)), layout="tight")
    spots = figure.subplots(len(grid), len(grid[0]), sharey=True, squeeze=False)
    for axes, (title, label, bars) in zip(spots.flat, (group for row in grid for group in row), strict=True):
        names, values, ours = zip(*bars, strict=True)
        errors = [[max(one.value - one.low, 0) for one in values], [max(one.high - one.value, 0) for one in values]]
        axes.barh(names, [one.value for one in values], xerr=errors, color=["C0" if own else "0.6" for own in ours])
        axes.axvline(1, color="0.3", linewidth=0.8)
        axes.set_xlabel(label, fontsize=8)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=8)
    spots[0][0].invert_yaxis()  # shared, so it turns them all
    figure.savefig(path, dpi=120)
