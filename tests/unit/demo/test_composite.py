"""Canvases: boxes of what is visible, every garment recorded, the subject of a photo kept in view."""

import numpy as np
import pytest

from demo.composite import LEAST_VISIBLE, Canvas, composite, photo_canvas
from demo.labels import LABELS
from demo.scenes.backdrop import draw_backdrop
from demo.scenes.garment import draw_garment
from demo.segment import mask_box

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
            assert box == mask_box(canvas.owners == number)


def test_no_garment_is_hidden_by_more_than_half(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(20):
        canvas = laid_out(seed, 5)
        shares = [(canvas.owners == number).sum() for number in range(len(canvas.labels))]
        assert min(shares) >= LEAST_VISIBLE * 48


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
