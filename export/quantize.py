"""fp32 graph -> int8 weights by onnxruntime's own tool. Called by `export.write`.

Dynamic: the activations' range is measured on each image, so nothing needs calibrating. Static quantisation of the
same graph was both slower and five times further from the checkpoint (docs/performance.md).
"""

import logging
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic


def quantize(source: Path, target: Path, careful: bool = False) -> None:
    """Write `target` with int8 weights, one scale per output channel, in the encoder's matrix products.

    The detection heads stay as they are: they see the detection tokens only, a thousandth of the work, and what they
    lose in accuracy reaches the client undamped. `careful` also leaves each layer's second MLP product, a third of
    the work: behind a GELU a few large values take the whole range of eight bits, and half of the error is made there.
    """
    model = onnx.load(source)
    kept = _head_products(model) + (_products_of(model, "Gelu") if careful else [])
    logging.disable(logging.WARNING)  # it recommends a preparation that this graph does not need
    try:
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=kept,
        )
    finally:
        logging.disable(logging.NOTSET)


def _head_products(model: onnx.ModelProto) -> list[str]:
    nodes = list(model.graph.node)
    last_norm = max(index for index, node in enumerate(nodes) if node.op_type == "LayerNormalization")
    return [node.name for node in nodes[last_norm:] if node.op_type == "MatMul"]


def _products_of(model: onnx.ModelProto, operator: str) -> list[str]:
    results = {name for node in model.graph.node if node.op_type == operator for name in node.output}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and node.input[0] in results]
