"""Damaged artifacts for the tests of the ONNX backend: each function damages a copy of the good artifact."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from serve_app.detection.model import artifact
from serve_app.detection.spec import BOXES, LOGITS, PIXELS
from serve_app.settings import DEFAULT_ARTIFACT
from tests.integration.conftest import ROOT

GOOD = ROOT / DEFAULT_ARTIFACT
Damage = Callable[[Path], None]


def make_good(folder: Path) -> None:
    """Put the good artifact there, whatever lay there before."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(GOOD, folder)


def missing(folder: Path) -> None:
    """No artifact at all."""
    shutil.rmtree(folder)


def truncated(folder: Path) -> None:
    """A copy that was interrupted."""
    model = folder / artifact.MODEL
    model.write_bytes(model.read_bytes()[:10_000])


def flipped_bit(folder: Path) -> None:
    """A model that is still readable but not the one that passed the export's comparison."""
    model = folder / artifact.MODEL
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(bytes(content))


def foreign(folder: Path) -> None:
    """An artifact of another checkpoint."""
    _edit_manifest(folder, fingerprint="sha256:" + "0" * 64)


def no_manifest(folder: Path) -> None:
    """A manifest that is not JSON."""
    (folder / artifact.MANIFEST).write_text("{")


def unknown_opset(folder: Path) -> None:
    """A graph of an operator set that no runtime knows yet, with a manifest that fits it."""

    def edit(model: onnx.ModelProto) -> None:
        for entry in model.opset_import:
            if entry.domain in ("", "ai.onnx"):
                entry.version = 99

    edit_model(folder, edit)


def not_a_number(folder: Path) -> None:
    """A graph whose logits are NaN for any image but the black one of the warm-up."""
    nan = numpy_helper.from_array(np.array(np.nan, np.float32), "nan")
    edit_model(folder, lambda model: _replace_output(model, LOGITS, [nan], "Where", ["photo", "nan", _before(LOGITS)]))


def wrong_shape(folder: Path) -> None:
    """A graph whose boxes are transposed for any image but the black one."""
    _reshape_boxes(folder, lambda queries: [1, 4, queries])


def failing(folder: Path) -> None:
    """A graph that fails at run time for any image but the black one."""
    _reshape_boxes(folder, lambda queries: [7, 7, 7])


def _reshape_boxes(folder: Path, bad: Callable[[int], list[int]]) -> None:
    queries = artifact.load_manifest(folder, "").spec.detection_tokens
    shapes = {"good_shape": [1, queries, 4], "bad_shape": bad(queries)}
    constants = [numpy_helper.from_array(np.array(shape, np.int64), name) for name, shape in shapes.items()]

    def edit(model: onnx.ModelProto) -> None:
        _replace_output(model, BOXES, constants, "Reshape", [_before(BOXES), "shape"])
        model.graph.node.insert(-1, helper.make_node("Where", ["photo", "bad_shape", "good_shape"], ["shape"]))

    edit_model(folder, edit)


def edit_model(folder: Path, edit: Callable[[onnx.ModelProto], None]) -> None:
    """Change the graph and put its new hash into the manifest: a wrong export would leave this."""
    path = folder / artifact.MODEL
    model = onnx.load(path)
    edit(model)
    onnx.save(model, path)
    files = json.loads((folder / artifact.MANIFEST).read_text())["files"]
    _edit_manifest(folder, files=files | {artifact.MODEL: artifact.file_hash(path)})


def _before(name: str) -> str:
    return f"{name}_before"


def _replace_output(
    model: onnx.ModelProto, name: str, constants: list[onnx.TensorProto], operator: str, inputs: list[str]
) -> None:
    """Let `name` come out of one more node. `photo` is true if any pixel is not dark: the warm-up's image is black."""
    graph = model.graph
    for node in graph.node:
        for names in (node.input, node.output):
            for index, used in enumerate(names):
                if used == name:
                    names[index] = _before(name)
    zero = numpy_helper.from_array(np.array(0, np.float32), "zero")
    graph.initializer.extend([zero, *constants])
    graph.node.append(helper.make_node("ReduceMax", [PIXELS], ["brightest"], keepdims=0))
    graph.node.append(helper.make_node("Greater", ["brightest", "zero"], ["photo"]))
    graph.node.append(helper.make_node(operator, inputs, [name]))
    for output in graph.output:
        if output.name == name:
            output.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, None))


def _edit_manifest(folder: Path, **values: object) -> None:
    path = folder / artifact.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
