"""A bank of RGBA pictures in one flat, memory-mapped file: photos with their masks, drawn garments, backdrops.

Training reads tens of thousands of pictures a minute, so segmenting, drawing and decoding happen once. Built by
`training.train`, read by `training.samples` in several processes, which share the pages.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rgba = NDArray[np.uint8]


class Entry(NamedTuple):
    """A picture to store: its label (-1 for a backdrop) and its pixels, whose alpha is the garment's mask."""

    label: int
    pixels: Rgba


class Bank:
    """Read access to a stored bank: `labels` and `shapes` (height, width) of all pictures, and `picture(i)`."""

    def __init__(self, path: Path) -> None:
        index = json.loads(_index_path(path).read_text())
        self.labels: NDArray[np.int64] = np.asarray(index["labels"], np.int64)
        self.shapes: list[tuple[int, int]] = [(int(h), int(w)) for h, w in index["shapes"]]
        sizes = [height * width * 4 for height, width in self.shapes]
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self._pixels = np.memmap(path, np.uint8, mode="r", shape=(int(self._starts[-1]),))

    def __len__(self) -> int:
        return len(self.shapes)

    def picture(self, number: int) -> Rgba:
        """The picture's RGBA pixels, a read-only view of the file."""
        height, width = self.shapes[number]
        start = int(self._starts[number])
        return np.asarray(self._pixels[start : start + height * width * 4]).reshape(height, width, 4)


def stored(path: Path) -> bool:
    """Whether a complete bank is stored at the path; its index is written last."""
    return path.is_file() and _index_path(path).is_file()


def store(path: Path, entries: Iterable[Entry]) -> Bank:
    """Write the entries to the path, one after the other, and open the result."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels: list[int] = []
    shapes: list[tuple[int, int]] = []
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        for entry in entries:
            file.write(np.ascontiguousarray(entry.pixels).tobytes())
            labels.append(entry.label)
            shapes.append((entry.pixels.shape[0], entry.pixels.shape[1]))
    os.replace(partial, path)
    _index_path(path).write_text(json.dumps({"labels": labels, "shapes": shapes}))
    return Bank(path)


def _index_path(path: Path) -> Path:
    return path.with_suffix(".json")
