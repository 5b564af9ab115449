"""Outlines of garments, shoes and hats: closed, finite, about one unit wide."""

import numpy as np
import pytest

from training.scenes.accessories import hat, shoes
from training.scenes.outlines import Points, lower, skirt, smoothed, upper


def outlines_of(kind: str, rng: np.random.Generator) -> list[Points]:
    return {
        "upper": lambda: upper(rng, "long", 1.2, 0.45, 0.42).pieces,
        "sleeveless": lambda: upper(rng, "none", 1.2, 0.45, 0.42).pieces,
        "lower": lambda: lower(rng, 2.0).pieces,
        "skirt": lambda: skirt(rng).pieces,
        "shoes": lambda: shoes(rng)[0],
        "hat": lambda: hat(rng)[0].pieces,
    }[kind]()


@pytest.mark.parametrize("kind", ["upper", "sleeveless", "lower", "skirt", "shoes", "hat"])
def test_outlines_are_finite_and_of_garment_size(kind: str) -> None:
    for seed in range(20):
        for piece in outlines_of(kind, np.random.default_rng(seed)):
            assert piece.ndim == 2
            assert len(piece) >= 8
            assert np.isfinite(piece).all()
            assert np.ptp(piece, axis=0).max() < 3.2


def test_sleeves_are_pieces_of_their_own(rng: np.random.Generator) -> None:
    assert len(upper(rng, "none", 1.2, 0.45, 0.42).pieces) == 1
    assert len(upper(rng, "short", 1.2, 0.45, 0.42).pieces) == 3


def test_smoothing_stays_inside_the_corners() -> None:
    square = np.asarray([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
    rounded = smoothed(square, rounds=3)
    assert len(rounded) == 32
    assert rounded.min() >= 0
    assert rounded.max() <= 1
