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


def target_size(height: int, width: int, rule: ResizeRule) -> tuple[int, int]:
    """Height and width in pixels after resizing, as transformers computes them; 0 for a side that rounds to nothing."""
    if rule.height and rule.width:
        return rule.height, rule.width
    if rule.max_height and rule.max_width:
        scale = min(rule.max_height / height, rule.max_width / width)
        return int(height * scale), int(width * scale)
    rows, columns = _between_edges(height, width, rule)
    return rows - rows % rule.multiple, columns - columns % rule.multiple


def _between_edges(height: int, width: int, rule: ResizeRule) -> tuple[int, int]:
    # As get_size_with_aspect_ratio_yolos of transformers does it, including what it rounds and what it truncates
    shortest, longest = rule.shortest_edge or 800, rule.longest_edge or 1333
    exact = float(shortest)
    short = shortest
    if max(height, width) / min(height, width) * shortest > longest:
        exact = longest * min(height, width) / max(height, width)
        short = round(exact)
    # DETR's leaves any image whose short side fits as it is; YOLOS's computes the long side of a portrait again.
    if min(height, width) == short and (height <= width or rule.multiple == 1):
        return height, width
    if width < height:
        return int(exact * height / width), short
    return short, int(exact * width / height)


def prepare(image: Image.Image | Picture, spec: ModelSpec) -> Pixels:
    """Resize, normalise and pad an RGB image to (1, 3, height, width) float32, both sides whole patches.

    What transformers leaves over beside the last whole patch is cut off here: the model's patches never read it. An
    image so narrow that transformers would have no patch of it is stretched to one.
    """
    least = 1 if spec.pad else spec.patch_size
    height, width = (max(side, least) for side in target_size(image.height, image.width, spec.resize))
    resized = np.asarray(image.resize((width, height), resample=Image.Resampling(spec.resample)))
    rows, columns = (side - side % spec.patch_size for side in spec.pad or (height, width))
    height, width = min(height, rows), min(width, columns)
    std = np.array(spec.std, np.float64)
    scale = (spec.rescale / std).astype(np.float32).reshape(3, 1, 1)
    shift = (-np.array(spec.mean) / std).astype(np.float32).reshape(3, 1, 1)
    pixels = np.zeros((1, 3, rows, columns), np.float32) if spec.pad else np.empty((1, 3, rows, columns), np.float32)
    seen = pixels[0, :, :height, :width]
    np.multiply(resized[:height, :width].transpose(2, 0, 1), scale, out=seen, dtype=np.float32, casting="unsafe")
    seen += shift
    return pixels


def finish(raw: RawOutputs, spec: ModelSpec, size: ImageSize, threshold: float, max_detections: int) -> list[Detection]:
    """Detections of the batch's first image with a score over `threshold`, best first, boxes in image pixels.

    The same as transformers' `post_process_object_detection`: softmax, the best label other than "no object", boxes as
    corners, scaled to the image. At most `max_detections` are kept.
    """
    probabilities = label_scores(raw)
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


def label_scores(raw: RawOutputs) -> NDArray[np.float32]:
    """Probability of each label other than "no object", as (queries, labels), for the batch's first image."""
    logits = raw.logits[0]
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float32] = exponents / exponents.sum(axis=-1, keepdims=True)
    return probabilities[:, :-1]


def _corners(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=-1)
