"""Bytes become a picture, or are refused. What an image costs is known before the first pixel is decoded.

Called by the pipeline, and `decode` by the export.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from serve_app.detection import heap
from serve_app.detection.formats import avif, bad_data, jpeg, kinds, png, webp
from serve_app.detection.formats.encoded import Encoded, Format
from serve_app.detection.picture import Picture
from serve_app.errors import InvalidImage, TooLarge
from serve_app.settings import LimitSettings

_READERS: Mapping[Format, Callable[[bytes], Encoded]] = {
    "JPEG": jpeg.read,
    "PNG": png.read,
    "WEBP": webp.read,
    "AVIF": avif.read,
}
# Not `Image.open`, which would refuse phones' pictures of 200 million pixels, that are decoded reduced here.
_PLUGINS: Mapping[Format, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
}
# Progressive photos have about ten scans, of the most thorough optimisers twenty. A scan that codes nothing still
# takes a pass over all pixels.
_MOST_SCANS = 100
_MOST_WORK = 32  # values decoded in all scans together, for each of `max_pixels`

# By default Pillow returns each image's memory to the system, and the next image pays for page faults. It may keep this
# many blocks of 16 MB instead.
_KEPT_BLOCKS, _BLOCK_BYTES = 4, 16 << 20
Image.core.set_blocks_max(_KEPT_BLOCKS)  # type: ignore[attr-defined]  # what PILLOW_BLOCKS_MAX sets


def inspect(data: bytes, limits: LimitSettings) -> Encoded:
    """Read the header of one image, and choose the scale at which it can be decoded within the limits.

    Raises TooLarge with the number and its limit, InvalidImage for what is no image of an accepted format, and
    UnsupportedMediaType for a format that is known and not accepted.
    """
    if not data:
        raise InvalidImage("the image is empty")
    encoded = _READERS[kinds.format_of(data)](data)
    _check_header(encoded, limits)
    reduced = [encoded._replace(scale=scale) for scale in encoded.scales]
    small = [each for each in reduced if each.pixels <= limits.max_pixels]
    fitting = [each for each in small if each.bytes_to_decode <= limits.max_decode_bytes]
    if fitting:
        return fitting[0]
    if small:
        raise TooLarge(
            f"the image takes {min(each.bytes_to_decode for each in small)} bytes to decode, "
            f"the limit is {limits.max_decode_bytes}"
        )
    raise TooLarge(
        f"the image has {encoded.width}x{encoded.height} = {encoded.width * encoded.height} pixels, "
        f"the limit is {limits.max_pixels}"
    )


@contextmanager
def loaded(encoded: Encoded) -> Iterator[Picture]:
    """Decode the first frame of an inspected image at its scale; at the end of the block its memory is free again.

    Raises InvalidImage if the pixels are damaged.
    """
    try:
        picture = Picture(
            avif.load(encoded) if encoded.format == "AVIF" else _load(encoded),
            encoded.orientation,
            encoded.upright_size,
        )
        try:
            yield picture
        finally:
            picture.close()
    finally:
        if encoded.bytes_to_decode > _KEPT_BLOCKS * _BLOCK_BYTES:
            Image.core.clear_cache()  # type: ignore[attr-defined]  # the kept blocks
            heap.give_back(0)


def _load(encoded: Encoded) -> Image.Image:
    data = encoded.data
    with bad_data.refused():
        image = _PLUGINS[encoded.format](io.BytesIO(data))
    if image.size != (encoded.width, encoded.height):
        raise InvalidImage(f"the image is damaged: its headers say {encoded.width}x{encoded.height} and {image.size}")
    image.decodermaxblock = len(data)  # in parts, Pillow copies what libjpeg leaves over again and again
    try:
        with bad_data.refused():
            image.draft(None, (encoded.width // encoded.scale or 1, encoded.height // encoded.scale or 1))
            image.load()
    except BaseException:
        image.close()  # the error's traceback would keep the pixels
        raise
    return image


def decode(data: bytes, limits: LimitSettings) -> Image.Image:
    """Decode one image: first frame, upright, in RGB as Pillow converts. Raises what `inspect` and `loaded` do."""
    with loaded(inspect(data, limits)) as picture:
        return picture.upright()


def _check_header(encoded: Encoded, limits: LimitSettings) -> None:
    side = max(encoded.width, encoded.height)
    if side > limits.max_side:
        raise TooLarge(f"a side of the image has {side} pixels, the limit is {limits.max_side}")
    if encoded.scans > _MOST_SCANS:
        raise TooLarge(f"the image has {encoded.scans} scans, the limit is {_MOST_SCANS}")
    most = _MOST_WORK * limits.max_pixels
    if encoded.samples > most:
        raise TooLarge(
            f"the {encoded.scans} scans of the image decode {encoded.samples} values, the limit is {most}: "
            "send it with fewer scans or pixels"
        )
