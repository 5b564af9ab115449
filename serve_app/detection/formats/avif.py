"""AVIF: its size and orientation as libavif reads them, without the EXIF that Pillow would parse, and its pixels."""

import io
import re
import subprocess
import sys
from pathlib import Path

from PIL import AvifImagePlugin, ExifTags, Image

from serve_app.detection.formats import avif_process, bad_data, orientation
from serve_app.detection.formats.encoded import Encoded
from serve_app.errors import InvalidImage

_PIXEL_BYTES = 4
# In the process that decodes: planes of up to 16 bits, the bytes that they become, and Pillow's image.
_KEPT_PIXEL_BYTES = 16
_MOST_SECONDS = 10  # of processor time; 12 million pixels take one
_OTHER_BYTES = 64_000_000  # of the decoder, besides the pixels
# The entry that says which item is EXIF. The rotation of the pixels is a property of the image itself.
_EXIF_ITEM = re.compile(rb"(infe\x02.{3}.{4}|infe\x03.{3}.{6})Exif", re.DOTALL)
_LONGEST_META = 1_000_000


def read(data: bytes) -> Encoded:
    """Let libavif parse the boxes; it decodes nothing yet. Raises InvalidImage."""
    parts = (_EXIF_ITEM.sub(rb"\1none", data[:_LONGEST_META]), memoryview(data)[_LONGEST_META:])
    stream = b"".join(parts)
    with bad_data.refused(), AvifImagePlugin.AvifImageFile(io.BytesIO(stream)) as image:
        width, height = image.size
        found = image.getexif().get(ExifTags.Base.Orientation)
    return Encoded(
        "AVIF",
        parts,
        width,
        height,
        pixel_bytes=_PIXEL_BYTES,
        kept_bytes=_KEPT_PIXEL_BYTES * width * height,
        orientation=orientation.first([found]),
    )


def load(encoded: Encoded) -> Image.Image:
    """Decode the first frame in a process of its own. Raises InvalidImage for damaged pixels, or too many of them."""
    data = encoded.data
    memory = encoded.kept_bytes + 3 * len(data) + _OTHER_BYTES
    # By its path: which folders a replica imports from is no business of the process.
    command = [sys.executable, "-P", str(Path(avif_process.__file__)), str(memory), str(_MOST_SECONDS)]
    ended = subprocess.run(command, input=data, capture_output=True, check=False)
    if ended.returncode == avif_process.BAD_DATA or ended.returncode < 0:  # libavif may die of a limit
        reason = ended.stderr.decode(errors="replace").strip() or f"the decoder ended with signal {-ended.returncode}"
        raise InvalidImage(f"the image cannot be decoded: {reason}")
    if ended.returncode:
        raise RuntimeError(f"avif_process ended with {ended.returncode}: {ended.stderr.decode(errors='replace')}")
    mode, _, pixels = ended.stdout.partition(b"\n")
    return Image.frombytes(mode.decode(), (encoded.width, encoded.height), pixels)
