"""preprocessor_config.json, as transformers' image processors for YOLOS and DETR read it. Called by `checkpoint`.

Each setting is honoured as they do it (transformers 5, on Pillow), or refused by name. What they do not read, such as
`size_divisor`, is not read here either.
"""

import json
import math
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from serve_app.detection.model.json_file import parse
from serve_app.detection.spec import ResizeRule
from serve_app.errors import ConfigurationError

Channels = tuple[float, float, float]

# The processors that are served, and the multiples of pixels to which they round what follows the edges
_MULTIPLES = {"YolosImageProcessor": 16, "DetrImageProcessor": 1}
_SIZES = ({"height", "width"}, {"shortest_edge", "longest_edge"}, {"max_height", "max_width"})
_DEFAULT_SIZE: JsonValue = {"shortest_edge": 800, "longest_edge": 1333}


class Preprocessing(NamedTuple):
    """What the file says, in the terms of ModelSpec."""

    resize: ResizeRule
    resample: int
    rescale: float
    mean: Channels
    std: Channels
    pad: tuple[int, int] | None


class _Settings(BaseModel):
    """The keys that can change an answer, each with transformers' default. A switch that is null is off."""

    model_config = ConfigDict(extra="ignore", strict=True)

    image_processor_type: str | None = None
    feature_extractor_type: str | None = None
    do_resize: bool | None = True
    size: JsonValue = None
    max_size: int | None = 1333
    resample: int = Field(2, ge=0, le=7)
    do_rescale: bool | None = True
    rescale_factor: float | None = 1 / 255
    do_normalize: bool | None = True
    image_mean: JsonValue = [0.485, 0.456, 0.406]
    image_std: JsonValue = [0.229, 0.224, 0.225]
    do_pad: bool | None = True
    pad_and_return_pixel_mask: bool | None = True  # the name of do_pad before transformers 4.26
    pad_size: JsonValue = None
    do_center_crop: bool | None = False
    format: Literal["coco_detection", "coco_panoptic"] = "coco_detection"


def read(path: Path, patch: int) -> Preprocessing:
    """Read the file at `path`, for a model whose patches have sides of `patch` pixels.

    Raises ConfigurationError with the key and its value, for damaged JSON and for what the service does not do.
    """
    settings = parse(_Settings, path)
    try:
        return _preprocessing(settings, patch)
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _preprocessing(settings: _Settings, patch: int) -> Preprocessing:
    if not settings.do_resize:
        raise _refusal(
            "do_resize", settings.do_resize, "the service always resizes, or one large photo would take all memory"
        )
    if settings.do_center_crop:
        raise _refusal("do_center_crop", True, "the service never crops")
    if not (settings.do_rescale or settings.do_normalize):
        raise _refusal("do_normalize", settings.do_normalize, "without do_rescale too, transformers' model cannot run")
    rule, pad = _resize_rule(settings), _pad(settings)
    _require_patches(rule, pad, patch)
    _require_room(rule, pad)
    return Preprocessing(
        resize=rule,
        resample=settings.resample,
        rescale=_factor(settings.rescale_factor) if settings.do_rescale else 1.0,
        mean=_channels("image_mean", settings.image_mean) if settings.do_normalize else (0.0, 0.0, 0.0),
        std=_divisors("image_std", settings.image_std) if settings.do_normalize else (1.0, 1.0, 1.0),
        pad=pad,
    )


def _resize_rule(settings: _Settings) -> ResizeRule:
    size = _DEFAULT_SIZE if settings.size is None else settings.size
    if isinstance(size, int):  # before transformers 4.26, two numbers
        size = {"shortest_edge": size, "longest_edge": settings.max_size}
    if isinstance(size, list) and len(size) == 2:
        size = {"height": size[0], "width": size[1]}
    if not (isinstance(size, dict) and set(size) in _SIZES and all(map(_is_length, size.values()))):
        pairs = ", ".join(" and ".join(sorted(pair)) for pair in _SIZES)
        raise _refusal("size", settings.size, f"transformers takes one of these pairs, in whole pixels: {pairs}")
    return ResizeRule.model_validate(size | {"multiple": _multiple(settings)})


def _multiple(settings: _Settings) -> int:
    old = settings.feature_extractor_type
    named = settings.image_processor_type or (old and old.replace("FeatureExtractor", "ImageProcessor"))
    name = (named or "YolosImageProcessor").removesuffix("Fast").removesuffix("Pil")
    if name not in _MULTIPLES:
        key = "image_processor_type" if settings.image_processor_type else "feature_extractor_type"
        raise _refusal(key, settings.image_processor_type or old, f"served are {' and '.join(_MULTIPLES)}")
    return _MULTIPLES[name]


def _pad(settings: _Settings) -> tuple[int, int] | None:
    given = "do_pad" in settings.model_fields_set
    size = settings.pad_size
    if size is None or not (settings.do_pad if given else settings.pad_and_return_pixel_mask):
        return None  # one image alone is padded to its own size
    if isinstance(size, int):
        size = [size, size]
    if isinstance(size, dict) and set(size) == {"height", "width"}:
        size = [size["height"], size["width"]]
    match size:
        case [int(height), int(width)] if _is_length(height) and _is_length(width):
            return height, width
    raise _refusal("pad_size", settings.pad_size, "transformers takes height and width, in whole pixels")


def _require_patches(rule: ResizeRule, pad: tuple[int, int] | None, patch: int) -> None:
    rows, columns = pad or _largest(rule)
    if min(rows, columns) < patch:
        key = "pad_size" if pad else "size"
        raise ValueError(f"{key} allows {rows} x {columns} pixels, less than one of the model's patches ({patch})")


def _require_room(rule: ResizeRule, pad: tuple[int, int] | None) -> None:
    rows, columns = _largest(rule)
    if pad and (pad[0] < rows or pad[1] < columns):
        raise ValueError(
            f"pad_size is {pad[0]} x {pad[1]}, too small for images that size lets through ({rows} x {columns}), which "
            "transformers refuses to pad; enlarge pad_size or set do_pad to false"
        )


def _largest(rule: ResizeRule) -> tuple[int, int]:
    if rule.longest_edge:
        side = rule.longest_edge - rule.longest_edge % rule.multiple
        return side, side
    return rule.height or rule.max_height or 0, rule.width or rule.max_width or 0


def _factor(value: float | None) -> float:
    if value is None or not (math.isfinite(value) and value > 0):
        raise _refusal("rescale_factor", value, f"write a positive number (transformers' is {1 / 255})")
    return value


def _divisors(key: str, value: JsonValue) -> Channels:
    found = _channels(key, value)
    if min(found) <= 0:
        raise _refusal(key, value, "pixels are divided by it, so it has to be positive")
    return found


def _channels(key: str, value: JsonValue) -> Channels:
    listed = value if isinstance(value, list) else [value] * 3
    match listed:
        case [float() | int() as red, float() | int() as green, float() | int() as blue]:
            if all(map(math.isfinite, (red, green, blue))):
                return float(red), float(green), float(blue)
    raise _refusal(key, value, "expected a finite number for each of the 3 channels")


def _is_length(value: Any) -> bool:
    return type(value) is int and value >= 1  # not a bool, which is an int too


def _refusal(key: str, value: JsonValue, reason: str) -> ValueError:
    return ValueError(f"{key} is {json.dumps(value)}; {reason}")
