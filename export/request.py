"""The options of one export. Made by `export.__main__` and the benchmarks, carried out by `export.write`."""

from pathlib import Path
from typing import NamedTuple

from serve_app.detection.model.artifact import Precision


class Request(NamedTuple):
    """The checkpoint (and its revision on the hub), the artifact's folder, and how both are compared.

    `images` is a folder; None stands for the demo's photos. `tolerance` bounds the deviation of a score, and of a box
    edge relative to the image's side.
    """

    checkpoint: str
    revision: str | None
    out: Path
    images: Path | None
    tolerance: float
    precision: Precision
