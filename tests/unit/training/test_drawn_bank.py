"""The drawn part of the training pictures."""

from pathlib import Path

import numpy as np

from training.dev_set import FIRST_SCENE as FIRST_DECIDED
from training.drawn_bank import FIRST_SCENE, build_drawn_banks, drawn_backdrop, drawn_garment
from training.evaluate import FIRST_SCENE as FIRST_EVALUATED
from training.labels import LABELS


def test_labels_take_turns_and_numbers_decide_the_drawing() -> None:
    assert [drawn_garment(0, number).label for number in range(9)] == [*range(len(LABELS)), 0]
    assert np.array_equal(drawn_garment(0, 3).pixels, drawn_garment(0, 3).pixels)
    assert drawn_garment(0, 3).pixels.shape != drawn_garment(1, 3).pixels.shape


def test_backdrops_are_opaque() -> None:
    assert (drawn_backdrop(0, 0).pixels[..., 3] == 255).all()


def test_banks_are_drawn_once(tmp_path: Path) -> None:
    paths = tmp_path / "drawn.bin", tmp_path / "backdrops.bin"
    garments, backdrops = build_drawn_banks(*paths, 12, seed=0, workers=1)
    assert (len(garments), len(backdrops)) == (12, 3)
    written = paths[0].stat().st_mtime_ns
    build_drawn_banks(*paths, 12, seed=0, workers=1)
    assert paths[0].stat().st_mtime_ns == written


def test_no_seed_trains_on_the_scenes_of_decisions_or_evaluation() -> None:
    assert max(FIRST_DECIDED, FIRST_EVALUATED) + 10_000 < FIRST_SCENE
