"""Both backends against transformers' own answer: its image processor, its model, its post-processing."""

import asyncio
import io
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, YolosForObjectDetection

from serve_app.deployments import OnnxDeployment, TorchDeployment
from serve_app.detection.model import checkpoint
from serve_app.detection.pipeline import Pipeline
from serve_app.schemas import Detection, Options
from serve_app.settings import LimitSettings
from tests import checkpoints
from tests.contract.conftest import DEMO, RUN_HERE, Model, Open
from tests.preprocessors import HONOURED

PAIRS = [None, *(pair for pair in RUN_HERE if pair[1] == "fp32")]
PHOTO = Image.open(DEMO.parent / "photos/scene-2.jpg").convert("RGB")
SCORE, PIXELS = 1e-3, 0.5  # how far an answer may be from transformers'

Found = list[tuple[str, float, list[float]]]


def png() -> bytes:
    with io.BytesIO() as buffer:
        PHOTO.save(buffer, "PNG")
        return buffer.getvalue()


def of_transformers(folder: Path, threshold: float) -> Found:
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")  # type: ignore[no-untyped-call]
    model = YolosForObjectDetection.from_pretrained(folder).train(False)
    with torch.inference_mode():
        output = model(processor(images=PHOTO, return_tensors="pt")["pixel_values"])
    sizes = [(PHOTO.height, PHOTO.width)]
    result = processor.post_process_object_detection(output, threshold=threshold, target_sizes=sizes)[0]
    labels = [model.config.id2label[label] for label in result["labels"].tolist()]
    return list(zip(labels, result["scores"].tolist(), result["boxes"].tolist(), strict=True))


def ours(detections: list[Detection]) -> Found:
    return [(found.label, found.score, list(found.box.model_dump().values())) for found in detections]


def require_same(one: Found, other: Found, threshold: float) -> None:
    """Whatever one found over the threshold, the other found too; `other` holds fainter ones, where scores differ."""
    for label, score, box in one:
        if score > threshold:
            assert any(
                label == name and score == pytest.approx(near, abs=SCORE) and box == pytest.approx(edges, abs=PIXELS)
                for name, near, edges in other
            ), (label, score, box)


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The demo checkpoint with one of the preprocessors."""

    @cache
    def change(name: str) -> Path:
        folder = Path(shutil.copytree(DEMO, tmp_path_factory.mktemp("demo") / "checkpoint"))
        checkpoints.write_preprocessor(folder, HONOURED[name])
        return folder

    return change


@pytest.mark.parametrize("name", HONOURED)
def test_each_preprocessor_gives_the_detections_of_transformers(
    name: str, changed: Callable[[str], Path], models: Callable[[str], Model], opened: Open
) -> None:
    expected = of_transformers(changed(name), 0.001)
    assert len(expected) > 1
    for pair in PAIRS:
        pipeline = Pipeline(opened(models("demo"), pair), checkpoint.read_spec(changed(name)), LimitSettings())
        found = ours(pipeline.detect(png(), Options(threshold=0.001), timeout_s=600).detections)
        require_same(expected, found, 0.01)
        require_same(found, expected, 0.01)


@pytest.mark.parametrize(
    ("preprocessor", "config"),
    [
        ("at most, padded", {}),
        ("DETR, no whole patches", {"id2label": None, "label2id": None, "num_labels": 2}),
        ("not rescaled", {"patch_size": 32, "num_labels": 1, "id2label": None, "label2id": None}),
    ],
)
def test_a_checkpoint_is_exported_and_both_deployments_answer_as_transformers(
    preprocessor: str, config: dict[str, Any], tmp_path: Path
) -> None:
    folder = checkpoints.make(tmp_path / "checkpoint", mid=True, **config)
    checkpoints.write_preprocessor(folder, HONOURED[preprocessor])
    artifact = checkpoints.export(folder, tmp_path / "artifact")
    expected = of_transformers(folder, 0.0)
    assert len(expected) == checkpoints.TOKENS
    both = {"checkpoint": str(folder), "threads": 1}
    for deployment, settings in (TorchDeployment, both), (OnnxDeployment, both | {"artifact": str(artifact)}):
        loaded = deployment(LimitSettings())
        loaded.reconfigure(settings)
        found = asyncio.run(loaded.detect(png(), Options(threshold=0.0), timeout_s=600))
        assert len(found.detections) == checkpoints.TOKENS
        require_same(ours(found.detections), expected, 0.0)


def refuse_preprocessing(folder: Path) -> None:
    checkpoints.write_preprocessor(folder, {"rescale_factor": None})


def refuse_channels(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"num_channels": 3', '"num_channels": 1'))


def refuse_weights(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"num_hidden_layers": 3', '"num_hidden_layers": 4'))


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (refuse_preprocessing, "preprocessor_config.json: rescale_factor is null; write a positive number"),
        (refuse_channels, "config.json: num_channels is 1"),
        (refuse_weights, "tensors missing: 16 (vit.encoder.layer.3."),
    ],
)
def test_a_checkpoint_that_cannot_be_right_is_a_status_of_both_deployments(
    break_it: Callable[[Path], None], told: str, tiny: Path, tiny_artifact: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "checkpoint"))
    break_it(folder)
    both = {"checkpoint": str(folder), "threads": 1}
    for deployment, settings in (TorchDeployment, both), (OnnxDeployment, both | {"artifact": str(tiny_artifact)}):
        loaded = deployment(LimitSettings())
        loaded.reconfigure(settings)
        status = asyncio.run(loaded.status())
        assert status.state == "unavailable"
        assert status.reason is not None
        assert told in status.reason
        assert status.reason.endswith(f"then change {deployment.__name__}.user_config.reload")
