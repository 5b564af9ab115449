"""A YOLOS checkpoint as an ONNX graph whose position embeddings are inputs. Called by `export.write`."""

import logging
import warnings
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import YolosForObjectDetection
from transformers.models.yolos.modeling_yolos import YolosLayer

from serve_app.detection.engines import torch as torch_engine
from serve_app.detection.model import artifact
from serve_app.detection.spec import BOXES, LOGITS, MID_POSITIONS, PIXELS, POSITIONS, ModelSpec


class YolosGraph(nn.Module):
    """The forward pass of YolosForObjectDetection, with the position embeddings as arguments.

    The heads read only the detection tokens, so the last layer computes only those. The outputs stay the same, and most
    of one layer's work is saved.
    """

    def __init__(self, model: YolosForObjectDetection) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor, positions: Tensor, mid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pixels (batch, 3, height, width) and the embeddings of their patch grid -> logits and boxes.

        `positions` is (1, tokens, hidden), `mid` (layers - 1, 1, tokens, hidden).
        """
        vit, kept = self.model.vit, self.model.config.num_detection_tokens
        tokens = self._tokens(pixels) + positions
        *layers, last = cast(list[YolosLayer], list(vit.encoder.layer))
        for index, layer in enumerate(layers):
            tokens = self._layer(layer, tokens, tokens)
            if mid is not None:
                tokens = tokens + mid[index]
        found = vit.layernorm(self._layer(last, tokens, tokens[:, -kept:]))
        return self.model.class_labels_classifier(found), self.model.bbox_predictor(found).sigmoid()

    def _tokens(self, pixels: Tensor) -> Tensor:
        embeddings = self.model.vit.embeddings
        batch = pixels.shape[0]
        first = embeddings.cls_token.expand(batch, -1, -1)
        last = embeddings.detection_tokens.expand(batch, -1, -1)
        return torch.cat((first, embeddings.patch_embeddings(pixels), last), dim=1)

    def _layer(self, layer: YolosLayer, tokens: Tensor, wanted: Tensor) -> Tensor:
        """One encoder layer for the last tokens (`wanted`), which attend to all `tokens`."""
        attention = layer.attention.attention
        normed = layer.layernorm_before(tokens)
        asking = normed if wanted is tokens else normed[:, -wanted.shape[1] :]
        query, key, value = attention.query(asking), attention.key(normed), attention.value(normed)
        # ONNX Runtime computes this operator in tiles; its standard Attention stores all tokens x tokens weights.
        mixed = torch.onnx.ops.symbolic(
            "com.microsoft::MultiHeadAttention",
            (query, key, value),
            {"num_heads": attention.num_attention_heads},
            dtype=query.dtype,
            shape=query.shape,
            version=1,
        )
        hidden = layer.attention.output.dense(mixed) + wanted
        return cast(Tensor, layer.output(layer.intermediate(layer.layernorm_after(hidden)), hidden))


def load_model(folder: Path) -> YolosForObjectDetection:
    """The checkpoint in fp32, ready to trace. Raises ConfigurationError for weights that are damaged or not whole."""
    return torch_engine.load_model(folder, torch.float32)


def write_positions(model: YolosForObjectDetection, path: Path) -> None:
    """Write the trained embeddings: `initial` (1, tokens, hidden), and `mid` where the checkpoint has them."""
    arrays = {"initial": model.vit.embeddings.position_embeddings.detach().numpy()}
    if model.vit.encoder.interpolation is not None:
        arrays["mid"] = model.vit.encoder.interpolation.mid_position_embeddings.detach().numpy()
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def write_graph(model: YolosForObjectDetection, spec: ModelSpec, path: Path) -> None:
    """Trace the model and write one file that holds graph and weights; batch, height and width are dynamic."""
    config = model.config
    patch, hidden = spec.patch_size, config.hidden_size
    rows, columns = 5, 7  # grid of the traced example; any grid will do
    tokens = 1 + rows * columns + spec.detection_tokens
    example = [torch.zeros(2, 3, rows * patch, columns * patch), torch.zeros(1, tokens, hidden)]
    names = [PIXELS, POSITIONS]
    shapes = [{0: "batch", 2: "height", 3: "width"}, {1: "tokens"}]
    if config.use_mid_position_embeddings:
        example.append(torch.zeros(config.num_hidden_layers - 1, 1, tokens, hidden))
        names.append(MID_POSITIONS)
        shapes.append({2: "tokens"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter calls deprecated functions of its own
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            YolosGraph(model),
            tuple(example),
            dynamo=True,
            opset_version=artifact.OPSET,
            input_names=names,
            output_names=[LOGITS, BOXES],
            dynamic_shapes=tuple(shapes),
            verbose=False,
        )
    assert program is not None  # noqa: S101 - for the type checker: None only comes with fallback=True
    program.save(path, external_data=False)
