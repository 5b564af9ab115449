"""`python -m training.train` as a user runs it: killed for real, resumed, and refusing bad input in one line."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from training.checkpoint import load_checkpoint
from training.train import app

ROOT = Path(__file__).parents[3]
PATIENCE_S = 300


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
    return [sys.executable, "-m", "training.train", *(str(part) for pair in options.items() for part in pair)]


def saved_step(progress: Path) -> int:
    return int(torch.load(progress, weights_only=True)["step"]) if progress.is_file() else 0


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, photo_folder: Path) -> None:
    progress = tmp_path / "cache" / "progress.pt"
    run = subprocess.Popen(command(tmp_path, photo_folder), cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_S
    while not progress.is_file() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    run.kill()
    run.wait()
    reached = saved_step(progress)
    assert 1 <= reached < 20
    again = subprocess.run(command(tmp_path, photo_folder), cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert saved_step(progress) == 20
    assert f" {reached}/20 " in again.stderr
    assert f"going on from step {reached}" in again.stdout
    model, _ = load_checkpoint(tmp_path / "checkpoint")
    assert model.config.num_labels == 8


def test_a_run_can_start_from_a_checkpoint(tmp_path: Path, photo_folder: Path) -> None:
    options = [*command(tmp_path / "first", photo_folder)[3:], "--steps", "1"]
    assert CliRunner().invoke(app, options, catch_exceptions=False).exit_code == 0
    first = tmp_path / "first" / "checkpoint"
    options = [*command(tmp_path / "second", photo_folder)[3:], "--steps", "1", "--seed", "1", "--start", str(first)]
    result = CliRunner().invoke(app, options, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    before, after = (load_checkpoint(tmp_path / name / "checkpoint")[0].state_dict() for name in ("first", "second"))
    # One step of a small rate moves no weight far; weights drawn anew would differ by their own size.
    matrices = [name for name in before if name.endswith("intermediate.dense.weight")]
    assert len(matrices) == model_layers(first)
    assert all((before[name] - after[name]).abs().max() < 0.02 < before[name].abs().max() for name in matrices)
    assert any(not before[name].equal(after[name]) for name in before)


def model_layers(checkpoint: Path) -> int:
    return int(load_checkpoint(checkpoint)[0].config.num_hidden_layers)


def test_a_run_killed_before_its_last_checkpoint_writes_it_when_it_goes_on(tmp_path: Path, photo_folder: Path) -> None:
    options = [*command(tmp_path, photo_folder)[3:], "--steps", "1"]
    assert CliRunner().invoke(app, options, catch_exceptions=False).exit_code == 0
    shutil.rmtree(tmp_path / "checkpoint")
    assert CliRunner().invoke(app, options, catch_exceptions=False).exit_code == 0
    load_checkpoint(tmp_path / "checkpoint")


@pytest.mark.parametrize("content", [b"", b"half of a file"])
def test_a_damaged_state_is_named_with_the_remedy(tmp_path: Path, photo_folder: Path, content: bytes) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "progress.pt").write_bytes(content)
    result = CliRunner().invoke(app, command(tmp_path, photo_folder)[3:])
    assert result.exit_code == 2
    assert "progress.pt cannot be read" in result.stderr


def test_a_file_in_place_of_the_checkpoint_is_told_before_anything_is_drawn(tmp_path: Path, photo_folder: Path) -> None:
    (tmp_path / "checkpoint").touch()
    result = CliRunner().invoke(app, command(tmp_path, photo_folder)[3:])
    assert (result.exit_code, (tmp_path / "cache").exists()) == (2, False)
    assert "checkpoint is a file; name a folder" in result.stderr


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
