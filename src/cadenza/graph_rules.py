"""What the file of a graph may hold, told from its bytes before anything runs it.

A graph may come from a stranger. Loops, branches, functions and operators that others define could run for ever, and
weights outside of the file could be any file of the user's: a graph of ours (see `graph`) has none of them.

Source: the messages of onnx.proto3 (ONNX 1.19) and the wire format of Protocol Buffers.
"""

from __future__ import annotations

from collections.abc import Iterator, Set

MOST_PARTS = 20_000  # nodes and weights, far above those of the largest preset
OPERATORS = frozenset(
    "Add Cast Concat Gather Gelu Gemm Identity LayerNormalization MatMul MatMulNBits Mul Reshape RotaryEmbedding Shape "
    "Sigmoid Softmax Split Sub Tanh Transpose".split()
)
_DOMAINS = ("", "ai.onnx", "com.microsoft")

# Fields of the messages, by number: those that may be there at all, and those that are looked into.
_MODEL, _GRAPH_OF_MODEL = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14}), 7
_GRAPH, _NODE, _WEIGHT = frozenset({1, 2, 5, 10, 11, 12, 13, 14, 16}), 1, 5
_NODE_PARTS, _OPERATOR, _ATTRIBUTE, _DOMAIN = frozenset({1, 2, 3, 4, 5, 6, 7}), 4, 5, 7
_PLAIN_ATTRIBUTE = frozenset({1, 2, 3, 4, 5, 7, 8, 9, 10, 13, 20, 21})  # no graphs
_TENSORS = (5, 10)
_PLAIN_TENSOR = frozenset({*range(1, 13), 14})  # 13 names another file, without which 14 says nothing

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


def check_graph(data: bytes) -> None:
    """Raise ValueError, telling why, unless these are the bytes of a graph of plain arithmetic."""
    left = MOST_PARTS
    for number, model_part in _parts(memoryview(data), _MODEL):
        if number != _GRAPH_OF_MODEL:
            continue
        for kind, part in _parts(model_part, _GRAPH):
            left -= 1
            if left < 0:
                raise ValueError("too many parts")
            if kind == _NODE:
                _check_node(part)
            elif kind == _WEIGHT:
                _check_tensor(part)
    if left == MOST_PARTS:
        raise ValueError("no graph")


def _check_node(data: memoryview) -> None:
    operator, domain = b"", b""
    for number, part in _parts(data, _NODE_PARTS):
        if number == _OPERATOR:
            operator = bytes(part)
        elif number == _DOMAIN:
            domain = bytes(part)
        elif number == _ATTRIBUTE:
            for kind, value in _parts(part, _PLAIN_ATTRIBUTE):
                if kind in _TENSORS:
                    _check_tensor(value)
    if operator.decode() not in OPERATORS or domain.decode() not in _DOMAINS:
        raise ValueError(f"operator {operator.decode()[:40]!r}")


def _check_tensor(data: memoryview) -> None:
    for _ in _parts(data, _PLAIN_TENSOR):
        pass


def _parts(data: memoryview, allowed: Set[int]) -> Iterator[tuple[int, memoryview]]:
    """Numbers and contents of a message's fields (nothing for numbers); ValueError if one is not allowed."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number not in allowed:
            raise ValueError(f"part {number}")
        start = at
        if wire == _VARINT:
            _, at = _varint(data, at)
            start = at
        elif wire == _LENGTH:
            length, start = _varint(data, at)
            at = start + length
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if wire == _EIGHT_BYTES else 4
        else:
            raise ValueError("unknown wire type")
        if at > len(data):
            raise ValueError("cut off")
        yield number, data[start:at]


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number without end")
