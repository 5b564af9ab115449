"""What a person asks of the export. Made by `export.__main__`, carried out by `export.write`."""

from pathlib import Path
from typing import NamedTuple

from serve_app.detection.model.artifact import Precision


class Request(NamedTuple):
    """What to export, where to, which images to compare on, and how far a score or a box may deviate."""

    checkpoint: str
    revision: str | None
    out: Path
    images: Path | None
    tolerance: float
    precision: Precision
