"""`python -m training.evaluate`: its table, and one line with exit code 2 for each kind of bad input."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from training.evaluate import app, drawn_examples, judged, photo_examples
from training.photo_folder import list_photos

ROOT = Path(__file__).parents[3]


def test_scenes_are_the_same_every_time_and_never_too_long() -> None:
    first, again = list(drawn_examples(4)), list(drawn_examples(4))
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.pixels, other.pixels)
        assert max(one.pixels.shape[:2]) / min(one.pixels.shape[:2]) <= 1.71
        assert len(one.true.labels) >= 1


def test_perfect_detections_score_one() -> None:
    pairs = [(example.true, example.true) for example in drawn_examples(3)]
    row = judged("scenes", pairs, threshold=0.5)
    assert (row.score.recall, row.score.precision, row.score.label_accuracy) == (1, 1, 1)
    assert row.average_precision == pytest.approx(1)


def test_photos_get_their_box_from_the_segmentation(photo_folder: Path) -> None:
    examples = list(photo_examples(list_photos(photo_folder)))
    assert 3 <= len(examples) <= 5
    assert all(len(example.true.labels) == 1 for example in examples)


def test_the_table_names_both_sources_and_the_photos_left_out(photo_folder: Path) -> None:
    result = CliRunner().invoke(app, ["--photos", str(photo_folder), "--scenes", "2"], env={"COLUMNS": "140"})
    assert result.exit_code == 0, result.output
    for word in ("scenes", "photos", "recall", "precision", "label accuracy", "mAP", "of 5 photos left out"):
        assert word in result.stdout


@pytest.mark.parametrize("case", ["no folder", "no images", "unknown label", "broken image", "no checkpoint"])
def test_bad_input_ends_with_one_line_and_code_two(tmp_path: Path, photo_folder: Path, case: str) -> None:
    arguments = {"--photos": tmp_path, "--scenes": 0}
    if case == "no folder":
        arguments["--photos"] = tmp_path / "nowhere"
    elif case == "no checkpoint":
        arguments |= {"--photos": photo_folder, "--checkpoint": tmp_path}
    elif case != "no images":
        (tmp_path / ("curtains" if case == "unknown label" else "hat")).mkdir()
        (next(tmp_path.iterdir()) / "one.jpg").write_bytes(b"no image")
    result = CliRunner().invoke(app, [str(part) for pair in arguments.items() for part in pair])
    assert result.exit_code == 2
    assert str(tmp_path) in result.stderr
    assert sum(line.startswith("error: ") for line in result.stderr.splitlines()) == 1


def test_the_command_prints_no_traceback(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "training.evaluate", "--checkpoint", str(tmp_path)]
    ended = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: {tmp_path} is no checkpoint")
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""
