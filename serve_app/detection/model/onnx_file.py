"""Which other files an ONNX file names. Called by `artifact` before an engine loads the graph.

onnxruntime and OpenVINO read such files from the working directory when they get the graph as bytes, and neither can
be told not to. The onnx package finds them, but it takes memory that the ONNX backend does not need for anything else.
"""

from collections.abc import Iterator
from contextlib import suppress

# The fields of ONNX's messages (onnx.proto) in which tensors lie, and the kind of message behind each
_FIELDS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
    "external": {},
}
_KEY, _VALUE = 1, 2  # fields of a tensor's entry about its external file


def external_files(model: bytes) -> set[str]:
    """The files in which tensors of the graph lie, as the graph names them.

    What is no ONNX file gives whatever was found up to its fault; no engine loads it.
    """
    found: set[str] = set()
    with suppress(IndexError, RecursionError):  # protobuf's own limit of nesting is far lower
        _search(memoryview(model), "model", found)
    return found


def _search(message: memoryview, kind: str, found: set[str]) -> None:
    if kind == "external":
        entry = {number: bytes(part).decode(errors="replace") for number, part in _parts(message)}
        if entry.get(_KEY) == "location":
            found.add(entry.get(_VALUE, ""))
        return
    for number, part in _parts(message):
        if number in _FIELDS[kind]:
            _search(part, _FIELDS[kind][number], found)


def _parts(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The number and the content of each field that is itself a message, text or bytes (protobuf's wire format)."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        tag &= 0xFFFFFFFF  # protobuf drops what is over 32 bits
        match tag & 7:
            case 0:
                _, at = _varint(message, at)
            case 1:
                at += 8
            case 2:
                length, at = _varint(message, at)
                if at + length > len(message):
                    raise IndexError("the field is cut short")
                yield tag >> 3, message[at : at + length]
                at += length
            case 3 | 4:  # begin and end of a group, which readers skip; its fields are looked at like ours
                pass
            case 5:
                at += 4
            case wire_type:
                raise IndexError(f"no wire type of ONNX: {wire_type}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at
