"""Decodes bytes into an upright RGB image of bounded size, or refuses them. Called by the pipeline and the export."""

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from serve_app.errors import InvalidImage, TooLarge
from serve_app.settings import LimitSettings

# Only the formats that the API documents: every further one is another parser of untrusted bytes.
FORMATS = ("JPEG", "PNG", "WEBP")

# By default Pillow returns each image's memory to the system, and the next image pays for page faults. It may keep this
# many blocks of 16 MB instead.
_KEPT_BLOCKS = 4
Image.core.set_blocks_max(_KEPT_BLOCKS)  # type: ignore[attr-defined]  # what PILLOW_BLOCKS_MAX sets


def decode(data: bytes, limits: LimitSettings) -> Image.Image:
    """Decode one image: first frame, EXIF orientation applied, converted to RGB as Pillow does (alpha dropped).

    Raises TooLarge, before any pixel is decoded, for an image over `limits.max_pixels`, and InvalidImage for bytes that
    are no whole image of one of the `FORMATS`.
    """
    try:
        with _open(data) as image:
            _check_size(image, limits)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)  # otherwise it copies every image
            return _to_rgb(image)
    except (TooLarge, InvalidImage, MemoryError):
        raise
    except Exception as error:  # on damaged files Pillow's parsers raise many unrelated types
        raise InvalidImage(f"the image cannot be decoded: {error}") from error


def _open(data: bytes) -> Image.Image:
    if not data:
        raise InvalidImage("the image is empty")
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise InvalidImage(f"the image is none of {', '.join(FORMATS)}, or its header is damaged") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge(f"the image has too many pixels: {error}") from None


def _check_size(image: Image.Image, limits: LimitSettings) -> None:
    pixels = image.width * image.height
    if pixels > limits.max_pixels:
        raise TooLarge(
            f"the image has {image.width}x{image.height} = {pixels} pixels, the limit is {limits.max_pixels}"
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image  # Pillow's `convert` would copy it
    if image.mode.startswith("I;16"):
        # Pillow would clip 16-bit grey values at 255; the high byte keeps the picture.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # the same colours as without this step, but no warning from Pillow
    return image.convert("RGB")
