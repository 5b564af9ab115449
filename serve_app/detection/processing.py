"""Pre- and post-processing: image -> pixels, raw outputs -> detections. Called by the pipeline of both backends.

The tests compare both with transformers' YolosImageProcessorPil and its `post_process_object_detection`.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serve_app.detection.picture import Picture
from serve_app.detection.spec import ModelSpec, Pixels, RawOutputs, ResizeRule
from serve_app.schemas import Box, Detection, ImageSize

# Finer than the difference between two engines; more digits would triple the JSON.
_SCORE_DECIMALS, _PIXEL_DECIMALS = 6, 3


def target_size(height: int, width: int, rule: ResizeRule, patch: int) -> tuple[int, int]:
    """Height and width in pixels after resizing: the checkpoint's own rule, rounded down to whole patches.

    Each side keeps at least one patch; transformers would fail on an image so narrow that it rounds to none.
    """
    if rule.height and rule.width:
        rows, columns = rule.height, rule.width
    else:
        rows, columns = _keep_aspect(height, width, rule.shortest_edge or 800, rule.longest_edge or 1333)
    return max(rows - rows % patch, patch), max(columns - columns % patch, patch)


def _keep_aspect(height: int, width: int, shortest: int, longest: int) -> tuple[int, int]:
    # As get_size_with_aspect_ratio_yolos of transformers does it, including what it rounds and what it truncates
    exact = float(shortest)
    short = shortest
    if max(height, width) / min(height, width) * shortest > longest:
        exact = longest * min(height, width) / max(height, width)
        short = round(exact)
    if width < height:
        return int(exact * height / width), short
    if height == short:
        return height, width
    return short, int(exact * width / height)


def prepare(image: Image.Image | Picture, spec: ModelSpec) -> Pixels:
    """Resize and normalise an RGB image to (1, 3, height, width) float32, in one pass over the resized pixels."""
    height, width = target_size(image.height, image.width, spec.resize, spec.patch_size)
    resized = image.resize((width, height), resample=Image.Resampling(spec.resample))
    std = np.array(spec.std, np.float64)
    scale = (1 / (255 * std)).astype(np.float32).reshape(3, 1, 1)
    shift = (-np.array(spec.mean) / std).astype(np.float32).reshape(3, 1, 1)
    pixels = np.empty((1, 3, height, width), np.float32)
    np.multiply(np.asarray(resized).transpose(2, 0, 1), scale, out=pixels[0], dtype=np.float32, casting="unsafe")
    pixels += shift
    return pixels


def finish(raw: RawOutputs, spec: ModelSpec, size: ImageSize, threshold: float, max_detections: int) -> list[Detection]:
    """Detections of the batch's first image with a score over `threshold`, best first, boxes in image pixels.

    The same as transformers' `post_process_object_detection`: softmax, the best label other than "no object", boxes as
    corners, scaled to the image. At most `max_detections` are kept.
    """
    probabilities = _softmax(raw.logits[0])[:, :-1]
    best = probabilities.argmax(axis=-1)
    scores = np.take_along_axis(probabilities, best[:, None], axis=-1)[:, 0]
    kept = np.flatnonzero(scores > threshold)
    kept = kept[np.argsort(-scores[kept], kind="stable")][:max_detections]
    corners = _corners(raw.boxes[0][kept]) * np.array([size.width, size.height] * 2, np.float32)
    return [
        Detection(
            label=spec.labels[best[query]],
            score=round(float(scores[query]), _SCORE_DECIMALS),
            box=Box.of([round(edge, _PIXEL_DECIMALS) for edge in box]),
        )
        for query, box in zip(kept, corners.tolist(), strict=True)
    ]


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    total: NDArray[np.float32] = exponents / exponents.sum(axis=-1, keepdims=True)
    return total


def _corners(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=-1)
