"""The tables of `bench.scaling` printed, and written as Markdown, JSON and a plot."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.scaling.control import Record
from bench.scaling.measure import Results
from bench.scaling.processes import Part
from bench.scaling.sheets import TARGET, Sheet

_PARTS: tuple[Part, ...] = ("router", "arm", "haproxy", "proxy")  # the router at the bottom, against its line
_COLORS = {"haproxy": "0.75", "proxy": "0.55", "router": "C0", "arm": "C1"}
_ROOM = 1.45  # for the legend, over the highest bar


def table(sheet: Sheet) -> Table:
    """As it is printed."""
    result = Table(title=sheet.title, caption=sheet.note, title_justify="left", caption_justify="left")
    for number, column in enumerate(sheet.head):
        result.add_column(column, justify="left" if _is_words(sheet, number) else "right")
    for row in sheet.rows:
        result.add_row(*row)
    return result


def markdown(sheet: Sheet) -> str:
    """The same for a document."""
    rule = ["---" if _is_words(sheet, number) else "--:" for number in range(len(sheet.head))]
    lines = [f"| {' | '.join(cells)} |" for cells in (sheet.head, rule, *sheet.rows)]
    return "\n".join([f"**{sheet.title}.** {sheet.note}", "", *lines, ""])


def _is_words(sheet: Sheet, column: int) -> bool:
    return column == 0 or sheet.head[column] in ("formula", "what to set")


def write(
    folder: Path, machine: dict[str, str], results: Sequence[Results], record: Record, sheets: Sequence[Sheet]
) -> None:
    """Write scaling.json, scaling.md and scaling.png into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": machine,
        "record": record._asdict(),
        "measured": [_plain(one) for one in results],
        "tables": [sheet._asdict() for sheet in sheets],
    }
    (folder / "scaling.json").write_text(json.dumps(content, indent=2) + "\n")
    facts = ", ".join(f"{key} {value}" for key, value in machine.items())
    (folder / "scaling.md").write_text("\n".join([facts, "", *map(markdown, sheets)]))
    _plot(folder / "scaling.png", results)


def _plain(value: Any) -> Any:
    """Named tuples as objects, so that the JSON explains itself."""
    if hasattr(value, "_asdict"):
        return {key: _plain(inner) for key, inner in value._asdict().items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _plot(path: Path, results: Sequence[Results]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")  # no screen needed
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    _draw_scaling(left, results)
    _draw_ceiling(right, results)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _draw_scaling(axes: Any, results: Sequence[Results]) -> None:
    ideal = {seen.layout.arms: seen.layout.ideal for one in results for seen in one.scaling}
    axes.plot(list(ideal), list(ideal.values()), color="0.6", linestyle="--", label="ideal")
    for one in results:
        for at_once in sorted({seen.layout.at_once for seen in one.scaling}):
            shown = [seen for seen in one.scaling if seen.layout.at_once == at_once]
            label = f"{one.mode}, {at_once} at once"
            axes.plot([seen.layout.arms for seen in shown], [seen.rate for seen in shown], marker="o", label=label)
    axes.set_xlabel("arms")
    axes.set_xticks(list(ideal))
    axes.set_ylabel("requests/s")
    axes.set_ylim(bottom=0)
    axes.set_title("One router, arms that wait", fontsize=10)
    axes.legend(fontsize=8)


def _draw_ceiling(axes: Any, results: Sequence[Results]) -> None:
    names = [f"{one.mode}\n{seen.layout.routers} router(s)" for one in results for seen in one.ceiling]
    below = [0.0] * len(names)
    for part in _PARTS:
        values = [seen.each(part) * 1e3 for one in results for seen in one.ceiling]
        axes.bar(names, values, bottom=below, color=_COLORS[part], label=part)
        below = [low + value for low, value in zip(below, values, strict=True)]
    axes.axhline(1000 / TARGET, color="C0", linestyle=":", label=f"router: {TARGET}/s per core")
    axes.set_ylabel("CPU ms per request")
    axes.set_ylim(top=_ROOM * max(below))
    axes.set_title("Arms without work, 200 kB", fontsize=10)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, ncols=2)
