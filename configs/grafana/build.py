"""`python -m configs.grafana.build`: write the dashboards' JSON from their Python. A test fails if it is stale."""

from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from configs.grafana import decide, operate

FOLDER = Path(__file__).parent / "dashboards"


def rendered() -> dict[str, str]:
    """The content of each file by its name."""
    boards: dict[str, Dashboard] = {"decide.json": decide.build(), "operate.json": operate.build()}
    return {name: _to_json(board) for name, board in boards.items()}


def _to_json(board: Dashboard) -> str:
    built = board.build()
    for number, panel in enumerate(built.panels or [], start=1):
        panel.id_val = number
    return JSONEncoder(sort_keys=True, indent=2).encode(built) + "\n"


if __name__ == "__main__":
    for name, content in rendered().items():
        (FOLDER / name).write_text(content)
