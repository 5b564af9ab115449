"""The orientation of an image, read from its metadata, and nothing else of it: a blemish there costs no photo.

Every function takes bytes that anybody may have written, looks at a bounded part of them, and never raises.
"""

import re
import zlib
from collections.abc import Callable, Iterable

UPRIGHT = 1
_TAG = 0x0112
_SIZES = {1: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4}  # TIFF's types of whole numbers, and their bytes
_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
# Real blocks are far smaller; these bound the search, and what a compressed text may grow to.
_LONGEST_XMP = 1_000_000
_LONGEST_PROFILE = 200_000


def first(found: Iterable[int | None]) -> int:
    """The first orientation that was found, if it is one of EXIF's eight; otherwise upright."""
    value = next((value for value in found if value is not None), UPRIGHT)
    return value if 1 <= value <= 8 else UPRIGHT


def from_exif(block: bytes) -> int | None:
    """The value of the orientation tag in an EXIF block (a TIFF header with its first directory), if there is one."""
    block = re.sub(rb"^(?:Exif\0\0){1,2}", b"", block)
    order: dict[bytes, Callable[[int, int], int]] = {
        b"II": lambda start, size: int.from_bytes(block[start : start + size], "little"),
        b"MM": lambda start, size: int.from_bytes(block[start : start + size], "big"),
    }
    number = order.get(block[:2])
    if number is None or number(2, 2) != 42:
        return None
    directory = number(4, 4)
    found = None
    for entry in range(number(directory, 2)):
        start = directory + 2 + 12 * entry
        if start + 12 > len(block):
            break
        size = _SIZES.get(number(start + 2, 2))
        if number(start, 2) == _TAG and size and number(start + 4, 4):
            found = number(start + 8, size)  # the last one counts, as in Pillow
    return found


def from_xmp(packet: bytes) -> int | None:
    """The value of `tiff:Orientation` in an XMP packet, if there is one."""
    match = _XMP.search(packet, 0, _LONGEST_XMP)
    return int(match[1]) if match else None


def from_text_profile(text: bytes) -> int | None:
    """The orientation in the text that ImageMagick writes into a PNG: a line with the length, then EXIF in hex."""
    digits = b"".join(text[:_LONGEST_PROFILE].split(b"\n")[3:])
    try:
        return from_exif(bytes.fromhex(digits.decode("ascii")))
    except ValueError:
        return None


def inflated(data: bytes) -> bytes:
    """A compressed text, cut off at the length that is searched; empty if it cannot be read."""
    try:
        return zlib.decompressobj().decompress(data, _LONGEST_XMP)
    except zlib.error:
        return b""
