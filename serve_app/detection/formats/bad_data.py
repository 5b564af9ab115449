"""What Pillow raises for bytes that are no whole image, told apart from faults of our own code."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from serve_app.errors import InvalidImage

# Pillow's parsers raise many types. AttributeError, TypeError and AssertionError are none of them: those are bugs.
_BAD_DATA = (
    OSError,
    SyntaxError,
    ValueError,
    RuntimeError,
    EOFError,
    LookupError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


@contextmanager
def refused() -> Iterator[None]:
    """Turn what Pillow raises for bad data into InvalidImage. Let the block hold calls of Pillow alone."""
    try:
        yield
    except _BAD_DATA as error:
        raise InvalidImage(f"the image cannot be decoded: {error}") from error
