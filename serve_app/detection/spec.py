"""What the pipeline and the engines agree on: the spec of a checkpoint, the tensors, and the Detector interface.

Imported by every engine, the pipeline and the export.
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Pixels = NDArray[np.float32]  # (batch, 3, height, width), normalised

# Names of the exported graph's inputs and outputs
PIXELS = "pixel_values"
POSITIONS = "position_embeddings"
MID_POSITIONS = "mid_position_embeddings"
LOGITS = "logits"
BOXES = "pred_boxes"


class RawOutputs(NamedTuple):
    """The outputs of YOLOS, before any threshold.

    `logits` is (batch, queries, labels + 1); the last column is "no object". `boxes` is (batch, queries, 4): centre x,
    centre y, width and height, relative to the image.
    """

    logits: NDArray[np.float32]
    boxes: NDArray[np.float32]


class EngineInfo(NamedTuple):
    """What `/readyz` and the log line at start-up show of an engine."""

    engine: str
    device: str
    precision: str
    threads: int
    versions: dict[str, str]


class Detector(Protocol):
    """An engine with the weights of one checkpoint."""

    @property
    def info(self) -> EngineInfo:
        """Name, device, precision, threads and versions."""
        ...

    def infer(self, pixels: Pixels) -> RawOutputs:
        """Run the model on (batch, 3, height, width) float32; height and width are multiples of the patch size."""
        ...


class ResizeRule(BaseModel):
    """The target size in pixels, by one of three pairs: a fixed `height` and `width`, or bounds that keep the aspect.

    `multiple` belongs to the edges: both sides are then rounded down to multiples of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shortest_edge: int | None = Field(None, ge=1)
    longest_edge: int | None = Field(None, ge=1)
    height: int | None = Field(None, ge=1)
    width: int | None = Field(None, ge=1)
    max_height: int | None = Field(None, ge=1)
    max_width: int | None = Field(None, ge=1)
    multiple: int = Field(16, ge=1, description="16 for transformers' YOLOS processor, 1 for DETR's.")


class ModelSpec(BaseModel):
    """What preprocessing and post-processing need to know of a checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: list[str] = Field(min_length=1)
    resize: ResizeRule
    resample: int = Field(2, ge=0, le=7, description="Pillow's number of the resampling filter; 2 is bilinear.")
    rescale: float = Field(1 / 255, gt=0, allow_inf_nan=False, description="A pixel's value is multiplied by it first.")
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    pad: tuple[int, int] | None = Field(None, description="Height and width to which zeros are added below and right.")
    patch_size: int = Field(ge=1)
    position_grid: tuple[int, int] = Field(description="Rows and columns the position embeddings were trained on.")
    detection_tokens: int = Field(ge=1)
