"""GrabCut boxes: right on drawn photos whose box is known, refused where nothing can be told."""

from pathlib import Path

import numpy as np
import pytest

from serve_app.detection.agreement import iou_matrix
from training.photo_folder import list_photos, read_photo
from training.scenes import render_scene
from training.scenes.scene import tight_box
from training.segment import segment_garment


def test_box_of_a_lone_garment_is_found() -> None:
    overlaps = []
    for seed in range(8):
        item = (scene := render_scene(seed, 300, 400, [0])).objects[0]
        segment = segment_garment(scene.pixels)
        box = segment.box if segment else (0, 0, 1, 1)
        overlaps.append(float(iou_matrix(np.asarray([item.box], float), np.asarray([box], float))[0, 0]))
    assert np.median(overlaps) > 0.85


def test_mask_has_the_photos_size_and_its_box_is_tight() -> None:
    pixels = render_scene(1, 301, 403, [1]).pixels
    segment = segment_garment(pixels)
    assert segment is not None
    assert segment.mask.shape == (403, 301)
    assert segment.box == tight_box(segment.mask)


def test_same_photo_same_box() -> None:
    pixels = render_scene(2, 300, 300, [4]).pixels
    first, second = segment_garment(pixels), segment_garment(pixels)
    assert first is not None
    assert second is not None
    assert first.box == second.box


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_flat_picture_has_no_garment(shade: int) -> None:
    assert segment_garment(np.full((120, 90, 3), shade, np.uint8)) is None


def test_real_photos_can_be_segmented(real_photos: Path) -> None:
    segments = [segment_garment(read_photo(photo.path)) for photo in list_photos(real_photos)]
    assert len(segments) == 10
    assert sum(segment is not None for segment in segments) >= 9
