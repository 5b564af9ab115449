"""`python -m training.train` as a user runs it: killed, resumed, and refusing bad input in one line."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from tests.unit.training.small import small_config
from training import train
from training.checkpoint import load_checkpoint

ROOT = Path(__file__).parents[3]


# Runs the command with a small model and kills the process, as an operator would, right after it saved step 3.
KILLED_AT_STEP_3 = """
import os, signal
from tests.unit.training.small import small_config
from training import train, trainer

train.new_config, save = small_config, trainer.save_progress

def save_and_die(path, step, *state):
    save(path, step, *state)
    if step == 3:
        os.kill(os.getpid(), signal.SIGKILL)

trainer.save_progress = save_and_die
train.app()
"""


@pytest.fixture(autouse=True)
def small_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "new_config", small_config)


@pytest.fixture(scope="module")
def pictures(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the prepared pictures of a run; copied, it saves a test the drawing."""
    folder = tmp_path_factory.mktemp("pictures")
    train.prepared_pool(photo_folder, folder, drawn=8, seed=0)
    return folder


def options(folder: Path, photos: Path, steps: int = 1, **others: object) -> list[str]:
    given = {
        "steps": steps,
        "batch-size": 2,
        "photos": photos,
        "cache": folder / "cache",
        "checkpoint": folder / "checkpoint",
        "drawn": 8,
        "workers": 0,
        "threads": 1,
        "dev-scenes": 2,
        "save-every": 0,
    } | others
    return [str(part) for name, value in given.items() for part in (f"--{name}", value)]


def run(options: list[str]) -> Result:
    return CliRunner().invoke(train.app, options)


def saved_step(progress: Path) -> int:
    return int(torch.load(progress, weights_only=True)["step"])


def test_a_killed_run_continues_from_its_last_saved_step(tmp_path: Path, photo_folder: Path) -> None:
    progress = tmp_path / "cache" / "progress.pt"
    asked = options(tmp_path, photo_folder, steps=6)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AT_STEP_3, *asked], cwd=ROOT, capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert saved_step(progress) == 3
    again = run(asked)
    assert again.exit_code == 0, again.output
    assert saved_step(progress) == 6
    assert " 3/6 " in again.stderr
    assert "going on from step 3" in again.stdout
    model, _ = load_checkpoint(tmp_path / "checkpoint")
    assert model.config.num_labels == 8


def test_a_run_can_start_from_a_checkpoint(tmp_path: Path, photo_folder: Path, pictures: Path) -> None:
    first = tmp_path / "first" / "checkpoint"
    for run_folder in ("first", "second"):
        shutil.copytree(pictures, tmp_path / run_folder / "cache")
    for asked in (
        options(tmp_path / "first", photo_folder),
        options(tmp_path / "second", photo_folder, seed=1, start=first),
    ):
        result = run(asked)
        assert result.exit_code == 0, result.output
    before, after = (load_checkpoint(tmp_path / name / "checkpoint")[0].state_dict() for name in ("first", "second"))
    # One step of a small rate moves no weight far; weights drawn anew would differ by their own size.
    matrices = [name for name in before if name.endswith("intermediate.dense.weight")]
    assert len(matrices) == model_layers(first)
    assert all((before[name] - after[name]).abs().max() < 0.02 < before[name].abs().max() for name in matrices)
    assert any(not before[name].equal(after[name]) for name in before)


def model_layers(checkpoint: Path) -> int:
    return int(load_checkpoint(checkpoint)[0].config.num_hidden_layers)


def test_a_run_killed_before_its_last_checkpoint_writes_it_when_it_goes_on(
    tmp_path: Path, photo_folder: Path, pictures: Path
) -> None:
    shutil.copytree(pictures, tmp_path / "cache")
    assert run(options(tmp_path, photo_folder)).exit_code == 0
    shutil.rmtree(tmp_path / "checkpoint")
    assert run(options(tmp_path, photo_folder)).exit_code == 0
    load_checkpoint(tmp_path / "checkpoint")


@pytest.mark.parametrize("content", [b"", b"half of a file"])
def test_a_damaged_state_is_named_with_the_remedy(
    tmp_path: Path, photo_folder: Path, pictures: Path, content: bytes
) -> None:
    shutil.copytree(pictures, tmp_path / "cache")
    (tmp_path / "cache" / "progress.pt").write_bytes(content)
    result = run(options(tmp_path, photo_folder))
    assert result.exit_code == 2
    assert "progress.pt cannot be read" in result.stderr


def test_a_file_in_place_of_the_checkpoint_is_told_before_anything_is_drawn(tmp_path: Path, photo_folder: Path) -> None:
    (tmp_path / "checkpoint").touch()
    result = run(options(tmp_path, photo_folder))
    assert (result.exit_code, (tmp_path / "cache").exists()) == (2, False)
    assert "checkpoint is a file; name a folder" in result.stderr


def test_a_start_without_a_checkpoint_ends_with_one_line_and_code_two(tmp_path: Path, photo_folder: Path) -> None:
    result = run(options(tmp_path, photo_folder, start=tmp_path / "nowhere"))
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
    result = run(options(tmp_path, photos))
    assert result.exit_code == 2
    assert str(photos) in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "Traceback" not in result.output
