"""The images an artifact is tried on: photographs of several sizes and aspect ratios. Called by `export.write`."""

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from serve_app.detection.imaging import decode
from serve_app.errors import ConfigurationError, ServingError
from serve_app.settings import LimitSettings

PHOTOS = Path("demo/photos")
COUNT = 12
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
# Width and height; with the image's own size between them they cover upright, across, square, tiny and long shapes.
_SHAPES: tuple[tuple[int, int] | None, ...] = (None, (480, 640), (640, 400), (512, 512), (180, 240), (900, 300))


class Sample(NamedTuple):
    """One image with a name for messages."""

    name: str
    image: Image.Image


def load(folder: Path | None) -> list[Sample]:
    """`COUNT` samples from `folder`, else from the demo's photographs, else from rendered scenes.

    Raises ConfigurationError when `folder` holds no image that can be decoded.
    """
    if folder is None and not any(_files(PHOTOS)):
        sources = [Sample(f"scene {seed}", _scene(seed)) for seed in range(COUNT)]
    else:
        sources = _photos(folder or PHOTOS)
    return [_shaped(sample, shape) for _, sample, shape in zip(range(COUNT), cycle(sources), cycle(_SHAPES))]


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.glob("*")) if path.suffix.lower() in _SUFFIXES)


def _photos(folder: Path) -> list[Sample]:
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: no such folder of images")
    samples = []
    for path in _files(folder):
        try:
            samples.append(Sample(path.name, decode(path.read_bytes(), LimitSettings())))
        except ServingError as error:
            raise ConfigurationError(f"{path}: {error.detail}") from error
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror}") from error
        if len(samples) == COUNT:
            break
    if not samples:
        raise ConfigurationError(f"{folder}: holds no {', '.join(sorted(_SUFFIXES))} file")
    return samples


def _scene(seed: int) -> Image.Image:
    from training.scenes import render_scene  # only where there are no photographs

    return Image.fromarray(render_scene(seed, 480, 640).pixels)


def _shaped(sample: Sample, shape: tuple[int, int] | None) -> Sample:
    image = sample.image if shape is None else sample.image.resize(shape)
    return Sample(f"{sample.name} {image.width}x{image.height}", image)
