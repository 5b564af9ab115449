"""Quantises an fp32 graph to int8 weights with onnxruntime's own tool. Called by `export.write`.

The quantisation is dynamic: the range of the activations is measured on each image, so there is no calibration. Static
quantisation of the same graph was slower and deviated five times as much (docs/performance.md).
"""

import logging
from enum import StrEnum
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic


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
    products of the MLPs, a third of the work: a few large values after the GELU take up the range of eight bits.
    """
    model = onnx.load(source)
    excluded = _head_products(model)
    if kept is not Kept.heads:
        excluded += _first_layer(model)
    if kept in (Kept.gelu, Kept.mlp):
        excluded += _products_after(model, "Gelu")
    if kept is Kept.mlp:
        excluded += _products_before(model, "Gelu")
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


def _head_products(model: onnx.ModelProto) -> list[str]:
    nodes = list(model.graph.node)
    last_norm = max(index for index, node in enumerate(nodes) if node.op_type == "LayerNormalization")
    return [node.name for node in nodes[last_norm:] if node.op_type == "MatMul"]


def _first_layer(model: onnx.ModelProto) -> list[str]:
    """All products up to the first one after a GELU, which is the last of the layer."""
    products = [node.name for node in model.graph.node if node.op_type == "MatMul"]
    return products[: products.index(_products_after(model, "Gelu")[0]) + 1]


def _products_after(model: onnx.ModelProto, operator: str) -> list[str]:
    results = {name for node in model.graph.node if node.op_type == operator for name in node.output}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and node.input[0] in results]


def _products_before(model: onnx.ModelProto, operator: str) -> list[str]:
    """The products whose result, with a bias added, is the operator's input."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    sums = [made_by[node.input[0]] for node in model.graph.node if node.op_type == operator]
    return [
        made_by[name].name
        for node in sums
        for name in node.input
        if name in made_by and made_by[name].op_type == "MatMul"
    ]
