"""What `bench.process` and `bench.worker` say to each other: an order first, then pixels for answers."""

from pathlib import Path
from typing import Any, NamedTuple

from serve_app.detection.contract import RawOutputs


class Order(NamedTuple):
    """What to load."""

    engine: Any
    precision: Any
    checkpoint: Path
    artifact: Path | None
    threads: int
    spinning: bool


class Answer(NamedTuple):
    """One inference: its outputs, how long it took, and the most memory this process ever held."""

    outputs: RawOutputs
    seconds: float
    peak_bytes: int
