"""A decoded image that is put upright and converted to RGB only while it is resized. Made by `imaging`."""

import numpy as np
from PIL import Image

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FROM_THE_END = {3, 4, 7, 8}  # the first upright rows are the last stored rows or columns
_STRIP_BYTES = 4_000_000


class Picture:
    """An image as it was stored, seen as upright RGB of `width` x `height`, the size before any reduction.

    Converting and turning it as a whole would take as much memory again, so `resize` does it strip by strip.
    """

    def __init__(self, image: Image.Image, orientation: int, size: tuple[int, int]) -> None:
        self.width, self.height = size
        self._image = image
        self._orientation = orientation
        self._turned = orientation >= 5
        self._rows = image.width if self._turned else image.height
        self._columns = image.height if self._turned else image.width

    def upright(self) -> Image.Image:
        """The whole image, upright and RGB."""
        return self._strip(0, self._rows)

    def resize(self, size: tuple[int, int], resample: Image.Resampling) -> Image.Image:
        """The upright image in another size (width, height); every pixel as Pillow's own `resize` gives it.

        Pillow resizes the rows first and then the columns, each row alone, so the rows may come in strips.
        """
        step = max(_STRIP_BYTES // (4 * self._columns), 1)
        if step >= self._rows:
            return self.upright().resize(size, resample)
        narrow = Image.new("RGB", (size[0], self._rows))
        for top in range(0, self._rows, step):
            strip = self._strip(top, min(top + step, self._rows))
            narrow.paste(strip.resize((size[0], strip.height), resample), (0, top))
        return narrow.resize(size, resample)

    def close(self) -> None:
        """Let go of the pixels."""
        del self._image

    def _strip(self, top: int, bottom: int) -> Image.Image:
        """Some rows of the upright image, in RGB."""
        image = self._image
        if bottom - top < self._rows:
            if self._orientation in _FROM_THE_END:
                top, bottom = self._rows - bottom, self._rows - top
            box = (top, 0, bottom, image.height) if self._turned else (0, top, image.width, bottom)
            image = image.crop(box)
        method = _TRANSPOSE.get(self._orientation)
        return _to_rgb(image if method is None else image.transpose(method))


def _to_rgb(image: Image.Image) -> Image.Image:
    """As Pillow converts it, alpha dropped."""
    if image.mode == "RGB":
        return image  # Pillow's `convert` would copy it
    if image.mode.startswith("I;16"):
        # Pillow would clip 16-bit grey values at 255; the high byte keeps the picture.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")
