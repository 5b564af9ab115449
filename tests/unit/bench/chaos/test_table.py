"""What clients saw, as the tables of docs/reliability.md."""

from pathlib import Path

import pytest

from bench.chaos import table
from bench.chaos.faults import Round
from bench.chaos.overload import Overload
from bench.chaos.worst import Worst
from bench.load.plan import Sent

RESCUED = Sent(0.0, 0.3, 200, assigned="onnx", backend="torch")
SERVED = Sent(0.0, 0.1, 200, assigned="onnx", backend="onnx")
LOST = Sent(0.0, 2.0, 500)
REFUSED = Sent(0.0, 0.01, 503, problem=True, retry_after=True)
EXPIRED = Sent(0.0, 0.512, 504, problem=True)
STORM = Overload(12, 28.1, [SERVED], [SERVED, REFUSED, REFUSED, LOST], 0.043, 10**9, 10**9 + 15 * 10**6)


def cells() -> dict[str, list[str]]:
    rounds = [Round("SIGKILL", [1.0, 2.0], [RESCUED, SERVED, LOST], [4.0, 6.0])]
    hangs = [Round("engine of onnx", [1.0], [RESCUED, SERVED, LOST, REFUSED], [4.0])]
    worst = Worst([SERVED, LOST], [SERVED, REFUSED, REFUSED], 850 * 10**6)
    lines = table.render("on 2 cores", rounds, hangs, worst, STORM, [EXPIRED]).splitlines()
    assert lines[0] == "on 2 cores"
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    return {first: rest for first, *rest in rows}


def test_a_fault_has_its_counts_waits_and_recoveries() -> None:
    assert cells()["SIGKILL"] == ["2", "3", "1", "1", "300 ms", "2.0 s", "5.0 s", "6.0 s"]


def test_a_hang_tells_refused_failed_and_late() -> None:
    assert cells()["engine of onnx"] == ["4", "1", "1", "1", "1", "200 ms", "2.0 s", "4.0 s"]


def test_the_worst_images_are_told_by_what_became_of_them_and_of_the_photos() -> None:
    found = cells()
    assert found["worst images sent"] == ["3: 1 got 200, 2 got 503"]
    assert found["good photos answered meanwhile"] == ["1 of 2"]
    assert found["longest wait of a good photo"] == ["2.0 s"]
    assert found["largest memory of one replica"] == ["850 MB"]


def test_an_overload_tells_answers_from_refusals_and_the_rest() -> None:
    found = cells()
    assert found["4 times that"] == ["4 sent, 1 answered, 2 refused"]
    assert found["neither"] == ["1"]
    assert found["memory of router and backends"] == ["1000 MB before, +15 MB in the storm"]


def test_a_deadline_is_reported_by_how_far_it_was_passed() -> None:
    assert cells()["past the deadline, median and longest"] == ["12 ms, 12 ms"]
    assert cells()["answered with 504"] == ["1"]


def test_the_tables_replace_what_stands_between_the_marks(tmp_path: Path) -> None:
    document = tmp_path / "reliability.md"
    document.write_text(f"before\n{table._BEGIN}\nold\n{table._END}\nafter\n")
    table.put_into(document, "new")
    assert document.read_text() == f"before\n{table._BEGIN}\nnew\n{table._END}\nafter\n"


def test_a_document_without_marks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "reliability.md").write_text("nothing")
    with pytest.raises(ValueError, match="marks"):
        table.put_into(tmp_path / "reliability.md", "new")
