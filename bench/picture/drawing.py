"""The decision dashboard's graphs as a picture, from Prometheus' answers to their expressions. For `bench.picture`."""

import json
import math
from pathlib import Path
from typing import Any

import httpx
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

_DASHBOARD = Path("configs/grafana/dashboards/decide.json")
_COLORS = {"torch": "#d9730d", "onnx": "#1f6fd0"}
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
        """Minutes since the start and values of each series, by its legend as Grafana would write it."""
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
    rows = math.ceil(len(panels) / _COLUMNS)
    figure = Figure(figsize=(5 * _COLUMNS, 2.9 * rows), layout="constrained")
    figure.suptitle(caption, fontsize=10, color="#444444")
    spots = figure.subplots(rows, _COLUMNS, sharex=True, squeeze=False).flatten()
    for axes, panel in zip(spots, panels, strict=False):
        lines: dict[str, Points] = {}
        for target in panel["targets"]:
            lines |= source.series(target["expr"], target["legendFormat"])
        _draw_panel(axes, panel, lines)
        for minutes, _ in changes.values():
            axes.vlines(minutes, *axes.get_ylim(), color="#8a4fbf", linewidth=1, linestyle=":")
    for axes in spots[len(panels) :]:
        axes.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _draw_panel(axes: Axes, panel: dict[str, Any], lines: dict[str, Points]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    stacked: dict[float, float] = {}
    for legend, (minutes, values) in sorted(lines.items()):
        if defaults.get("custom", {}).get("drawStyle") == "bars":
            heights = [0.0 if math.isnan(value) else value for value in values]
            below = [stacked.get(minute, 0.0) for minute in minutes]
            axes.bar(minutes, heights, width=0.9 * _STEP_S / 60, bottom=below, label=legend)
            stacked |= {minute: low + high for minute, low, high in zip(minutes, below, heights, strict=True)}
        elif any(value > 0 for value in values) or len(lines) <= 4:  # of the many fallback reasons, those that happened
            style = "--" if legend in ("lower", "upper") else "-"
            axes.plot(minutes, values, style, label=legend, color=_COLORS.get(legend), linewidth=1.6)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=8, frameon=False, ncols=2)
    if "value" in lines:  # a ratio with its band: the upper limit of too few requests is far out of the picture
        axes.set_ylim(top=max([1.5, *(2 * value for value in lines["value"][1] if not math.isnan(value))]))
    axes.set_ylim(bottom=0)
    axes.set_title(panel["title"], loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel("minutes", fontsize=8)
    axes.tick_params(labelbottom=True)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _with_unit(value, defaults["unit"])))
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.6)


def _with_unit(value: float, unit: str) -> str:
    match unit:
        case "percentunit":
            return f"{value:.3g}" if 0 < value < 0.001 else f"{value:.1%}" if value < 0.05 else f"{value:.0%}"
        case "s":
            return f"{value * 1e3:.0f} ms"
        case "reqps":
            return f"{value:.3g}/s"
    return f"{value:.3g}"
