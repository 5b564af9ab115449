"""`python -m demo.train` as a user runs it: killed for real, resumed, and refusing bad input in one line."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from demo.checkpoint import load_checkpoint
from demo.train import app

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60


def command(folder: Path, photos: Path) -> list[str]:
    options = {
        "--steps": 20,
        "--batch-size": 2,
        "--photos": photos,
        "--cache": folder / "cache",
        "--checkpoint": folder / "checkpoint",
        "--drawn": 16,
        "--workers": 0,
        "--threads": 1,
        "--dev-scenes": 2,
        "--save-every": 0,
    }
    return [sys.executable, "-m", "demo.train", *(str(part) for pair in options.items() for part in pair)]


def saved_step(progress: Path) -> int:
    return int(torch.load(progress, weights_only=True)["step"]) if progress.is_file() else 0


def test_a_killed_run_goes_on_where_it_was_and_lowers_the_loss(tmp_path: Path, photo_folder: Path) -> None:
    progress = tmp_path / "cache" / "progress.pt"
    run = subprocess.Popen(command(tmp_path, photo_folder), cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_S
    while not progress.is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    run.kill()
    run.wait()
    reached = saved_step(progress)
    assert 1 <= reached < 20
    again = subprocess.run(command(tmp_path, photo_folder), cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert saved_step(progress) == 20
    assert f" {reached}/20 " in again.stderr
    figures = re.search(r"loss: ([\d.]+) in the first steps, ([\d.]+) in the last", again.stdout)
    assert figures is not None
    assert float(figures[2]) < float(figures[1])
    model, _ = load_checkpoint(tmp_path / "checkpoint")
    assert model.config.num_labels == 8


def test_a_run_can_start_from_a_checkpoint(tmp_path: Path, photo_folder: Path) -> None:
    CliRunner().invoke(app, [*command(tmp_path / "first", photo_folder)[3:], "--steps", "1"], catch_exceptions=False)
    first = tmp_path / "first" / "checkpoint"
    options = [*command(tmp_path / "second", photo_folder)[3:], "--steps", "1", "--start", str(first)]
    result = CliRunner().invoke(app, options, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    before, after = (load_checkpoint(tmp_path / name / "checkpoint")[0].state_dict() for name in ("first", "second"))
    # One step of a small rate moves no weight far; weights drawn anew would differ by their own size.
    assert all((before[name] - after[name]).abs().max() < 0.02 for name in before if "mlp" in name)
    assert any(not before[name].equal(after[name]) for name in before)


def test_a_start_that_is_no_checkpoint_ends_with_one_line_and_code_two(tmp_path: Path, photo_folder: Path) -> None:
    result = CliRunner().invoke(app, [*command(tmp_path, photo_folder)[3:], "--start", str(tmp_path / "nowhere")])
    assert result.exit_code == 2
    assert "nowhere is no checkpoint" in result.stderr


@pytest.mark.parametrize("content", [None, "empty", "unknown", "broken"])
def test_bad_photo_folders_end_with_one_line_and_code_two(tmp_path: Path, content: str | None) -> None:
    photos = tmp_path / "photos"
    if content is not None:
        photos.mkdir()
    if content in ("unknown", "broken"):
        folder = photos / ("curtains" if content == "unknown" else "hat")
        folder.mkdir()
        (folder / "one.jpg").write_bytes(b"no image")
    result = CliRunner().invoke(app, command(tmp_path, photos)[3:])
    assert result.exit_code == 2
    assert str(photos) in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "Traceback" not in result.output
