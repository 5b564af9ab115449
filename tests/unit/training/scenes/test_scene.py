"""The renderer's promise: the same picture for the same seed, and boxes that are exact."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training.labels import LABELS
from training.scenes import Scene, render_scene, scene
from training.scenes.scene import LEAST_VISIBLE, tight_box

SIZES = [(320, 240), (240, 320), (300, 300), (200, 420), (500, 180)]
GROUND = (0, 255, 1)


def same_scene(first: Scene, second: Scene) -> bool:
    return np.array_equal(first.pixels, second.pixels) and [(item.label, item.box) for item in first.objects] == [
        (item.label, item.box) for item in second.objects
    ]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_scene_has_the_size_asked_for_and_one_to_five_garments(width: int, height: int) -> None:
    for seed in range(6):
        drawn = render_scene(seed, width, height)
        assert drawn.pixels.shape == (height, width, 3)
        assert drawn.pixels.dtype == np.uint8
        assert 1 <= len(drawn.objects) <= 5


def test_same_seed_draws_the_same_scene_and_another_seed_another() -> None:
    assert same_scene(render_scene(3, 200, 260), render_scene(3, 200, 260))
    assert not same_scene(render_scene(3, 200, 260), render_scene(4, 200, 260))


@pytest.mark.parametrize("seed", range(12))
def test_boxes_hold_all_visible_pixels_and_touch_them_on_every_side(seed: int) -> None:
    width, height = SIZES[seed % len(SIZES)]
    for item in render_scene(seed, width, height).objects:
        left, top, right, bottom = item.box
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        outside = item.visible.copy()
        outside[top:bottom, left:right] = False
        assert not outside.any()
        assert item.box == tight_box(item.visible)


def drawn_on_flat_ground(monkeypatch: pytest.MonkeyPatch, seed: int, label: int) -> tuple[Scene, NDArray[np.bool_]]:
    """A scene without shadow on one colour, and the pixels that differ from it: seen without the renderer's masks."""
    monkeypatch.setattr(scene, "draw_backdrop", lambda _, height, width: np.full((height, width, 3), GROUND, np.uint8))
    monkeypatch.setattr(scene, "_shadow", lambda *_: None)
    drawn = render_scene(seed, 320, 400, [label])
    return drawn, np.asarray((np.abs(drawn.pixels.astype(int) - GROUND) > 2).any(axis=2))


@pytest.mark.parametrize("label", range(len(LABELS)), ids=LABELS)
def test_drawn_pixels_lie_inside_the_box_and_it_is_tight_to_two(monkeypatch: pytest.MonkeyPatch, label: int) -> None:
    for seed in range(4):
        drawn, painted = drawn_on_flat_ground(monkeypatch, seed, label)
        assert np.abs(np.subtract(drawn.objects[0].box, tight_box(painted))).max() <= 2


def test_labels_can_be_chosen_and_keep_their_order() -> None:
    drawn = render_scene(1, 600, 800, [2, 7, 2])
    assert [item.label for item in drawn.objects] == [2, 7, 2]


def test_most_of_every_garment_stays_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    whole: list[int] = []
    paste = scene._paste

    def noting(pixels: NDArray[np.uint8], owners: NDArray[np.int16], layer: scene._Layer, number: int) -> None:
        whole.append(int((layer.rgba[..., 3] >= 128).sum()))
        paste(pixels, owners, layer, number)

    monkeypatch.setattr(scene, "_paste", noting)
    for seed in range(10):
        whole.clear()
        drawn = render_scene(seed, 300, 300, [0, 1, 4, 5])
        for item, area in zip(drawn.objects, whole, strict=True):
            assert item.visible.sum() >= LEAST_VISIBLE * area


def test_garments_do_overlap_sometimes() -> None:
    def overlapping(drawn: Scene) -> bool:
        boxes = [item.box for item in drawn.objects]
        return any(
            first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]
            for number, first in enumerate(boxes)
            for second in boxes[number + 1 :]
        )

    assert any(overlapping(render_scene(seed, 300, 300)) for seed in range(20))
