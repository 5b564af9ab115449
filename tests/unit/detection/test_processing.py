"""Prepare and finish against transformers' own image processor, on many sizes, rules and thresholds."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.image_transforms import get_size_with_aspect_ratio
from transformers.image_utils import get_image_size_for_max_height_width, load_image
from transformers.models.yolos.image_processing_pil_yolos import (
    YolosImageProcessorPil,
    get_size_with_aspect_ratio_yolos,
)
from transformers.models.yolos.modeling_yolos import YolosObjectDetectionOutput

from serve_app.detection.imaging import decode
from serve_app.detection.processing import finish, prepare, target_size
from serve_app.detection.spec import ModelSpec, RawOutputs, ResizeRule
from serve_app.schemas import ImageSize
from serve_app.settings import LimitSettings

RULES: list[dict[str, int]] = [
    {"shortest_edge": 256, "longest_edge": 384},
    {"shortest_edge": 224, "longest_edge": 384},
    {"shortest_edge": 512, "longest_edge": 864},
    {"shortest_edge": 800, "longest_edge": 1333},
    {"height": 300, "width": 200},
    {"max_height": 256, "max_width": 300},
]
SIZES = [
    (400, 533),
    (533, 400),
    (256, 256),
    (384, 256),
    (256, 384),
    (640, 480),
    (1600, 600),
    (97, 1301),
    (31, 33),
    (257, 255),
]


def spec(rule: dict[str, int]) -> ModelSpec:
    return ModelSpec(
        labels=["a", "b", "c"], resize=ResizeRule(**rule), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
        patch_size=16, position_grid=(16, 24), detection_tokens=7,
    )  # fmt: skip


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pixels_equal_those_of_transformers(rule: dict[str, int], size: tuple[int, int]) -> None:
    image = noise(*size)
    processor = YolosImageProcessorPil(size=rule)
    expected = processor(images=image, return_tensors="np")["pixel_values"]
    rows, columns = (side - side % 16 for side in expected.shape[2:])  # the model reads whole patches only
    expected = expected[:, :, :rows, :columns]
    ours = prepare(image, spec(rule))
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@settings(max_examples=300)
@given(width=st.integers(16, 4000), height=st.integers(16, 4000), rule=st.sampled_from(RULES[:4]))
def test_sizes_follow_the_rule_of_transformers(width: int, height: int, rule: dict[str, int]) -> None:
    theirs = get_size_with_aspect_ratio_yolos((height, width), rule["shortest_edge"], rule["longest_edge"])
    assert target_size(height, width, ResizeRule(**rule)) == theirs


@settings(max_examples=300)
@given(width=st.integers(16, 4000), height=st.integers(16, 4000), rule=st.sampled_from(RULES[:4]))
def test_sizes_follow_the_rule_of_detr(width: int, height: int, rule: dict[str, int]) -> None:
    theirs = get_size_with_aspect_ratio((height, width), rule["shortest_edge"], rule["longest_edge"])
    assert target_size(height, width, ResizeRule(**rule, multiple=1)) == theirs


@settings(max_examples=300)
@given(width=st.integers(16, 4000), height=st.integers(16, 4000), bounds=st.tuples(*[st.integers(16, 900)] * 2))
def test_sizes_follow_the_rule_of_the_largest_sides(width: int, height: int, bounds: tuple[int, int]) -> None:
    rule = ResizeRule(max_height=bounds[0], max_width=bounds[1])
    assert target_size(height, width, rule) == get_image_size_for_max_height_width((height, width), *bounds)


@pytest.mark.parametrize("size", [(1, 500), (500, 1), (1, 1), (3, 4000)])
def test_a_sliver_keeps_one_patch(size: tuple[int, int]) -> None:
    pixels = prepare(noise(*size), spec(RULES[0]))
    assert min(pixels.shape[2:]) >= 16
    assert all(side % 16 == 0 for side in pixels.shape[2:])


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "CMYK", "rotated", "animated"])
def test_an_encoded_image_becomes_the_pixels_of_transformers(mode: str) -> None:
    data = encoded(noise(400, 300), mode)
    theirs = YolosImageProcessorPil(size=RULES[0])(images=load_image(Image.open(io.BytesIO(data))), return_tensors="np")
    ours = prepare(decode(data, LimitSettings()), spec(RULES[0]))
    np.testing.assert_allclose(ours, theirs["pixel_values"], atol=1e-5)


def encoded(image: Image.Image, mode: str) -> bytes:
    buffer = io.BytesIO()
    if mode == "rotated":
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(buffer, "JPEG", exif=exif)
    elif mode == "animated":
        image.save(buffer, "WEBP", save_all=True, append_images=[image.rotate(180)])
    else:
        image.convert(mode).save(buffer, "JPEG" if mode == "CMYK" else "PNG")
    return buffer.getvalue()


def test_pixels_lie_in_memory_as_engines_want_them() -> None:
    pixels = prepare(noise(400, 300), spec(RULES[0]))
    assert pixels.dtype == np.float32
    assert pixels.flags.c_contiguous


@settings(max_examples=100)
@given(seed=st.integers(0, 10_000), threshold=st.floats(0.05, 0.95), scale=st.sampled_from([0.5, 3.0, 30.0]))
def test_detections_equal_those_of_transformers(seed: int, threshold: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    raw = RawOutputs(
        (rng.standard_normal((1, 7, 4)) * scale).astype(np.float32), rng.uniform(0, 1, (1, 7, 4)).astype(np.float32)
    )
    output = YolosObjectDetectionOutput(logits=torch.from_numpy(raw.logits), pred_boxes=torch.from_numpy(raw.boxes))
    theirs = YolosImageProcessorPil().post_process_object_detection(output, threshold, target_sizes=[(480, 640)])[0]
    ours = finish(raw, spec(RULES[0]), ImageSize(width=640, height=480), threshold, 100)
    order = np.argsort(-theirs["scores"].numpy(), kind="stable")
    assert [d.label for d in ours] == ["abc"[label] for label in theirs["labels"].numpy()[order]]
    np.testing.assert_allclose([d.score for d in ours], theirs["scores"].numpy()[order], atol=2e-6)
    corners = [list(d.box.model_dump().values()) for d in ours]
    np.testing.assert_allclose(np.reshape(corners, (-1, 4)), theirs["boxes"].numpy()[order], atol=2e-3)


def test_the_best_are_kept() -> None:
    logits = np.zeros((1, 7, 4), np.float32)
    logits[0, :, 1] = np.arange(7)
    raw = RawOutputs(logits, np.full((1, 7, 4), 0.5, np.float32))
    kept = finish(raw, spec(RULES[0]), ImageSize(width=10, height=10), 0.0, 2)
    everything = finish(raw, spec(RULES[0]), ImageSize(width=10, height=10), 0.0, 100)
    assert kept == everything[:2]
    assert [d.score for d in everything] == sorted((d.score for d in everything), reverse=True)
