"""Floating-point operations: those of a YOLOS forward pass, and those this machine can do in a second.

Used by `bench.engines`.
"""

import timeit
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from serve_app.detection.model.artifact import OPSET

_SIDE = 2048
_TRIES = 6
_IR_VERSION = 10  # of the ONNX format; what any onnxruntime of the last years reads


class Shape(NamedTuple):
    """A YOLOS encoder as its configuration describes it."""

    hidden: int
    intermediate: int
    layers: int
    labels: int
    detection_tokens: int
    patch: int


def operations(shape: Shape, height: int, width: int, pruned: bool) -> int:
    """Multiplications and additions of the matrix products for one image; `pruned` as the exported graph is.

    The exported graph computes the last layer for the detection tokens only (`export.graph`). Softmax, GELU and
    normalisation are left out: a hundredth of the whole.
    """
    patches = (height // shape.patch) * (width // shape.patch)
    tokens = 1 + patches + shape.detection_tokens
    whole = (shape.layers - pruned) * _layer(shape, tokens, tokens)
    last = _layer(shape, shape.detection_tokens, tokens) if pruned else 0
    embedding = 2 * patches * 3 * shape.patch**2 * shape.hidden
    heads = 2 * shape.detection_tokens * shape.hidden * (4 * shape.hidden + shape.labels + 1 + 4)
    return whole + last + embedding + heads


def _layer(shape: Shape, asking: int, tokens: int) -> int:
    keys_and_values = 2 * tokens * 2 * shape.hidden**2
    query_and_output = 2 * asking * 2 * shape.hidden**2
    perceptron = 2 * asking * 2 * shape.hidden * shape.intermediate
    attention = 2 * asking * tokens * 2 * shape.hidden
    return keys_and_values + query_and_output + perceptron + attention


def measured_peak(threads: int) -> float:
    """Operations per second of this machine's best fp32 matrix product, by PyTorch or by ONNX Runtime, in this process.

    Both, because neither is the better one everywhere: PyTorch's library knows some makers' processors better.
    """
    products = (_torch_product(threads), _onnx_product(threads))
    return 2 * _SIDE**3 / min(min(timeit.repeat(product, number=1, repeat=_TRIES)) for product in products)


def _torch_product(threads: int) -> Callable[[], object]:
    import torch  # only the process that measures the peak needs it

    torch.set_num_threads(threads)
    left, right = (torch.rand(_SIDE, _SIDE) for _ in range(2))
    return lambda: left @ right


def _onnx_product(threads: int) -> Callable[[], object]:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    sides = [_SIDE, _SIDE]
    right = numpy_helper.from_array(np.random.default_rng(0).random(sides, np.float32), "right")
    left, result = (helper.make_tensor_value_info(name, TensorProto.FLOAT, sides) for name in ("left", "result"))
    node = helper.make_node("MatMul", ["left", "right"], ["result"])
    model = helper.make_model(
        helper.make_graph([node], "product", [left], [result], [right]),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    given = {"left": np.random.default_rng(1).random(sides, np.float32)}
    return lambda: session.run(None, given)
