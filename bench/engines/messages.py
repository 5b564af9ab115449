"""What `bench.engines.process` and `bench.engines.worker` say to each other: an order first, then tasks for answers."""

from pathlib import Path
from typing import Any, NamedTuple

from serve_app.detection.spec import Pixels, RawOutputs


class Order(NamedTuple):
    """What to load."""

    engine: Any
    precision: Any
    checkpoint: Path
    artifact: Path | None
    threads: int
    spinning: bool


class Task(NamedTuple):
    """The same pixels `repeats` times in each of `at_once` threads."""

    pixels: Pixels
    at_once: int = 1
    repeats: int = 1


class Answer(NamedTuple):
    """A task's outputs (of one inference), how long all of it took, and the most memory this process ever held."""

    outputs: RawOutputs
    seconds: float
    peak_bytes: int
