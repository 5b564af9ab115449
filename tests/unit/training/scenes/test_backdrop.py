"""Backdrops: any size, every ground."""

import numpy as np
import pytest

from training.scenes import backdrop


@pytest.mark.parametrize("ground", backdrop.GROUNDS)
@pytest.mark.parametrize(("height", "width"), [(40, 90), (120, 64)])
def test_every_ground_fills_any_size(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, ground: object, height: int, width: int
) -> None:
    monkeypatch.setattr(backdrop, "GROUNDS", (ground,))
    pixels = backdrop.draw_backdrop(rng, height, width)
    assert pixels.shape == (height, width, 3)
    assert pixels.dtype == np.uint8
