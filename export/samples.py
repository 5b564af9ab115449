"""The images on which an artifact is compared: photographs of several sizes and shapes. Called by `export.write`."""

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from serve_app.detection.imaging import decode
from serve_app.errors import ConfigurationError, ServingError
from serve_app.settings import LimitSettings

# Beside this package, so the default does not depend on the working directory.
PHOTOS = Path(__file__).parents[1] / "demo" / "photos"
COUNT = 12
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
# Width and height; None keeps the image's own size. Together: portrait, landscape, square, small and panorama.
_SHAPES: tuple[tuple[int, int] | None, ...] = (None, (480, 640), (640, 400), (512, 512), (180, 240), (900, 300))
_REMEDY = "name a folder of images with --images DIR"


class Sample(NamedTuple):
    """One image with a name for messages."""

    name: str
    image: Image.Image


def load(folder: Path | None) -> list[Sample]:
    """`COUNT` samples made from the images in `folder`, by default the demo's.

    Raises ConfigurationError when the folder is missing, holds no image, or holds one that cannot be decoded.
    """
    folder = (folder or PHOTOS).absolute()
    try:
        sources = _read(folder)
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be read: {error.strerror}; {_REMEDY}") from error
    return [_shaped(sample, shape) for _, sample, shape in zip(range(COUNT), cycle(sources), cycle(_SHAPES))]


def _read(folder: Path) -> list[Sample]:
    if not folder.is_dir():
        raise ConfigurationError(f"no images to compare on: there is no folder {folder}; {_REMEDY}")
    samples = []
    for path in _files(folder):
        try:
            samples.append(Sample(path.name, decode(path.read_bytes(), LimitSettings())))
        except ServingError as error:
            raise ConfigurationError(f"{path}: {error.detail}; remove or replace it") from error
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror}; remove or replace it") from error
        if len(samples) == COUNT:
            break
    if not samples:
        raise ConfigurationError(
            f"no images to compare on: {folder} holds no {', '.join(sorted(_SUFFIXES))} file; {_REMEDY}"
        )
    return samples


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.suffix.lower() in _SUFFIXES)


def _shaped(sample: Sample, shape: tuple[int, int] | None) -> Sample:
    image = sample.image if shape is None else sample.image.resize(shape)
    return Sample(f"{sample.name} {image.width}x{image.height}", image)
