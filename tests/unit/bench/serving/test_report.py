"""Rows as a table, JSON and a plot."""

import json
from pathlib import Path

from PIL import Image

from bench.serving import report
from bench.serving.figures import Figures
from bench.serving.measure import Row
from bench.statistics import Interval

BARE = Figures(0.0215, 0.03, 0.04, 0.0, Interval(1, 1, 1), 46.2, 0.0251, 0.0004, 101_000_000, 480, 0, True, 4)
OURS = BARE._replace(p50=0.0244, over_reference=0.0029, relative=Interval(0.88, 0.85, 0.9), failed=3, stable=False)
ROWS = [
    Row("1 client", 0.0, "bare", BARE),
    Row("1 client", 0.0, "ours-fast", OURS),
    Row("50% of bare", 23.1, "bare", BARE),
    Row("50% of bare", 23.1, "ours-fast", OURS._replace(p50=float("inf"), over_reference=float("inf"))),
]
FACTS = {"cores": "2", "photo": "242 kB"}


def test_the_table_holds_every_figure() -> None:
    printed = report.table(ROWS)
    for shown in ("21.5", "+2.9", "0.88 (0.85-0.90)", "25.1", "101", "480", "50% of bare, 23.1/s"):
        assert shown in printed


def test_unstable_figures_are_marked() -> None:
    stable, unstable = report.table(ROWS[:2]).splitlines()[2:]
    assert " 21.5 |" in stable
    assert " ~24.4 |" in unstable


def test_refused_requests_are_shown() -> None:
    assert report.table(ROWS[1:2]).endswith(" 3 |")


def test_files_are_written_and_can_be_read_again(tmp_path: Path) -> None:
    report.save(tmp_path / "out", FACTS, ROWS)
    document = (tmp_path / "out/serving.md").read_text()
    assert document.startswith("cores 2, photo 242 kB\n")
    assert report.table(ROWS) in document
    assert report.NOTE in document
    content = json.loads((tmp_path / "out/serving.json").read_text())
    assert content["facts"] == FACTS
    assert content["rows"][3]["figures"]["p50"] is None  # infinity is no JSON
    assert content["rows"][1]["figures"]["relative"] == {"value": 0.88, "low": 0.85, "high": 0.9}
    with Image.open(tmp_path / "out/serving.png") as picture:
        assert picture.width > 300
