"""Every place in an ONNX file where a tensor may name another file is looked at."""

from typing import Any

import numpy as np
import pytest
from onnx import GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, helper, numpy_helper

from serve_app.detection.model.onnx_file import external_files


def outside(location: str = "../weights.bin") -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in ("offset", "0"), ("location", location), ("length", "8"):
        tensor.external_data.add(key=key, value=value)
    return tensor


def inside() -> TensorProto:
    return numpy_helper.from_array(np.arange(1000, dtype=np.float32), "inside")


def model(graph: GraphProto) -> ModelProto:
    return helper.make_model(graph)


def graph(*initializers: TensorProto, nodes: tuple[NodeProto, ...] = ()) -> GraphProto:
    return GraphProto(name="g", initializer=[inside(), *initializers], node=nodes)


def constant(**attributes: Any) -> GraphProto:
    return graph(nodes=(helper.make_node("Constant", [], ["c"], **attributes),))


def sparse() -> GraphProto:
    found = graph()
    found.sparse_initializer.append(SparseTensorProto(values=outside(), indices=inside(), dims=[2]))
    return found


def function() -> ModelProto:
    found = model(graph())
    found.functions.append(
        helper.make_function("d", "f", [], ["c"], [helper.make_node("Constant", [], ["c"], value=outside())], [])
    )
    return found


@pytest.mark.parametrize("found", [
    model(graph(outside())),
    model(constant(value=outside())),
    model(constant(values=[outside()])),
    model(constant(body=graph(outside()))),
    model(constant(body=constant(branches=[graph(outside())]))),
    model(sparse()),
    function(),
], ids=["initializer", "attribute", "attributes", "subgraph", "deeper", "sparse", "function"])  # fmt: skip
def test_it_is_found(found: ModelProto) -> None:
    assert external_files(found.SerializeToString()) == {"../weights.bin"}


def test_each_file_is_named_once() -> None:
    assert external_files(model(graph(outside("a"), outside("b"), outside("a"))).SerializeToString()) == {"a", "b"}


def test_a_graph_that_holds_its_weights_names_none() -> None:
    found = model(constant(value=inside(), alpha=0.5, beta=2, name="x" * 300, mode="y", body=graph()))
    assert external_files(found.SerializeToString()) == set()


@pytest.mark.parametrize("before", [
    b"\x0b\x0c",          # a group, which readers skip
    b"\x08\xff\xff\xff\xff\x0f",  # a number
    b"\x0d1234", b"\x0912345678",  # fixed widths
    b"\xfa\xff\xff\xff\x7f\x00",  # a tag of five bytes
])  # fmt: skip
def test_unknown_fields_hide_nothing(before: bytes) -> None:
    assert external_files(before + model(graph(outside())).SerializeToString()) == {"../weights.bin"}


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x3a\x7f short", b"\xff" * 20, b"\x0f"])
def test_what_is_no_onnx_file_names_none(content: bytes) -> None:
    assert external_files(content) == set()


def test_endless_nesting_ends() -> None:
    content = b""
    for level in range(3000):  # a graph in an attribute of a node in a graph, and so on
        content = field((6, 5, 1)[level % 3], content)
    assert external_files(field(7, content)) == set()


def field(number: int, content: bytes) -> bytes:
    """A field that holds a message."""
    length = len(content)
    return bytes([number << 3 | 2, length & 127 | 128, length >> 7 & 127 | 128, length >> 14]) + content
