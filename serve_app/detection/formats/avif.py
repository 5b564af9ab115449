"""AVIF: its size and orientation as libavif reads them, without the EXIF that Pillow would parse."""

import io
import re

from PIL import AvifImagePlugin, ExifTags

from serve_app.detection.formats import bad_data, orientation
from serve_app.detection.formats.encoded import Encoded

# The decoder's planes, up to 16 bits each, the bytes that it returns, and Pillow's image.
_PIXEL_BYTES = 20
# The entry that says which item is EXIF. The rotation of the pixels is a property of the image itself.
_EXIF_ITEM = re.compile(rb"(infe\x02.{3}.{4}|infe\x03.{3}.{6})Exif", re.DOTALL)
_LONGEST_META = 1_000_000


def read(data: bytes) -> Encoded:
    """Let libavif parse the boxes; it decodes nothing yet. Raises InvalidImage."""
    stream = _EXIF_ITEM.sub(rb"\1none", data[:_LONGEST_META]) + data[_LONGEST_META:]
    with bad_data.refused(), AvifImagePlugin.AvifImageFile(io.BytesIO(stream)) as image:
        width, height = image.size
        found = image.getexif().get(ExifTags.Base.Orientation)
    return Encoded("AVIF", stream, width, height, pixel_bytes=_PIXEL_BYTES, orientation=orientation.first([found]))
