"""Recolouring keeps the shape and what lies outside it; jitter keeps size and type."""

import numpy as np

from training.augment import jittered, recoloured
from training.scenes.garment import draw_garment


def test_recolouring_changes_only_the_garments_pixels() -> None:
    picture = draw_garment(np.random.default_rng(0), 0, 90)
    changed = 0
    for seed in range(12):
        result = recoloured(np.random.default_rng(seed), picture)
        assert result.shape == picture.shape
        assert np.array_equal(result[..., 3], picture[..., 3])
        clear = picture[..., 3] == 0
        assert np.array_equal(result[clear], picture[clear])
        changed += not np.array_equal(result, picture)
    assert changed == 12


def test_recolouring_leaves_the_bank_as_it_was() -> None:
    picture = draw_garment(np.random.default_rng(0), 4, 60)
    picture.setflags(write=False)
    before = picture.copy()
    for seed in range(6):
        recoloured(np.random.default_rng(seed), picture)
    assert np.array_equal(picture, before)


def test_jitter_keeps_size_and_type() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (33, 47, 3)).astype(np.uint8)
    for seed in range(30):
        result = jittered(np.random.default_rng(seed), pixels)
        assert result.shape == pixels.shape
        assert result.dtype == np.uint8
