"""Position embeddings for any patch grid, computed outside the graph and cached. Called by the ONNX detector.

They depend on the grid alone, so a graph that interpolates them at each call, as an ordinary export does, repeats
the same bicubic work for every image and every layer.
"""

from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

# Keys' kernel parameter as torch.nn.functional.interpolate(mode="bicubic") has it (Keys 1981, a = -0.75)
_A = -0.75


class GridPositions(NamedTuple):
    """Embeddings for one grid: `initial` is (1, tokens, hidden); `mid` (layers - 1, 1, tokens, hidden) or None."""

    initial: Array
    mid: Array | None


class PositionEmbeddings:
    """The trained embeddings of one checkpoint, resized to a grid on demand; the latest `capacity` grids are kept."""

    def __init__(
        self, initial: Array, mid: Array | None, grid: tuple[int, int], detection_tokens: int, capacity: int = 64
    ) -> None:
        self._initial, self._mid = initial, mid
        self._grid, self._detection_tokens, self._capacity = grid, detection_tokens, capacity
        self._cache: OrderedDict[tuple[int, int], GridPositions] = OrderedDict()

    @classmethod
    def load(cls, path: Path, grid: tuple[int, int], detection_tokens: int) -> "PositionEmbeddings":
        """Read the arrays that the export wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(arrays["initial"], arrays.get("mid"), grid, detection_tokens)

    def for_grid(self, rows: int, columns: int) -> GridPositions:
        """The embeddings of a grid. Not safe for concurrent calls: the pipeline runs one inference at a time."""
        key = (rows, columns)
        if key not in self._cache:
            mid = None if self._mid is None else self._resize(self._mid, key)
            self._cache[key] = GridPositions(self._resize(self._initial, key), mid)
            if len(self._cache) > self._capacity:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]

    def _resize(self, tokens: Array, grid: tuple[int, int]) -> Array:
        """Resize the patch part of (..., tokens, hidden); the class token and the detection tokens stay."""
        first, patches, last = np.split(tokens, [1, tokens.shape[-2] - self._detection_tokens], axis=-2)
        lead, hidden = tokens.shape[:-2], tokens.shape[-1]
        image = patches.reshape(*lead, *self._grid, hidden)
        rows, columns = (_bicubic(old, new) for old, new in zip(self._grid, grid, strict=True))
        image = np.einsum("ij,...jkh->...ikh", rows, image, optimize=True)
        image = np.einsum("ij,...kjh->...kih", columns, image, optimize=True)
        resized = image.reshape(*lead, grid[0] * grid[1], hidden).astype(np.float32)
        return np.ascontiguousarray(np.concatenate([first, resized, last], axis=-2))


def _bicubic(old: int, new: int) -> NDArray[np.float64]:
    """The (new, old) matrix of bicubic interpolation, pixel centres aligned, borders repeated."""
    matrix = np.zeros((new, old))
    source = (np.arange(new) + 0.5) * old / new - 0.5
    base = np.floor(source).astype(int)
    for offset in (-1, 0, 1, 2):
        distance = np.abs(source - (base + offset))
        near = ((_A + 2) * distance - (_A + 3)) * distance**2 + 1
        far = ((_A * distance - 5 * _A) * distance + 8 * _A) * distance - 4 * _A
        np.add.at(matrix, (np.arange(new), np.clip(base + offset, 0, old - 1)), np.where(distance <= 1, near, far))
    return matrix
