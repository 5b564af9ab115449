"""`python -m training.scenes`: what it writes is what lies in `demo/photos`."""

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from training.labels import LABELS
from training.scenes import render_scene
from training.scenes.__main__ import FOLDER, SAMPLES, described, main


def test_stored_samples_are_those_the_renderer_draws() -> None:
    stored = json.loads((FOLDER / "boxes.json").read_text())
    assert len(stored) == len(SAMPLES) == 8
    seed, width, height, names = SAMPLES[5]
    scene = render_scene(seed, width, height, [LABELS.index(name) for name in names])
    assert json.loads(json.dumps(described(scene))) == stored["scene-6.jpg"]
    with Image.open(FOLDER / "scene-6.jpg") as image:
        # JPEG moves single pixels; on the whole it must be this picture.
        assert np.abs(np.asarray(image, int) - scene.pixels).mean() < 8


def test_stored_samples_have_the_sizes_and_labels_promised() -> None:
    stored = json.loads((FOLDER / "boxes.json").read_text())
    for name, objects in stored.items():
        with Image.open(FOLDER / name) as image:
            assert min(image.size) >= 600
            assert max(image.size) <= 1600
        assert objects
        assert {item["label"] for item in objects} <= set(LABELS)


def test_a_folder_that_cannot_be_made_ends_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(typer.Exit) as ended:
        main(tmp_path / "file")
    assert ended.value.exit_code == 2
    assert capsys.readouterr().err.count("\n") == 1
