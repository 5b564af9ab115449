"""What travels: between client and router, between router and backends, and between the rooms of one process.

Shared by every room, importing none.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

Backend = Literal["torch", "onnx"]
BACKENDS: tuple[Backend, Backend] = ("torch", "onnx")
Stage = Literal["queue", "decode", "preprocess", "inference", "postprocess"]
STAGES: tuple[Stage, ...] = ("queue", "decode", "preprocess", "inference", "postprocess")
DEFAULT_THRESHOLD = 0.5
MAX_DETECTIONS = 100


def other(backend: Backend) -> Backend:
    """The opposite backend."""
    return "onnx" if backend == "torch" else "torch"


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True)


class Options(BaseModel):
    """What a request asks of post-processing. The HTTP side parses and documents its parameters with this model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float = Field(DEFAULT_THRESHOLD, ge=0, le=1, allow_inf_nan=False)
    max_detections: int = Field(MAX_DETECTIONS, ge=1, le=MAX_DETECTIONS)

    @field_validator("*", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        if isinstance(value, bool):  # Python counts True as 1, JSON does not
            raise ValueError("not a number")
        return float(value) if isinstance(value, str) else value  # a query and a form give text, such as 1e1


class Box(_Wire):
    """Corners in pixels of the upright original image."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float

    @classmethod
    def of(cls, corners: Sequence[float]) -> "Box":
        """A box from xmin, ymin, xmax, ymax."""
        xmin, ymin, xmax, ymax = corners
        return cls(xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)


class Detection(_Wire):
    """One object found."""

    label: str
    score: float = Field(ge=0, le=1)
    box: Box


class ImageSize(_Wire):
    """Width and height in pixels of the upright original image."""

    width: int = Field(ge=1)
    height: int = Field(ge=1)


class DetectionResult(_Wire):
    """What a backend returns: the detections, best first, and where its time went (seconds per stage)."""

    image: ImageSize
    detections: list[Detection]
    stages: dict[Stage, float]


class DetectResponse(_Wire):
    """The answer to `POST /detect`: `assigned` is the backend that was drawn, `backend` the one that answered."""

    request_id: str
    backend: Backend
    assigned: Backend
    image: ImageSize
    detections: list[Detection]


class Problem(_Wire):
    """An error as RFC 9457 describes it, with our `code` and the request's id."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    request_id: str


class BackendStatus(_Wire):
    """What one backend says of itself; `reason` holds the remedy when it is unavailable.

    `configuration_error` says why the latest configuration was refused, with the remedy; the one before is in force.
    """

    state: Literal["ready", "starting", "unavailable"]
    reason: str | None = None
    configuration_error: str | None = None
    reload: int | None = Field(None, description="The `reload` of the latest configuration, taken or refused.")
    fingerprint: str | None = None
    engine: str | None = None
    device: str | None = None
    precision: str | None = None
    threads: int | None = None
    versions: dict[str, str] | None = None
    pid: int | None = None


class Call(NamedTuple):
    """One parsed request: `key` is its sticky key, `forced` the backend it insists on.

    `arrived` and `deadline` are seconds on the router's clock, `time.perf_counter`.
    """

    request_id: str
    data: bytes
    options: Options
    arrived: float
    deadline: float
    key: str | None = None
    forced: Backend | None = None


class Answer(NamedTuple):
    """The result of a call: `assigned` is the backend that was drawn, `backend` the one that answered."""

    result: DetectionResult
    assigned: Backend
    backend: Backend
