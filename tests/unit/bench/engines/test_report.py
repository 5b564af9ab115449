"""Measurements as table, JSON and plot."""

import json
from pathlib import Path

import pytest
from PIL import Image

from bench.engines import report
from bench.engines.report import Row
from bench.statistics import Interval

REFERENCE = Row("demo", 224, 288, "torch fp32", 0.0234, Interval(1, 1, 1), 2 * 10**9, 400 * 10**6, 0, 0, 0)
FASTER = REFERENCE._replace(
    contender="onnxruntime int8", seconds=0.0101, ratio=Interval(2.31, 2.2, 2.4), score_deviation=0.0123
)
LOST = FASTER._replace(contender="openvino bf16", unmatched=2)
ROWS = [REFERENCE, FASTER, LOST]
PEAK = 2e11


def test_the_table_holds_every_figure() -> None:
    text = report.table(ROWS, PEAK)
    for shown in ("224x288", "23.4", "2.31 (2.20-2.40)", "2.0", "43%", "400", "1.2e-02"):
        assert shown in text


def test_lost_detections_are_not_hidden_behind_a_small_deviation() -> None:
    assert " 2 lost |" in report.table([LOST], PEAK)


def test_json_and_plot_are_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report.save(tmp_path / "new", {"cpu": "one"}, PEAK, ROWS)
    content = json.loads((tmp_path / "new" / "engines.json").read_text())
    assert content["machine"] == {"cpu": "one"}
    assert content["rows"][1]["ratio"] == {"value": 2.31, "low": 2.2, "high": 2.4}
    with Image.open(tmp_path / "new" / "engines.png") as image:
        assert len(image.convert("RGB").getcolors(1 << 24) or []) > 10
