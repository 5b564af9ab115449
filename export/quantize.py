"""Quantises an fp32 graph to int8 weights with onnxruntime's own tool. Called by `export.write`.

The quantisation is dynamic: the range of the activations is measured on each image, so there is no calibration. Static
quantisation of the same graph was slower and deviated five times as much (docs/performance.md).
"""

import logging
from enum import StrEnum
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

# A layer's products in the graph's order: query, key, value, the attention's output, both of the MLP
_PER_LAYER, _FIRST_OF_MLP, _SECOND_OF_MLP = 6, 4, 5


class Kept(StrEnum):
    """What stays in fp32, in order from the fastest graph to the most exact one."""

    heads = "the heads"
    first = "the heads and the first layer"
    gelu = "the heads, the first layer and the second MLP products"
    mlp = "the heads, the first layer and the MLPs"


def quantize(source: Path, target: Path, kept: Kept = Kept.heads) -> None:
    """Write `target` with int8 weights, one scale per output channel, in the encoder's matrix products except `kept`.

    The detection heads always stay in fp32: they are a thousandth of the work, and their error reaches the client
    directly. The next choice is the first layer, since its error passes through all others. Then follow the second
    products of the MLPs, a third of the work: a few large values after the activation take up the range of eight bits.
    """
    layers, excluded = _products(onnx.load(source))
    if kept is not Kept.heads:
        excluded += layers[0]
    if kept in (Kept.gelu, Kept.mlp):
        excluded += [layer[_SECOND_OF_MLP] for layer in layers]
    if kept is Kept.mlp:
        excluded += [layer[_FIRST_OF_MLP] for layer in layers]
    logging.disable(logging.WARNING)  # the tool recommends a preprocessing that this graph does not need
    try:
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=excluded,
        )
    finally:
        logging.disable(logging.NOTSET)


def _products(model: onnx.ModelProto) -> tuple[list[list[str]], list[str]]:
    """The names of the matrix products: of each layer, and of the heads, which come after the last normalisation.

    They are told apart by their order, as the activation between the two of an MLP differs from checkpoint to
    checkpoint and may be any number of nodes.
    """
    nodes = list(model.graph.node)
    last_norm = max(index for index, node in enumerate(nodes) if node.op_type == "LayerNormalization")
    layers = [node.name for node in nodes[:last_norm] if node.op_type == "MatMul"]
    heads = [node.name for node in nodes[last_norm:] if node.op_type == "MatMul"]
    return [layers[at : at + _PER_LAYER] for at in range(0, len(layers), _PER_LAYER)], heads
