"""The decision dashboard's graphs as a picture, from Prometheus' answers to their expressions. For `bench.picture`."""

import json
import math
from pathlib import Path
from typing import Any

import httpx
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

_DASHBOARD = Path("configs/grafana/dashboards/decide.json")
_ARMS = {"torch": "#d9730d", "onnx": "#1f6fd0"}
_OTHERS = ["#2a9d5c", "#8a4fbf", "#c2185b", "#7a7a7a", "#b8a200", "#00838f"]
_COLUMNS = 3
_STEP_S = 5
Points = tuple[list[float], list[float]]


class Source:
    """Prometheus over the time of the run."""

    def __init__(self, url: str, start: float, end: float, rate_interval: str = "30s") -> None:
        self._client = httpx.Client(base_url=f"{url}/api/v1", timeout=60, trust_env=False)
        self._span = {"start": start, "end": end, "step": _STEP_S}
        self._variables = {"$job": ".+", "$instance": ".+", "$__rate_interval": rate_interval}

    def series(self, expr: str, legend: str) -> dict[str, Points]:
        """Minutes and values of each series by its legend, as Grafana would write it."""
        for variable, value in self._variables.items():
            expr = expr.replace(variable, value)
        answer = self._client.get("/query_range", params={"query": expr, **self._span}).raise_for_status().json()
        return {_legend(legend, found["metric"]): self._points(found["values"]) for found in answer["data"]["result"]}

    def _points(self, values: list[list[Any]]) -> Points:
        minutes = [(at - self._span["start"]) / 60 for at, _ in values]
        return minutes, [float(value) if math.isfinite(float(value)) else math.nan for _, value in values]


def _legend(template: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        template = template.replace("{{" + name + "}}", value)
    return template


def draw(source: Source, path: Path, caption: str) -> None:
    """Every graph of the decision dashboard, in its order."""
    board = json.loads(_DASHBOARD.read_text())
    panels = [panel for panel in board["panels"] if panel["type"] == "timeseries"]
    changes = source.series(board["annotations"]["list"][0]["expr"], "changed")
    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    rows = math.ceil(len(panels) / _COLUMNS)
    figure = Figure(figsize=(5 * _COLUMNS, 2.9 * rows), layout="constrained")
    figure.suptitle(caption, fontsize=10, color="#444444")
    spots = figure.subplots(rows, _COLUMNS, sharex=True, squeeze=False).flatten()
    for spot, panel in zip(spots, panels, strict=False):
        _draw_panel(spot, panel, source)
        for minute in _first_of_each(changes):
            spot.axvline(minute, color="#8a4fbf", linewidth=1, linestyle=":")
    for spot in spots[len(panels) :]:
        spot.set_axis_off()
    _on_one_scale([spot for spot in spots if spot.get_title(loc="left").startswith("Stages")])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _on_one_scale(side_by_side: list[Axes]) -> None:
    # A little more than the highest bar, for the legend.
    top = 1.2 * max((axes.get_ylim()[1] for axes in side_by_side), default=1)
    for axes in side_by_side:
        axes.set_ylim(0, top)


def _first_of_each(changes: dict[str, Points]) -> list[float]:
    """Where each run of neighbouring points begins."""
    minutes = [minute for found, _ in changes.values() for minute in found]
    return [minute for index, minute in enumerate(minutes) if index == 0 or minute - minutes[index - 1] > _STEP_S / 30]


def _draw_panel(axes: Axes, panel: dict[str, Any], source: Source) -> None:
    lines: dict[str, Points] = {}
    for target in panel["targets"]:
        lines |= source.series(target["expr"], target["legendFormat"])
    if panel["fieldConfig"]["defaults"].get("custom", {}).get("drawStyle") == "bars":
        _bars(axes, lines)
    elif {"lower", "value", "upper"} <= lines.keys():
        _band(axes, lines)
    else:
        _lines(axes, lines)
    axes.set_title(panel["title"], loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel("minutes", fontsize=8)
    axes.tick_params(labelbottom=True)
    axes.set_axisbelow(True)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(_formatter(panel["fieldConfig"]["defaults"]["unit"])))
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.6)


def _lines(axes: Axes, lines: dict[str, Points]) -> None:
    others = iter(_OTHERS * 5)
    for legend, (minutes, values) in sorted(lines.items()):
        if not any(value > 0 for value in values) and len(lines) > 4:
            continue  # of the many reasons for a fallback, those that happened
        color = _ARMS.get(legend) or next(others)
        axes.plot(minutes, values, label=legend, color=color, linewidth=1.6)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=8, frameon=False, ncols=2)


def _band(axes: Axes, lines: dict[str, Points]) -> None:
    minutes, lower = lines["lower"]
    top = 2 * max((value for value in lines["value"][1] if not math.isnan(value)), default=1)
    upper = dict(zip(*lines["upper"], strict=True))
    # An open band goes out of the picture.
    above = [top * 10 if math.isnan(upper.get(minute, math.nan)) else upper[minute] for minute in minutes]
    axes.fill_between(minutes, lower, above, color=_ARMS["onnx"], alpha=0.18, linewidth=0, label="95 % band")
    axes.plot(*lines["value"], color=_ARMS["onnx"], linewidth=1.6, label="ratio")
    axes.axhline(1, color="#444444", linewidth=0.8)
    axes.set_ylim(0, max(top, 1.5))
    axes.legend(fontsize=8, frameon=False, ncols=2)


def _bars(axes: Axes, lines: dict[str, Points]) -> None:
    heights: dict[float, float] = {}
    for color, (legend, (minutes, values)) in zip(_OTHERS, sorted(lines.items()), strict=False):
        shown = [0.0 if math.isnan(value) else value for value in values]
        below = [heights.get(minute, 0.0) for minute in minutes]
        axes.bar(minutes, shown, width=_STEP_S / 60 * 0.9, bottom=below, color=color, label=legend)
        heights |= {minute: low + value for minute, low, value in zip(minutes, below, shown, strict=True)}
    axes.legend(fontsize=8, frameon=False, ncols=5, columnspacing=0.8, handlelength=1)


def _formatter(unit: str) -> Any:
    match unit:
        case "percentunit":
            return lambda value, _: (
                f"{value:.3g}" if 0 < value < 0.001 else f"{value:.1%}" if value < 0.05 else f"{value:.0%}"
            )
        case "s":
            return lambda value, _: f"{value * 1e3:.0f} ms"
        case "reqps":
            return lambda value, _: f"{value:.3g}/s"
    return lambda value, _: f"{value:.3g}"
