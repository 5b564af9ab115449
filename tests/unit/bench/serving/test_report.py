"""Rows as table, Markdown, JSON and plot."""

import io
import json
from pathlib import Path

from PIL import Image
from rich.console import Console

from bench.serving import report
from bench.serving.figures import Figures
from bench.serving.measure import Row
from bench.statistics import Ratio

BARE = Figures(0.0215, 0.03, 0.04, 0.0, Ratio(1, 1, 1), 46.2, 0.0251, 0.0004, 101_000_000, 480, 0, True, 4)
OURS = BARE._replace(p50=0.0244, over_reference=0.0029, relative=Ratio(0.88, 0.85, 0.9), failed=3, stable=False)
ROWS = [
    Row("1 client", 0.0, "bare", BARE),
    Row("1 client", 0.0, "ours-fast", OURS),
    Row("50% of bare", 23.1, "bare", BARE),
    Row("50% of bare", 23.1, "ours-fast", OURS._replace(p50=float("inf"), over_reference=float("inf"))),
]
FACTS = {"cores": "2", "photo": "242 kB"}


def test_the_table_holds_every_figure() -> None:
    printed = io.StringIO()
    Console(file=printed, width=170).print(report.table(ROWS))
    for shown in ("21.5", "+2.9", "0.88 (0.85-0.90)", "25.1", "101", "480", "50% of bare, 23.1/s"):
        assert shown in printed.getvalue()


def test_unstable_figures_are_marked() -> None:
    stable, unstable = report.markdown(ROWS[:2], FACTS).splitlines()[4:6]
    assert "| 21.5 |" in stable
    assert "| ~24.4 |" in unstable


def test_refused_requests_are_shown() -> None:
    assert report.markdown(ROWS[1:2], FACTS).splitlines()[4].endswith("| 3 |")


def test_the_markdown_table_is_rectangular_and_explained() -> None:
    text = report.markdown(ROWS, FACTS)
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1
    assert "cores 2, photo 242 kB" in text
    assert report.NOTE in text


def test_files_are_written_and_can_be_read_again(tmp_path: Path) -> None:
    report.write(tmp_path / "out", FACTS, ROWS)
    content = json.loads((tmp_path / "out/serving.json").read_text())
    assert content["facts"] == FACTS
    assert content["rows"][3]["figures"]["p50"] is None  # infinity is no JSON
    assert content["rows"][1]["figures"]["relative"] == {"value": 0.88, "low": 0.85, "high": 0.9}
    with Image.open(tmp_path / "out/serving.png") as picture:
        assert picture.width > 300
