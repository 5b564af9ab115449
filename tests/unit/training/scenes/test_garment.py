"""One garment: a shape of the size asked for, opaque inside, clear outside."""

import numpy as np
import pytest

from training.labels import LABELS
from training.scenes.garment import draw_garment

EVERY_LABEL = pytest.mark.parametrize("label", range(len(LABELS)), ids=LABELS)


@EVERY_LABEL
def test_garment_fills_its_picture_and_leaves_the_rest_clear(label: int) -> None:
    for seed in range(5):
        picture = draw_garment(np.random.default_rng([seed, label]), label, 120)
        assert abs(max(picture.shape[:2]) - 120) <= 8
        solid = picture[..., 3] > 127
        assert 0.2 < solid.mean() < 0.97
        assert not solid[0].any()
        assert not solid[:, -1].any()


@EVERY_LABEL
def test_garments_of_one_label_differ_by_seed_alone(label: int) -> None:
    first, again, other = (draw_garment(np.random.default_rng(seed), label, 80) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_pants_are_longer_than_shorts_and_dresses_than_tops() -> None:
    def elongation(name: str) -> float:
        pictures = [draw_garment(np.random.default_rng(seed), LABELS.index(name), 100) for seed in range(12)]
        return float(np.median([picture.shape[0] / picture.shape[1] for picture in pictures]))

    assert elongation("pants") > 1.4 * elongation("shorts")
    assert elongation("dress") > 1.2 * elongation("top, t-shirt, sweatshirt")
