"""An image read as far as its header: what the format's module found, and what its pixels will take."""

from typing import Literal, NamedTuple

Format = Literal["JPEG", "PNG", "WEBP", "AVIF"]

# While it is resized, the rows of an upright image wait at their new width: 4 bytes a pixel, at most this many pixels.
_RESIZED_WIDTH = 1333


class Encoded(NamedTuple):
    """An image without its metadata, in the order and size in which its pixels are stored.

    `parts` are views of the file that was read, as a second copy of every image that waits would take memory.
    `pixel_bytes` is the memory of each decoded pixel, `kept_bytes` what the decoder keeps beside them at any scale.
    A scale of 2 decodes half of the width and of the height; `scales` are those that the format can.
    `scans` are the passes over the image, and `samples` the values that all of them decode together.
    `orientation` is EXIF's, 1 to 8.
    """

    format: Format
    parts: tuple[bytes | memoryview, ...]
    width: int
    height: int
    pixel_bytes: int
    kept_bytes: int = 0
    orientation: int = 1
    scans: int = 1
    samples: int = 0
    scales: tuple[int, ...] = (1,)
    scale: int = 1

    @property
    def data(self) -> bytes:
        """What the decoder gets: the parts as one."""
        return b"".join(self.parts)

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height of the whole picture as a person sees it."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)

    @property
    def pixels(self) -> int:
        """The pixels that are decoded, at the chosen scale."""
        return -(-self.width // self.scale) * -(-self.height // self.scale)

    @property
    def bytes_to_decode(self) -> int:
        """The most memory that decoding and resizing take at once, without the file itself."""
        image = self.pixels * self.pixel_bytes
        rows = -(-self.upright_size[1] // self.scale)
        return image + max(self.kept_bytes, 4 * _RESIZED_WIDTH * rows)
