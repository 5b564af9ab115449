"""The wire types: what the backends return and what clients receive. Shared by every room, importing none."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Backend = Literal["torch", "onnx"]
BACKENDS: tuple[Backend, Backend] = ("torch", "onnx")
Stage = Literal["queue", "decode", "preprocess", "inference", "postprocess"]
STAGES: tuple[Stage, ...] = ("queue", "decode", "preprocess", "inference", "postprocess")


def other(backend: Backend) -> Backend:
    """The opposite arm."""
    return "onnx" if backend == "torch" else "torch"


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True)


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
    """The answer to `POST /detect`: `assigned` is the arm that was drawn, `backend` the one that answered."""

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
    """What one backend says of itself; `reason` holds the remedy when it is unavailable."""

    state: Literal["ready", "starting", "unavailable"]
    reason: str | None = None
    reload: int | None = Field(None, description="The `reload` of the configuration that this is the state of.")
    fingerprint: str | None = None
    engine: str | None = None
    device: str | None = None
    precision: str | None = None
    threads: int | None = None
    versions: dict[str, str] | None = None
    pid: int | None = None
