"""The shipped dashboards as data: panels and expressions. Used by the tests of this folder and of the integration."""

import json
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parents[2] / "configs/grafana"
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted((FOLDER / "dashboards").glob("*.json"))
}


class Query(NamedTuple):
    """One expression, and where it stands."""

    where: str
    expr: str


def panels(name: str) -> list[dict[str, Any]]:
    """All panels of a dashboard but its row headings."""
    return [panel for panel in DASHBOARDS[name]["panels"] if panel["type"] != "row"]


def queries() -> list[Query]:
    """Every expression of every panel and annotation."""
    of_panels = [
        Query(f"{name}, {panel['title']} ({target['legendFormat']})", target["expr"])
        for name in DASHBOARDS
        for panel in panels(name)
        for target in panel["targets"]
    ]
    of_annotations = [
        Query(f"{name}, annotation {annotation['name']}", annotation["expr"])
        for name, board in DASHBOARDS.items()
        for annotation in board["annotations"].get("list", [])
    ]
    return of_panels + of_annotations
