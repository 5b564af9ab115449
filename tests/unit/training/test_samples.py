"""Batches: one shape each, the same for the same number, any mix of banks."""

from pathlib import Path

import numpy as np
import pytest
import torch

from training.bank import Bank, Entry, store
from training.drawn_bank import build_drawn_banks
from training.losses import PAD
from training.samples import Batches, Pool, canvas_shape
from training.scenes import render_scene


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("banks")
    drawn, backdrops = build_drawn_banks(folder / "drawn.bin", folder / "backdrops.bin", 16, 0, 1)
    return Pool(store(folder / "photos.bin", [photo_entry(seed) for seed in range(6)]), drawn, backdrops)


def photo_entry(seed: int) -> Entry:
    scene = render_scene(seed, 90, 120, [seed])
    alpha = scene.objects[0].visible.astype(np.uint8) * 255
    return Entry(seed, np.dstack([scene.pixels, alpha]))


def batches(pool: Pool) -> Batches:
    return Batches(pool, seed=0, size=6, short_side=lambda number: 64 if number < 2 else 96)


def test_a_batch_is_decided_by_its_number_alone(pool: Pool) -> None:
    first, again, other = batches(pool)[1], batches(pool)[1], batches(pool)[0]
    assert torch.equal(first.pixels, again.pixels)
    assert torch.equal(first.targets.boxes, again.targets.boxes)
    assert first.pixels.shape != other.pixels.shape or not torch.equal(first.pixels, other.pixels)


def test_targets_fit_their_pictures(pool: Pool) -> None:
    for number in range(4):
        pixels, targets = batches(pool)[number]
        assert pixels.dtype == torch.uint8
        assert min(pixels.shape[2:]) == (64 if number < 2 else 96)
        assert targets.owners.shape == (6, pixels.shape[2] * pixels.shape[3] // 256)
        counts = (targets.labels != PAD).sum(1)
        assert (targets.owners.max(1).values < counts).all()
        real = targets.boxes[targets.labels != PAD]
        assert (real >= 0).all()
        assert (real[:, :2] + real[:, 2:] / 2 <= 1 + 1e-6).all()


def test_drawn_garments_alone_or_photos_alone_are_enough(pool: Pool) -> None:
    assert len(batches(Pool(None, pool.drawn, pool.backdrops))[0].pixels) == 6
    assert len(batches(Pool(pool.photos, None, None))[0].pixels) == 6


def test_shapes_are_whole_patches_of_any_orientation() -> None:
    shapes = {canvas_shape(np.random.default_rng(seed), 224) for seed in range(60)}
    assert all(height % 16 == 0 and width % 16 == 0 and min(height, width) == 224 for height, width in shapes)
    assert max(max(shape) for shape in shapes) <= 384
    assert len(shapes) > 6


def test_rare_labels_are_drawn_more_often_than_they_occur(tmp_path: Path) -> None:
    blank = np.full((4, 4, 4), 255, np.uint8)
    bank = store(tmp_path / "bank.bin", [Entry(0, blank)] * 90 + [Entry(1, blank)] * 10)
    chosen = batches(Pool(bank, None, None))
    rng = np.random.default_rng(0)
    rare = np.mean([Bank(tmp_path / "bank.bin").labels[chosen._pick(rng, bank)] for _ in range(400)])
    assert 0.2 < rare < 0.4


def test_scenes_keep_their_orientation(tmp_path: Path) -> None:
    wide, tall = np.zeros((32, 64, 4), np.uint8), np.zeros((64, 32, 4), np.uint8)
    scenes = store(tmp_path / "scenes.bin", [Entry(-1, wide), Entry(-1, tall), Entry(-1, wide)])
    chosen = batches(Pool(None, None, None, scenes))
    assert {upright: numbers.tolist() for upright, numbers in chosen._scenes.items()} == {True: [1], False: [0, 2]}
