"""Fabrics: colours in range, every pattern of the size asked for."""

import numpy as np
import pytest

from training.scenes.fabric import PATTERN_SHARES, PATTERNS, contrasting_colour, random_colour, smooth_noise, woven


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_are_shares_of_the_second_colour(pattern: object, rng: np.random.Generator) -> None:
    assert callable(pattern)
    share = pattern(rng, 40, 60)
    assert share.shape == (40, 60)
    assert share.min() >= -0.3
    assert share.max() <= 1


def test_pattern_shares_add_up() -> None:
    assert len(PATTERN_SHARES) == len(PATTERNS)
    assert sum(PATTERN_SHARES) == pytest.approx(1)


def test_colours_can_be_told_apart(rng: np.random.Generator) -> None:
    for _ in range(50):
        colour = random_colour(rng)
        assert colour.min() >= 0
        assert colour.max() <= 255
        assert np.abs(contrasting_colour(rng, colour) - colour).max() > 30


def test_woven_and_noise_have_the_size_asked_for(rng: np.random.Generator) -> None:
    assert woven(rng, 31, 47).shape == (31, 47, 3)
    noise = smooth_noise(rng, 31, 47, 5)
    assert noise.shape == (31, 47)
    assert np.abs(noise).max() < 1.6
