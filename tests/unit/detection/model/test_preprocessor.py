"""Every kind of preprocessor_config.json: the pixels of transformers' own processor, or an error that names the key."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import AutoImageProcessor

from serve_app.detection.model import preprocessor
from serve_app.detection.processing import prepare
from serve_app.detection.spec import ModelSpec
from serve_app.errors import ConfigurationError
from tests.preprocessors import HONOURED

SIZES = [(400, 533), (533, 400), (224, 300), (300, 224), (640, 200), (33, 31)]
FIXED = {"size": {"height": 64, "width": 64}}


def write(folder: Path, content: dict[str, Any]) -> Path:
    (folder / "config.json").write_text('{"model_type": "yolos"}')
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    return folder / "preprocessor_config.json"


def spec(path: Path, patch: int) -> ModelSpec:
    found = preprocessor.read(path, patch)
    return ModelSpec(labels=["a"], patch_size=patch, position_grid=(4, 6), detection_tokens=2, **found._asdict())


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", HONOURED)
def test_what_is_honoured_gives_the_pixels_of_transformers(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, HONOURED[name])
    theirs = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")  # type: ignore[no-untyped-call]
    for size in SIZES:
        expected = theirs(images=noise(*size), return_tensors="np")["pixel_values"]
        for patch in (16, 32):
            rows, columns = (side - side % patch for side in expected.shape[2:])  # the model reads whole patches only
            ours = prepare(noise(*size), spec(path, patch))
            assert ours.shape == (1, 3, rows, columns)
            np.testing.assert_allclose(ours, expected[:, :, :rows, :columns], rtol=1e-5, atol=1e-5)


def answers(folder: Path) -> bool:
    """Whether transformers turns all the images into pixels that a model can take."""
    try:
        theirs = AutoImageProcessor.from_pretrained(folder, backend="pil")  # type: ignore[no-untyped-call]
        results = [theirs(images=noise(*size), return_tensors="np")["pixel_values"] for size in SIZES]
    except (ValueError, TypeError, AttributeError):
        return False
    return all(np.isfinite(pixels).all() and pixels.dtype == np.float32 for pixels in results)


REFUSED_BY_TRANSFORMERS: list[tuple[dict[str, Any], str]] = [
    ({"size": {"height": 224}}, 'size is {"height": 224}; transformers takes one of these pairs'),
    ({"size": {"longest_edge": 384}}, 'size is {"longest_edge": 384}'),
    ({"size": {"shortest_edge": 384}}, 'size is {"shortest_edge": 384}'),
    ({"size": {"shortest_edge": 384, "longest_edge": None}}, 'size is {"shortest_edge": 384, "longest_edge": null}'),
    ({"size": 384, "max_size": None}, "size is 384"),
    ({"size": {"min_pixels": 384, "max_pixels": 500}}, "size is"),
    ({"size": {"height": 64, "width": 64, "longest_edge": 9}}, "size is"),
    ({"size": {"height": 64, "width": 0}}, 'size is {"height": 64, "width": 0}'),
    ({"size": {"height": 64, "width": "64"}}, 'size is {"height": 64, "width": "64"}'),
    ({"size": "big"}, 'size is "big"'),
    ({"pad_size": {"shortest_edge": 384}}, 'pad_size is {"shortest_edge": 384}; transformers takes height and width'),
    ({"pad_size": {"height": 32, "width": 640}}, "pad_size is 32 x 640, too small for images that size lets through"),
    ({"pad_size": {"height": 640, "width": 32}}, "pad_size is 640 x 32, too small"),
    ({"size": {"shortest_edge": 224, "longest_edge": 384}, "pad_size": [384, 320]}, "(384 x 384)"),
    ({"resample": None}, "resample is null"),
    ({"resample": 8}, "resample is 8; input should be less than or equal to 7"),
    ({"rescale_factor": None}, "rescale_factor is null; write a positive number"),
    ({"image_mean": None}, "image_mean is null; expected a finite number for each of the 3 channels"),
    ({"image_mean": [0.5, 0.5]}, "image_mean is [0.5, 0.5]"),
    ({"image_mean": [0.5, "x", 0.5]}, 'image_mean is [0.5, "x", 0.5]'),
    ({"image_mean": [0.5, float("nan"), 0.5]}, "image_mean is [0.5, NaN, 0.5]"),
    ({"image_std": [0.5, 0, 0.5]}, "image_std is [0.5, 0, 0.5]; pixels are divided by it"),
    ({"image_std": 0}, "image_std is 0"),
    ({"do_rescale": False, "do_normalize": False}, "do_normalize is false; without do_rescale too"),
    ({"format": "voc"}, 'format is "voc"'),
    ({"image_processor_type": "Nonesuch"}, 'image_processor_type is "Nonesuch"'),
    ({"do_center_crop": True}, "do_center_crop is true; the service never crops"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # transformers divides by the standard deviation of 0
@pytest.mark.parametrize(("change", "named"), REFUSED_BY_TRANSFORMERS, ids=str)
def test_what_transformers_cannot_do_is_refused_by_name(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    path = write(tmp_path, FIXED | change)
    assert not answers(tmp_path)
    assert named in refusal(path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"do_resize": False}, "do_resize is false; the service always resizes"),
        ({"do_resize": None}, "do_resize is null"),
        ({"do_resize": "no"}, 'do_resize is "no"; input should be a valid boolean'),
        ({"do_center_crop": True, "crop_size": 32}, "do_center_crop is true"),
        ({"rescale_factor": 0}, "rescale_factor is 0"),
        ({"rescale_factor": float("inf")}, "rescale_factor is Infinity"),
        ({"image_std": -1}, "image_std is -1"),
        ({"image_processor_type": "ViTImageProcessor"}, "served are YolosImageProcessor and DetrImageProcessor"),
        ({"image_processor_type": "DeformableDetrImageProcessor"}, "DeformableDetrImageProcessor"),
        ({"feature_extractor_type": "ViTFeatureExtractor"}, 'feature_extractor_type is "ViTFeatureExtractor"'),
        ({"size": {"height": 15, "width": 64}}, "size allows 15 x 64 pixels, less than one of the model's patches"),
        ({"pad_size": 15}, "pad_size allows 15 x 15 pixels"),
        ({"size": {"shortest_edge": 9, "longest_edge": 15}}, "size allows 0 x 0 pixels"),
    ],
    ids=str,
)
def test_what_the_service_does_not_do_is_refused_by_name(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    assert named in refusal(write(tmp_path, FIXED | change))


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        preprocessor.read(path, 16)
    assert caught.value.detail.startswith(f"{path}: ")
    assert "\n" not in caught.value.detail
    return caught.value.detail.removeprefix(f"{path}: ")


@pytest.mark.parametrize("size", [(1, 500), (500, 1), (1, 1), (3, 4000)])
def test_a_sliver_with_padding_is_as_narrow_as_transformers_makes_it(size: tuple[int, int], tmp_path: Path) -> None:
    path = write(tmp_path, {"size": {"max_height": 64, "max_width": 96}, "pad_size": {"height": 64, "width": 96}})
    pixels = prepare(noise(*size), spec(path, 16))
    width, height = size
    narrow = (max(int(side * min(64 / height, 96 / width)), 1) for side in (height, width))
    assert pixels.shape == (1, 3, 64, 96)
    rows, columns = narrow
    assert pixels[0, :, :rows, :columns].all()
    assert not pixels[0, :, rows:].any()
    assert not pixels[0, :, :, columns:].any()
