"""config.json: the sizes and labels of a YOLOS model, and the tensors that they demand. Called by `checkpoint`.

Written anew here because the ONNX backend may not load transformers, whose configuration classes import PyTorch. The
tests compare defaults, labels and tensors with transformers' own.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveInt

from serve_app.detection.model.json_file import parse
from serve_app.errors import ConfigurationError

Shape = tuple[int, ...]

CLASS_HEAD = "class_labels_classifier.layers.2"  # the layer with one output for each label, and one for "no object"


class Architecture(BaseModel):
    """The keys that decide which tensors a model has. What a file leaves out has transformers' default."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    model_type: str | None = None
    id2label: dict[str, str] | None = None
    num_labels: PositiveInt = 2
    hidden_size: PositiveInt = 768
    num_hidden_layers: PositiveInt = 12
    num_attention_heads: PositiveInt = 12
    intermediate_size: PositiveInt = 3072
    image_size: tuple[PositiveInt, PositiveInt] = (512, 864)
    patch_size: PositiveInt = 16
    num_channels: Literal[3] = 3
    qkv_bias: bool = True
    num_detection_tokens: PositiveInt = 100
    use_mid_position_embeddings: bool = True
    quantization_config: None = None
    transformers_weights: None = None

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches in the images that the position embeddings were trained on."""
        return self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size

    @property
    def labels(self) -> list[str]:
        """The names in the order of the head's outputs: LABEL_0 and so on where the file has none.

        Raises ValueError for numbers that do not run from 0 without a gap, and for another count than `num_labels`.
        """
        if self.id2label is None:
            return [f"LABEL_{number}" for number in range(self.num_labels)]
        named = {int(key): name for key, name in self.id2label.items()}
        for number in range(len(named)):
            if number not in named:
                raise ValueError(f"{len(named)} labels have no number {number}; number them from 0 to {len(named) - 1}")
        if "num_labels" in self.model_fields_set and self.num_labels != len(named):
            # transformers would give up all names for LABEL_0 and so on
            raise ValueError(f"{len(named)} labels, but num_labels is {self.num_labels}; leave num_labels out")
        return [named[number] for number in range(len(named))]

    def tensors(self) -> dict[str, Shape]:
        """Name and shape of every tensor of transformers' YolosForObjectDetection."""
        hidden, patch, tokens = self.hidden_size, self.patch_size, self.num_detection_tokens
        rows, columns = self.grid
        shapes: dict[str, Shape] = {
            "vit.embeddings.cls_token": (1, 1, hidden),
            "vit.embeddings.detection_tokens": (1, tokens, hidden),
            "vit.embeddings.position_embeddings": (1, 1 + rows * columns + tokens, hidden),
            "vit.embeddings.patch_embeddings.projection.weight": (hidden, self.num_channels, patch, patch),
            "vit.embeddings.patch_embeddings.projection.bias": (hidden,),
            **_norm("vit.layernorm", hidden),
        }
        if self.use_mid_position_embeddings:
            name = "vit.encoder.interpolation.mid_position_embeddings"
            shapes[name] = (self.num_hidden_layers - 1, 1, 1 + rows * columns + tokens, hidden)
        for index in range(self.num_hidden_layers):
            shapes |= self._layer(f"vit.encoder.layer.{index}")
        for head, outputs in (("class_labels_classifier", len(self.labels) + 1), ("bbox_predictor", 4)):
            for index, width in enumerate((hidden, hidden, outputs)):
                shapes |= _linear(f"{head}.layers.{index}", hidden, width)
        return shapes

    def _layer(self, name: str) -> dict[str, Shape]:
        hidden, inner = self.hidden_size, self.intermediate_size
        shapes = {
            **_linear(f"{name}.attention.output.dense", hidden, hidden),
            **_linear(f"{name}.intermediate.dense", hidden, inner),
            **_linear(f"{name}.output.dense", inner, hidden),
            **_norm(f"{name}.layernorm_before", hidden),
            **_norm(f"{name}.layernorm_after", hidden),
        }
        for part in ("query", "key", "value"):
            shapes |= _linear(f"{name}.attention.attention.{part}", hidden, hidden, self.qkv_bias)
        return shapes


def read(path: Path) -> Architecture:
    """Read the file at `path`.

    Raises ConfigurationError, with the key and its value, for another model, for damaged JSON, and for what no YOLOS
    of transformers can run.
    """
    found = parse(Architecture, path)
    if found.model_type != "yolos":
        raise ConfigurationError(f"{path}: model_type is {found.model_type!r}, expected 'yolos'")
    try:
        labels = found.labels
    except ValueError as error:
        raise ConfigurationError(f"{path}: id2label: {error}") from error
    if not labels:
        raise ConfigurationError(f"{path}: id2label is empty")
    if found.hidden_size % found.num_attention_heads:
        raise ConfigurationError(
            f"{path}: hidden_size is {found.hidden_size}, no multiple of num_attention_heads "
            f"({found.num_attention_heads})"
        )
    _require_patches(path, found)
    return found


def _require_patches(path: Path, found: Architecture) -> None:
    (height, width), patch, (rows, columns) = found.image_size, found.patch_size, found.grid
    # transformers sizes the embeddings between the layers by the area, and then reads them as rows and columns
    uneven = found.use_mid_position_embeddings and height * width // patch**2 != rows * columns
    if uneven or not rows * columns:
        raise ConfigurationError(f"{path}: image_size is [{height}, {width}], no whole patches of {patch} x {patch}")


def _linear(name: str, inputs: int, outputs: int, bias: bool = True) -> dict[str, Shape]:
    return {f"{name}.weight": (outputs, inputs)} | ({f"{name}.bias": (outputs,)} if bias else {})


def _norm(name: str, width: int) -> dict[str, Shape]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
