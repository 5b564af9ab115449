"""Floating-point operations: those of a YOLOS forward pass, and those this machine can do in a second.

Used by `bench.engines`. It runs in the benchmark's own process, which needs PyTorch for nothing else.
"""

import timeit
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np

from serve_app.detection.model.artifact import OPSET

_SIDE = 2048
_TRIES = 6
_IR_VERSION = 10  # of the ONNX format; what any onnxruntime of the last years reads


@cache
def operations(checkpoint: Path, height: int, width: int, pruned: bool) -> int:
    """Multiplications and additions of the matrix products for one image, as PyTorch counts them.

    `pruned` as the exported graph is: there, the last layer computes only the detection tokens (`export.graph`).
    Softmax, GELU and normalisation are left out: a hundredth of the whole.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import YolosConfig, YolosForObjectDetection

    config = YolosConfig.from_pretrained(checkpoint, attn_implementation="eager")
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:  # shapes without values
        YolosForObjectDetection(config)(torch.empty(1, 3, height, width))
    if not pruned:
        return int(counter.get_total_flops())
    kept, patch = config.num_detection_tokens, cast(int, config.patch_size)
    tokens = 1 + (height // patch) * (width // patch) + kept
    name = f"YolosForObjectDetection.vit.encoder.layer.{config.num_hidden_layers - 1}"
    counts = {module: sum(found.values()) for module, found in counter.get_flop_counts().items()}
    by_token = counts[name] - sum(counts[f"{name}.attention.attention.{part}"] for part in ("key", "value"))
    return int(counter.get_total_flops() - by_token * (tokens - kept) // tokens)


def measured_peak(threads: int) -> float:
    """Operations per second of this machine's best fp32 matrix product, by PyTorch or by ONNX Runtime, in this process.

    Both, because neither is the better one everywhere: PyTorch's library knows some makers' processors better.
    """
    import onnxruntime
    import torch
    from onnx import parser

    left, right = np.random.default_rng(0).random((2, _SIDE, _SIDE), np.float32)
    torch.set_num_threads(threads)
    tensors = torch.from_numpy(left), torch.from_numpy(right)
    kind = f"float[{_SIDE}, {_SIDE}]"
    model = parser.parse_model(
        f'<ir_version: {_IR_VERSION}, opset_import: ["": {OPSET}]> '
        f"product ({kind} left, {kind} right) => ({kind} result) {{ result = MatMul(left, right) }}"
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    products = (lambda: torch.mm(*tensors), lambda: session.run(None, {"left": left, "right": right}))
    return 2 * _SIDE**3 / min(min(timeit.repeat(product, number=1, repeat=_TRIES)) for product in products)
