"""What travels between the rooms of one process: a parsed request, what it asks, and its answer."""

from typing import NamedTuple

from serve_app.schemas import Backend, DetectionResult
from serve_app.settings import DEFAULT_THRESHOLD


class Options(NamedTuple):
    """What a request asks of post-processing."""

    threshold: float = DEFAULT_THRESHOLD
    max_detections: int = 100


class Call(NamedTuple):
    """One request: `key` is its sticky key, `forced` the backend it insists on.

    `arrived` and `deadline` are readings of `time.perf_counter`.
    """

    request_id: str
    data: bytes
    options: Options
    arrived: float
    deadline: float
    key: str | None = None
    forced: Backend | None = None


class Answer(NamedTuple):
    """What came of it, and who was meant to answer and did."""

    result: DetectionResult
    assigned: Backend
    backend: Backend
