"""The contract of serve_app.detection.spec.Detector, asked of every engine."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from serve_app.detection.model.artifact import Precision
from serve_app.detection.spec import Detector, Pixels
from serve_app.settings import Engine
from tests.contract.conftest import CANDIDATES, DETECTORS, Model, name_of, why_not

# Height and width: the grid of training, its transpose, one patch high, square, portrait
SIZES = [(64, 96), (96, 64), (16, 160), (112, 112), (160, 48)]
# Largest difference of raw outputs. bf16 keeps 8 bits of each number, int8 8 bits of each weight, and layers of random
# weights do not damp the error. These bounds show that the function is the same; test_gate.py shows on the trained
# checkpoint that the detections are as good.
BOUNDS = {"fp32": 1e-4, "bf16": 0.3, "int8": 0.5}


def pixels(height: int, width: int, batch: int = 1, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).standard_normal((batch, 3, height, width), dtype=np.float32)


@pytest.mark.parametrize("pair", CANDIDATES, ids=name_of)
def test_this_machine_runs(pair: tuple[Engine, Precision]) -> None:
    """The tests below leave out what this machine cannot run; here it is reported, once, with what is missing."""
    if missing := why_not(*pair):
        pytest.skip(missing)
    assert pair in DETECTORS


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("batch", [1, 3])
def test_outputs_have_the_promised_shapes_and_types(
    detector: Detector, model: Model, size: tuple[int, int], batch: int
) -> None:
    raw = detector.infer(pixels(*size, batch=batch))
    queries = model.spec.detection_tokens
    assert raw.logits.shape == (batch, queries, len(model.spec.labels) + 1)
    assert raw.boxes.shape == (batch, queries, 4)
    assert raw.logits.dtype == raw.boxes.dtype == np.float32
    assert np.isfinite(raw.logits).all()
    assert ((raw.boxes >= 0) & (raw.boxes <= 1)).all()


@pytest.mark.parametrize("size", SIZES)
def test_a_candidate_computes_what_torch_computes(
    candidate: Detector, torch_detector: Detector, size: tuple[int, int]
) -> None:
    image = pixels(*size)
    expected, found = torch_detector.infer(image), candidate.infer(image)
    bound = BOUNDS[candidate.info.precision]
    np.testing.assert_allclose(found.logits, expected.logits, atol=bound, rtol=bound)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=bound)


def test_the_answer_depends_on_the_image_and_on_its_grid(detector: Detector) -> None:
    one, other = detector.infer(pixels(64, 96)), detector.infer(pixels(64, 96, seed=1))
    turned = detector.infer(np.ascontiguousarray(pixels(64, 96).transpose(0, 1, 3, 2)))
    assert np.abs(one.logits - other.logits).max() > 1e-3
    assert np.abs(one.logits - turned.logits).max() > 1e-3


def test_a_batch_answers_like_its_images_one_by_one(detector: Detector) -> None:
    batch = pixels(64, 96, batch=3)
    together = detector.infer(batch)
    # int8 measures one range of activations over the whole batch, so the other images change the rounding.
    bound = {"fp32": 1e-4, "bf16": 0.05, "int8": BOUNDS["int8"]}[detector.info.precision]
    for index in range(3):
        alone = detector.infer(batch[index : index + 1])
        np.testing.assert_allclose(together.logits[index], alone.logits[0], atol=bound, rtol=bound)


# Not OpenVINO: the settings allow it one inference at once.
@pytest.mark.parametrize(
    "detector", [pair for pair in DETECTORS if pair is None or pair[0] != "openvino"], ids=name_of, indirect=True
)
def test_two_threads_at_the_same_time_get_what_each_gets_alone(detector: Detector) -> None:
    images = [pixels(*size, seed=seed) for seed, size in enumerate(SIZES * 8)]
    alone = [detector.infer(image) for image in images]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(detector.infer, images))
    for found, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(found.logits, expected.logits, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-5)


def test_the_same_image_gets_the_same_answer_after_other_grids(detector: Detector) -> None:
    first = detector.infer(pixels(64, 96))
    for size in SIZES:
        detector.infer(pixels(*size))
    again = detector.infer(pixels(64, 96))
    np.testing.assert_array_equal(first.logits, again.logits)
    np.testing.assert_array_equal(first.boxes, again.boxes)


def test_it_says_what_it_is(detector: Detector) -> None:
    info = detector.info
    assert info.engine in {"torch-sdpa", "onnxruntime", "openvino"}
    assert info.threads == 1
    assert info.precision in {"fp32", "bf16", "int8"}
    assert all(info.versions.values())
