"""The exported graph: what it takes, what it does not hold, and that it holds the weights once."""

import shutil
from pathlib import Path

import onnx
import pytest

from export import graph
from export import quantize as quantization
from export.quantize import Kept, quantize
from serve_app.detection.model import artifact
from serve_app.detection.spec import BOXES, LOGITS, MID_POSITIONS, PIXELS, POSITIONS
from serve_app.errors import ConfigurationError
from tests import checkpoints
from tests.checkpoints import TOKENS


@pytest.fixture(scope="module")
def model(tiny_artifact: Path) -> onnx.ModelProto:
    return onnx.load(tiny_artifact / artifact.MODEL)


def shape(value: onnx.ValueInfoProto) -> list[str | int]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


def test_batch_height_and_width_are_dynamic(model: onnx.ModelProto) -> None:
    assert {value.name: shape(value) for value in model.graph.input} == {
        PIXELS: ["batch", 3, "height", "width"],
        POSITIONS: [1, "tokens", 32],
        MID_POSITIONS: [2, 1, "tokens", 32],
    }
    assert {value.name: shape(value) for value in model.graph.output} == {
        LOGITS: ["batch", TOKENS, 5],
        BOXES: ["batch", TOKENS, 4],
    }


def test_nothing_is_interpolated_inside(model: onnx.ModelProto) -> None:
    assert not {node.op_type for node in model.graph.node} & {"Resize", "Upsample", "GridSample"}


def test_attention_is_one_operator_in_each_layer(model: onnx.ModelProto) -> None:
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("MultiHeadAttention") == 3
    assert "Softmax" not in operators


def test_the_opset_is_the_one_the_service_expects(model: onnx.ModelProto) -> None:
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == artifact.OPSET


def test_the_weights_are_stored_once_in_one_file(model: onnx.ModelProto, tiny_artifact: Path, tiny: Path) -> None:
    files = {path.name for path in tiny_artifact.iterdir()}
    assert files == {artifact.MODEL, artifact.POSITIONS, artifact.MANIFEST}
    weights = (tiny / "model.safetensors").stat().st_size
    whole = sum((tiny_artifact / name).stat().st_size for name in (artifact.MODEL, artifact.POSITIONS))
    assert whole < 1.6 * weights  # a tiny model's graph is large beside its weights; a second copy would be over 2
    assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_int8_holds_in_the_encoder_and_leaves_the_heads(tiny_artifact: Path, tmp_path: Path) -> None:
    quantize(tiny_artifact / artifact.MODEL, tmp_path / "int8.onnx")
    operators = [node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node]
    assert operators.count("MatMulInteger") == 3 * 6
    last_norm = len(operators) - 1 - operators[::-1].index("LayerNormalization")
    assert operators[last_norm:].count("MatMul") == 2 * 3
    assert "MatMulInteger" not in operators[last_norm:]


@pytest.mark.parametrize(("kept", "quantised"), [(Kept.first, 6), (Kept.gelu, 5), (Kept.mlp, 4)])
def test_int8_leaves_what_it_is_told_to_keep(kept: Kept, quantised: int, tiny_artifact: Path, tmp_path: Path) -> None:
    quantize(tiny_artifact / artifact.MODEL, tmp_path / "int8.onnx", kept)
    operators = [node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node]
    assert operators.count("MatMulInteger") == 2 * quantised
    assert "MatMulInteger" not in operators[: operators.index("Gelu")], "the first of the three layers is left"


@pytest.mark.parametrize("activation", ["gelu_new", "relu", "silu"])
def test_int8_leaves_the_same_products_whatever_the_activation(activation: str, tmp_path: Path) -> None:
    folder = checkpoints.make(tmp_path / "checkpoint", mid=False, hidden_act=activation)
    graph.write_graph(graph.load_model(folder), checkpoints.SPEC, tmp_path / "fp32.onnx")
    counts = []
    for kept in Kept:
        quantize(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", kept)
        operators = [node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node]
        counts.append(operators.count("MatMulInteger"))
    assert counts == [3 * 6, 2 * 6, 2 * 5, 2 * 4]


def test_the_products_are_told_apart_by_their_place(tiny_artifact: Path) -> None:
    model = onnx.load(tiny_artifact / artifact.MODEL)
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    shapes = {
        node.name: next(weights[name] for name in node.input if name in weights)
        for node in model.graph.node
        if node.op_type == "MatMul"
    }
    layers, heads = quantization._products(model)
    for layer in layers:
        assert [shapes[name] for name in layer] == [(32, 32)] * 4 + [(32, 64), (64, 32)]
    assert len(layers) == 3
    assert len(heads) == 6


def test_damaged_weights_are_named_with_the_remedy(tiny: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(tiny, tmp_path / "broken")
    weights = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ConfigurationError, match=r"broken cannot be loaded \(.+\); fetch its weights again"):
        graph.load_model(broken)
