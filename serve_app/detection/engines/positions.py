"""Position embeddings for any patch grid, computed outside the graph and cached. Called by the ONNX backend's engines.

They depend on the grid alone. A graph that interpolates them itself, as ordinary exports do, repeats the same bicubic
interpolation for every image and every layer.
"""

import io
import threading
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, kron

from serve_app.detection.model import artifact
from serve_app.detection.spec import MID_POSITIONS, PIXELS, POSITIONS, ModelSpec, Pixels
from serve_app.errors import UnreadableModel, one_line

Array = NDArray[np.float32]

# Parameter a of the cubic convolution kernel (Keys 1981), as torch.nn.functional.interpolate(mode="bicubic") sets it
_A = -0.75


class GridPositions(NamedTuple):
    """Embeddings for one grid: `initial` is (1, tokens, hidden), `mid` is (layers - 1, 1, tokens, hidden) or None."""

    initial: Array
    mid: Array | None


class PositionEmbeddings:
    """The trained embeddings of one checkpoint, resized to a grid on demand; the grids used last are cached.

    The cache is limited by `budget`, in bytes: one grid takes 57 MB for YOLOS-small at 800x1056. A single grid over the
    budget is cached all the same.
    """

    def __init__(self, initial: Array, mid: Array | None, spec: ModelSpec, budget: int = 128_000_000) -> None:
        self._initial, self._mid, self._budget = initial, mid, budget
        self._grid, self._detection_tokens, self._patch = spec.position_grid, spec.detection_tokens, spec.patch_size
        self._cache: OrderedDict[tuple[int, int], GridPositions] = OrderedDict()
        self._cache_free = threading.Lock()

    @classmethod
    def load(cls, files: artifact.Files, spec: ModelSpec) -> "PositionEmbeddings":
        """Read the arrays that the export wrote. Raises UnreadableModel where they are not those of the spec."""
        path = files.folder / artifact.POSITIONS
        try:
            with np.load(io.BytesIO(files.positions), allow_pickle=False) as arrays:
                initial, mid = arrays["initial"], arrays.get("mid")
        except Exception as error:  # for a damaged file numpy raises many unrelated types
            raise UnreadableModel(f"{path} holds no position embeddings ({one_line(error)})") from error
        tokens = 1 + spec.position_grid[0] * spec.position_grid[1] + spec.detection_tokens
        for name, array, axes in ("initial", initial, 3), ("mid", mid, 4):
            if array is not None and (array.ndim != axes or array.shape[-2] != tokens):
                raise UnreadableModel(f"{path}: {name} has the shape {array.shape}, expected {tokens} tokens")
        return cls(initial, mid, spec)

    def feeds(self, pixels: Pixels) -> dict[str, Array]:
        """The graph's inputs for a pixel batch (batch, 3, height, width)."""
        positions = self.for_grid(pixels.shape[2] // self._patch, pixels.shape[3] // self._patch)
        feeds = {PIXELS: pixels, POSITIONS: positions.initial}
        if positions.mid is not None:
            feeds[MID_POSITIONS] = positions.mid
        return feeds

    def for_grid(self, rows: int, columns: int) -> GridPositions:
        """The embeddings of a grid of patches. Safe for concurrent calls: each grid is computed by one, others wait."""
        key = (rows, columns)
        with self._cache_free:
            if key not in self._cache:
                mid = None if self._mid is None else self._resize(self._mid, key)
                self._cache[key] = GridPositions(self._resize(self._initial, key), mid)
                while len(self._cache) > 1 and sum(map(_size, self._cache.values())) > self._budget:
                    self._cache.popitem(last=False)
            self._cache.move_to_end(key)
            return self._cache[key]

    def _resize(self, tokens: Array, grid: tuple[int, int]) -> Array:
        """Resize the patch part of (..., tokens, hidden); the class token and the detection tokens stay."""
        *lead, length, hidden = tokens.shape
        patches, resized = slice(1, length - self._detection_tokens), slice(1, 1 + grid[0] * grid[1])
        result = np.empty((*lead, resized.stop + self._detection_tokens, hidden), np.float32)
        result[..., : resized.start, :] = tokens[..., : patches.start, :]
        result[..., resized.stop :, :] = tokens[..., patches.stop :, :]
        # A sparse matrix: each output has 16 sources, and unlike a BLAS product it starts no further threads.
        rows, columns = (_bicubic(old, new) for old, new in zip(self._grid, grid, strict=True))
        matrix = kron(rows, columns, format="csr")
        for index in np.ndindex(*lead):
            result[index][resized] = matrix @ tokens[index][patches]
        return result


def _size(positions: GridPositions) -> int:
    return positions.initial.nbytes + (0 if positions.mid is None else positions.mid.nbytes)


def _bicubic(old: int, new: int) -> csr_array:
    """The (new, old) matrix of bicubic interpolation (Keys 1981), pixel centres aligned, borders repeated."""
    matrix = np.zeros((new, old), np.float32)
    # Rounded to float32 where torch rounds, first the scale, then the coordinate; otherwise the results would differ.
    source = (float(np.float32(old / new)) * (np.arange(new) + 0.5) - 0.5).astype(np.float32)
    base = np.floor(source).astype(int)
    for offset in (-1, 0, 1, 2):
        distance = np.abs(source - (base + offset))
        near = ((_A + 2) * distance - (_A + 3)) * distance**2 + 1
        far = ((_A * distance - 5 * _A) * distance + 8 * _A) * distance - 4 * _A
        np.add.at(matrix, (np.arange(new), np.clip(base + offset, 0, old - 1)), np.where(distance <= 1, near, far))
    return csr_array(matrix)
