"""Tables, JSON and plot of made-up measurements."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from bench.scaling import report, sheets
from bench.scaling.bed import Layout
from bench.scaling.model import Node
from bench.scaling.sheets import Sheet
from serve_app.local.modes import Mode
from tests.unit.bench.scaling.results import RECORD, results, window

BOTH = [results(Mode.simple), results(Mode.fast)]
SHEETS = [*sheets.measured(BOTH), *(sheets.computed(one, RECORD, Node()) for one in BOTH)]


def cells(sheet: Sheet, column: str) -> list[str]:
    return [row[sheet.head.index(column)] for row in sheet.rows]


def test_what_is_measured_and_what_is_computed_is_told() -> None:
    assert [sheet.title.partition(" ")[0].strip(":") for sheet in SHEETS] == ["Measured"] * 3 + ["Computed"] * 2


def test_throughput_is_set_against_the_ideal() -> None:
    scaling = SHEETS[0]
    assert cells(scaling, "ideal/s") == ["25", "50", "100"] * 2
    assert cells(scaling, "of ideal") == ["96%"] * 6


def test_the_ceiling_is_told_per_core() -> None:
    ceiling = SHEETS[1]
    assert cells(ceiling, "router ms") == ["2.00"] * 4
    assert cells(ceiling, "per core of router") == ["500"] * 4
    assert cells(ceiling, "per router") == ["500", "300"] * 2


def test_failures_are_counted() -> None:
    one = results()._replace(ceiling=[window(Layout(), 100, failed=7)])
    assert cells(sheets.measured([one])[1], "failed") == ["7"]


def test_a_window_without_an_answer_is_no_division_by_zero() -> None:
    one = results()._replace(ceiling=[window(Layout(), 0, router=0.0)])
    assert cells(sheets.measured([one])[1], "per core of router") == ["inf"]


def test_the_computed_table_has_a_row_for_every_part() -> None:
    computed = SHEETS[-1]
    assert cells(computed, "full at")[-1] == "no end"
    assert all(len(row) == len(computed.head) for row in computed.rows)
    assert "Nearest to full:" in computed.note


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: sheet.title)
def test_each_table_is_printed_and_written(sheet: Sheet) -> None:
    printed = io.StringIO()
    Console(file=printed, width=250).print(report.table(sheet))
    assert all(row[0] in printed.getvalue() for row in sheet.rows)
    lines = report.markdown(sheet).splitlines()[2:]
    assert len(lines) == 2 + len(sheet.rows)
    assert len({line.count("|") for line in lines}) == 1


def test_json_markdown_and_plot_are_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report.write(tmp_path / "new", {"cpu": "one"}, BOTH, RECORD, SHEETS)
    content = json.loads((tmp_path / "new" / "scaling.json").read_text())
    assert content["machine"] == {"cpu": "one"}
    assert content["measured"][0]["scaling"][2]["layout"]["arms"] == 4
    assert "cpu one" in (tmp_path / "new" / "scaling.md").read_text()
    with Image.open(tmp_path / "new" / "scaling.png") as image:
        assert len(image.convert("RGB").getcolors(1 << 24) or []) > 10
