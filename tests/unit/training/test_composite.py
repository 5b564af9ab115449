"""Canvases: boxes of what is visible, every garment recorded, the subject of a photo kept in view."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training import composite as composite_module
from training.composite import LEAST_VISIBLE, NOBODY, Canvas, composite, photo_canvas, scene_canvas
from training.drawn_bank import drawn_scene
from training.labels import LABELS
from training.scenes.backdrop import draw_backdrop
from training.scenes.garment import draw_garment
from training.scenes.scene import tight_box

SHAPE = (128, 160)


def laid_out(seed: int, count: int) -> Canvas:
    rng = np.random.default_rng(seed)
    cut_outs = [(draw_garment(rng, label, 100), label) for label in rng.integers(0, len(LABELS), count).tolist()]
    return composite(rng, cut_outs, draw_backdrop(rng, 90, 70), SHAPE)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_every_box_is_that_of_the_garments_visible_pixels(count: int) -> None:
    for seed in range(8):
        canvas = laid_out(seed, count)
        assert canvas.pixels.shape == (*SHAPE, 3)
        assert 1 <= len(canvas.labels) == len(canvas.boxes) <= count
        for number, box in enumerate(canvas.boxes):
            assert box == tight_box(canvas.owners == number)


def test_no_garment_is_hidden_by_more_than_half(monkeypatch: pytest.MonkeyPatch) -> None:
    whole: list[int] = []
    shade = composite_module._shade

    def noting(rng: np.random.Generator, pixels: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> None:
        whole.append(int((alpha > 127).sum()))
        shade(rng, pixels, alpha)

    monkeypatch.setattr(composite_module, "_shade", noting)
    least = 1.0
    for seed in range(40):
        whole.clear()
        canvas = laid_out(seed, 5)
        shares = [(canvas.owners == number).sum() / area for number, area in enumerate(whole)]
        assert len(shares) == len(canvas.labels)
        least = min(least, *shares)
    assert LEAST_VISIBLE <= least < LEAST_VISIBLE + 0.1


def test_a_backdrop_too_thin_to_stretch_becomes_a_plain_one() -> None:
    rng = np.random.default_rng(0)
    canvas = composite(rng, [], np.zeros((2, 90, 3), np.uint8), SHAPE)
    assert canvas.labels == []
    assert (canvas.pixels == canvas.pixels[0, 0]).all()


@pytest.mark.parametrize("size", [(200, 150), (150, 200)])
def test_a_photos_garment_stays_in_view(size: tuple[int, int]) -> None:
    photo = np.full((*size, 4), 90, np.uint8)
    photo[..., 3] = 0
    photo[40:120, 30:110] = 255
    for seed in range(40):
        canvas = photo_canvas(np.random.default_rng(seed), photo, 2, SHAPE)
        assert canvas.labels == [2]
        left, top, right, bottom = canvas.boxes[0]
        assert (right - left) * (bottom - top) > 0.03 * SHAPE[0] * SHAPE[1]
        bright = (canvas.pixels > 200).all(axis=2)
        assert (bright == (canvas.owners == 0)).mean() > 0.97


def test_a_scenes_garments_change_colour_but_nothing_around_them(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = drawn_scene(0, 0).pixels
    shape = scene.shape[:2]
    canvases = []
    for share in (0.0, 1.0):
        monkeypatch.setattr("training.composite.RECOLOURED_SHARE", share)
        canvases.append(scene_canvas(np.random.default_rng(1), scene, shape))
    plain, dyed = canvases
    assert (plain.labels, plain.boxes) == (dyed.labels, dyed.boxes)
    changed = (plain.pixels != dyed.pixels).any(axis=2)
    assert changed[plain.owners != NOBODY].mean() > 0.9
    assert not changed[plain.owners == NOBODY].any()
