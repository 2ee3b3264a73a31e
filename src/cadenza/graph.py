"""The network as ONNX graphs, fp32 and int8, that onnxruntime runs without torch.

One graph advances the state and gives the logits of the first field (`trunk`), and one for each field
after it takes the one before and gives its logits.
They are written node by node, so that nothing but the arithmetic is in them:

    trunk:       columns (B, T, F + C) of events and context, state...
                 -> x (N, W), logits (N, size), state...
                 N = B * T; recurrent ones take one event (T = 1); of a state that keeps the last events, what the new ones leave comes out
    head_k > 0:  x (N, W), columns (N, 1 + known with it) of field k - 1 and context -> x, logits

Sources: ONNX operator specification, opset 23; MatMulNBits of onnxruntime's contributed operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from cadenza.schema import Field, Schema, rows_of

OPSET, IR_VERSION = 23, 11
CONTRIBUTED = "com.microsoft"
LARGE = 1024  # numbers in a weight that is worth keeping small
BLOCK = 64  # numbers of an 8-bit matrix that share a scale
Weights = dict[str, NDArray[np.float32]]


@dataclass
class _Builder:
    """Collects the nodes and weights of one graph."""

    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def linear(self, x: str, weights: Weights, name: str, output: str) -> str:
        """x (N, in) times the matrix of a dense layer, plus its bias."""
        parts = [self.constant(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias")]
        return self.node("Gemm", [x, *parts], output, transB=1)

    def integers(self, name: str, values: Sequence[int]) -> str:
        return self.constant(name, np.array(values, dtype=np.int64))

    def split(self, x: str, outputs: list[str], sizes: list[int], axis: int = -1) -> None:
        sizes_name = self.integers(f"{outputs[0]}.sizes", sizes)
        self.nodes.append(helper.make_node("Split", [x, sizes_name], outputs, name=outputs[0], axis=axis))

    def layer_norm(self, x: str, weights: Weights, name: str, output: str) -> str:
        scale = [self.constant(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias")]
        return self.node("LayerNormalization", [x, *scale], output, axis=-1, epsilon=1e-5)

    def summed_embedding(
        self, columns: str, table: NDArray[np.float32], fields: Sequence[Field], name: str
    ) -> str:
        """Sum of one row of the table for each column, columns (..., n) being values from -1 on.

        The sum is a product with ones, which adds in the same order however many candidates there are; ReduceSum does not.
        """
        offsets = np.array(rows_of(fields)[0], np.int64)
        rows = self.node("Add", [columns, self.constant(f"{name}.offsets", offsets)], f"{name}.rows")
        gathered = self.node("Gather", [self.constant(f"{name}.table", table), rows], f"{name}.all")
        ones = self.constant(f"{name}.ones", np.ones(len(fields), np.float32))
        return self.node("MatMul", [ones, gathered], f"{name}.sum")

    def model(self, inputs: list[Any], outputs: list[Any]) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "cadenza", inputs, outputs, self.weights)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="cadenza")
        onnx.checker.check_model(model)
        return model


def _float(name: str, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _integer(name: str, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.INT64, shape)


def build_graphs(weights: Weights, config: dict[str, Any], schema: Schema) -> dict[str, onnx.ModelProto]:
    """All graphs of a network, by name, from its weights and its configuration."""
    graphs = {"trunk": _trunk(weights, config, schema)}
    for k in range(1, len(schema.fields)):
        graphs[f"head_{k}"] = _head(weights, config, schema, k)
    return graphs


def _trunk(weights: Weights, config: dict[str, Any], schema: Schema) -> onnx.ModelProto:
    b = _Builder()
    fields = [*schema.fields, *schema.context]
    length = "T" if config["architecture"] == "transformer" else 1
    inputs = [_integer("columns", ["B", length, len(fields)])]
    x = b.summed_embedding("columns", weights["embed.weight"], fields, "embed")
    if config["architecture"] == "transformer":
        hidden, more, states = _transformer(b, weights, config, x)
        inputs += more
    else:
        hidden, states = _recurrent(b, weights, config, x)
    if "norm.weight" in weights:
        b.layer_norm(hidden, weights, "norm", "x")
    else:
        b.node("Identity", [hidden], "x")
    outputs = [_float("x", ["N", config["width"]]), _float("logits", ["N", schema.fields[0].size])]
    for name, shape in states.items():
        inputs.append(_float(name, [config["memory"] if size == MEMORY else size for size in shape]))
        if MEMORY in shape:
            outputs.append(_float(f"{name}_new", ["T" if size == MEMORY else size for size in shape]))
        else:
            outputs.append(_float(f"{name}_after", shape))
    _logits(b, weights, config, 0, "x")
    return b.model(inputs, outputs)


_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")  # of a recurrent layer
States = dict[str, list[Any]]  # shapes of the state inputs by name
MEMORY = "memory"  # in a shape: a ring of slots, of which each event overwrites the oldest


def _recurrent(b: _Builder, weights: Weights, config: dict[str, Any], embedded: str) -> tuple[str, States]:
    """See models.recurrent; of one event at a time, since an operator that goes over several keeps to fp32."""
    width = config["width"]
    x = b.node("Reshape", [embedded, b.integers("flat", [-1, width])], "embedded")
    cell, names = (_lstm, ("h", "c")) if config["architecture"] == "lstm" else (_gru, ("h",))
    states: States = {}
    for layer in range(config["layers"]):
        x = cell(b, weights, width, layer, x)
        states |= {f"state_{layer}_{name}": ["B", width] for name in names}
    return x, states


def _lstm(b: _Builder, weights: Weights, width: int, layer: int, x: str) -> str:
    """Output (N, W) of a layer of an LSTM; torch has its gates in the order i f g o."""
    name, h, c = f"cell_{layer}", f"state_{layer}_h", f"state_{layer}_c"
    both = b.node("Concat", [x, h], f"{name}.both", axis=-1)
    i, f, g, o = zip(*(np.split(weights[f"cells.{part}_l{layer}"], 4) for part in _PARTS), strict=True)
    w_x, w_h, b_x, b_h = (np.concatenate(gates) for gates in zip(i, f, o, g, strict=True))
    joined = {f"{name}.weight": np.concatenate([w_x, w_h], axis=1), f"{name}.bias": b_x + b_h}
    b.split(b.linear(both, joined, name, f"{name}.all"), [f"{name}.open", f"{name}.g"], [3 * width, width])
    opened = b.node("Sigmoid", [f"{name}.open"], f"{name}.opened")
    b.split(opened, [f"{name}.i", f"{name}.f", f"{name}.o"], [width] * 3)
    new = b.node("Mul", [f"{name}.i", b.node("Tanh", [f"{name}.g"], f"{name}.g_out")], f"{name}.new")
    kept = b.node("Mul", [f"{name}.f", c], f"{name}.kept")
    after = b.node("Add", [kept, new], f"{c}_after")
    return b.node("Mul", [f"{name}.o", b.node("Tanh", [after], f"{name}.c_out")], f"{h}_after")


def _gru(b: _Builder, weights: Weights, width: int, layer: int, x: str) -> str:
    """Output (N, W) of a layer of a GRU; torch has its gates in the order r z n."""
    name, h = f"cell_{layer}", f"state_{layer}_h"
    for part, source in (("x", x), ("h", h)):
        named = "ih" if part == "x" else "hh"
        own = {
            f"{name}.{part}.{kind}": weights[f"cells.{kind}_{named}_l{layer}"] for kind in ("weight", "bias")
        }
        projected = b.linear(source, own, f"{name}.{part}", f"{name}.{part}.all")
        b.split(projected, [f"{name}.{part}.open", f"{name}.{part}.n"], [2 * width, width])
    opened = b.node("Add", [f"{name}.x.open", f"{name}.h.open"], f"{name}.open")
    b.split(b.node("Sigmoid", [opened], f"{name}.opened"), [f"{name}.r", f"{name}.z"], [width] * 2)
    reset = b.node("Mul", [f"{name}.r", f"{name}.h.n"], f"{name}.reset")
    new = b.node("Tanh", [b.node("Add", [f"{name}.x.n", reset], f"{name}.n")], f"{name}.new")
    change = b.node("Mul", [f"{name}.z", b.node("Sub", [h, new], f"{name}.away")], f"{name}.change")
    return b.node("Add", [new, change], f"{h}_after")


def _transformer(
    b: _Builder, weights: Weights, config: dict[str, Any], embedded: str
) -> tuple[str, list[Any], States]:
    """See models.transformer: the same arithmetic, but the memory is a ring, whose order does not matter.

    The ring is read where it lies; the operator Attention would copy it at every step, which takes longer than all
    products. What depends on positions alone comes from outside (see `runtime`): the cosines and sines (B, T, pairs)
    to turn by, and what to add to the scores (B, 1, T, memory + T), 0 or far below it.
    """
    width, heads, memory = config["width"], config["heads"], config["memory"]
    x = b.node("Reshape", [embedded, b.integers("flat", [-1, width])], "embedded")
    shape = b.node("Shape", ["columns"], "batch_and_length", start=0, end=2)
    length = b.node("Shape", ["columns"], "length", start=1, end=2)
    b.node("Concat", [shape, b.integers("parts", [3 * heads, width // heads])], BY_EVENT, axis=0)
    b.node("Concat", [b.integers("memory", [memory]), length], OLD_AND_NEW, axis=0)
    b.constant(SCALE, np.array((width // heads) ** -0.5, np.float32))
    states: States = {}
    for layer in range(config["layers"]):
        ring = ["B", heads, MEMORY, width // heads]
        states |= {f"state_{layer}_keys": ring, f"state_{layer}_values": ring}
        x = _attention(b, weights, config, layer, x)
        x = _mlp(b, weights, f"layers.{layer}", x)
    pairs = ["B", "T", width // heads // 2]
    inputs = [_float("cos", pairs), _float("sin", pairs), _float("mask", ["B", 1, "T", f"{memory} + T"])]
    return x, inputs, states


# Shapes and a number that all layers share, by name.
BY_EVENT, OLD_AND_NEW, SCALE = "by_event", "old_and_new", "scale"


def _attention(b: _Builder, weights: Weights, config: dict[str, Any], layer: int, x: str) -> str:
    """Of x (N, width) on the slots and on the new events, whose keys and values (B, heads, T, size) come out, too."""
    width, heads, name = config["width"], config["heads"], f"layers.{layer}"
    keys, values = f"state_{layer}_keys", f"state_{layer}_values"
    normed = b.layer_norm(x, weights, f"{name}.norm_attention", f"{name}.attention_in")
    projected = b.linear(normed, weights, f"{name}.query_key_value", f"{name}.projected")
    events = b.node("Reshape", [projected, BY_EVENT], f"{name}.events")
    by_head = b.node("Transpose", [events], f"{name}.by_head", perm=[0, 2, 1, 3])
    b.split(by_head, [f"{name}.query_and_key", f"{values}_new"], [2 * heads, heads], axis=1)
    turned = b.node("RotaryEmbedding", [f"{name}.query_and_key", "cos", "sin"], f"{name}.turned")
    b.split(turned, [f"{name}.query", f"{keys}_new"], [heads, heads], axis=1)
    query = b.node("Mul", [f"{name}.query", SCALE], f"{name}.scaled")
    scores = [
        b.node(
            "MatMul",
            [query, b.node("Transpose", [of], f"{name}.{of}.turned", perm=[0, 1, 3, 2])],
            f"{name}.{of}",
        )
        for of in (keys, f"{keys}_new")
    ]
    together = b.node("Concat", scores, f"{name}.scores", axis=-1)
    shares = b.node("Softmax", [b.node("Add", [together, "mask"], f"{name}.seen")], f"{name}.shares", axis=-1)
    old, new = f"{name}.old", f"{name}.new"
    b.nodes.append(helper.make_node("Split", [shares, OLD_AND_NEW], [old, new], name=old, axis=-1))
    parts = [
        b.node("MatMul", [share, of], f"{share}_mixed")
        for share, of in ((old, values), (new, f"{values}_new"))
    ]
    mixed = b.node(
        "Transpose", [b.node("Add", parts, f"{name}.mixed")], f"{name}.by_event", perm=[0, 2, 1, 3]
    )
    flat = b.node("Reshape", [mixed, b.integers(f"{name}.width", [-1, width])], f"{name}.flat")
    attended = b.linear(flat, weights, f"{name}.attended", f"{name}.attended")
    return b.node("Add", [x, attended], f"{name}.after_attention")


def _mlp(b: _Builder, weights: Weights, name: str, x: str) -> str:
    normed = b.layer_norm(x, weights, f"{name}.norm_mlp", f"{name}.mlp_in")
    up = b.node("Gelu", [b.linear(normed, weights, f"{name}.up", f"{name}.up_out")], f"{name}.gelu")
    return b.node("Add", [x, b.linear(up, weights, f"{name}.down", f"{name}.down_out")], f"{name}.out")


def _head(weights: Weights, config: dict[str, Any], schema: Schema, k: int) -> onnx.ModelProto:
    b, shape = _Builder(), ["N", config["width"]]
    x, columns = _condition(b, weights, schema, k)
    _logits(b, weights, config, k, x)
    outputs = [_float(x, shape), _float("logits", ["N", schema.fields[k].size])]
    return b.model([_float("x", shape), columns], outputs)


def _logits(b: _Builder, weights: Weights, config: dict[str, Any], k: int, x: str) -> None:
    """See models.language_model.Head."""
    up = b.linear(x, weights, f"heads.{k}.up", "up")
    if config["residual_heads"]:
        down = b.linear(b.node("Gelu", [up], "gelu"), weights, f"heads.{k}.down", "down")
        up = b.node("Add", [x, down], "residual")
    b.linear(up, weights, f"heads.{k}.out", "logits")


def _condition(b: _Builder, weights: Weights, schema: Schema, k: int) -> tuple[str, Any]:
    """x plus the embeddings of field k - 1 and of the context that it brings, and the input of these."""
    fields = [schema.fields[k - 1], *(schema.context[c] for c in schema.context_after(k - 1))]
    added = b.summed_embedding("columns", weights[f"condition.{k - 1}.weight"], fields, "condition")
    return b.node("Add", ["x", added], "x_after"), _integer("columns", ["N", len(fields)])


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with its weights kept as float16, of half the size; it computes in fp32, as it is loaded."""
    small = onnx.ModelProto()
    small.CopyFrom(model)
    for weight in small.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < LARGE:
            continue
        name, values = weight.name, numpy_helper.to_array(weight)
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        cast = helper.make_node("Cast", [weight.name], [name], name=f"{name}.cast", to=TensorProto.FLOAT)
        small.graph.node.insert(0, cast)
    return small


def quantised(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with the matrices of dense layers in 8 bits and other large weights as float16, of about a quarter of
    the size.

    Every row of what is multiplied is quantised by itself on the way, so that what comes out for a candidate
    does not depend on those beside it.
    """
    small = onnx.ModelProto()
    small.CopyFrom(model)
    weights = {weight.name: weight for weight in small.graph.initializer}
    for node in small.graph.node:
        if node.op_type == "Gemm":
            x, matrix, bias = node.input
            values = numpy_helper.to_array(weights[matrix])
            small.graph.initializer.remove(weights[matrix])
            for part, array in zip(("numbers", "scales"), eight_bits(values), strict=True):
                small.graph.initializer.append(numpy_helper.from_array(array, f"{matrix}.{part}"))
            node.CopyFrom(
                helper.make_node(
                    "MatMulNBits",
                    [x, f"{matrix}.numbers", f"{matrix}.scales", "", "", bias],
                    node.output,
                    name=node.name,
                    domain=CONTRIBUTED,
                    N=values.shape[0],
                    K=values.shape[1],
                    bits=8,
                    block_size=BLOCK,
                    accuracy_level=4,  # products of integers
                )
            )
    small.opset_import.append(helper.make_opsetid(CONTRIBUTED, 1))
    return halved(small)


def eight_bits(matrix: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Numbers (N, blocks, BLOCK) from 1 to 255, of which 128 is nothing, and scales (N, blocks) of a matrix (N, K)."""
    rows, width = matrix.shape
    blocks = -(-width // BLOCK)
    padded = np.pad(matrix, ((0, 0), (0, blocks * BLOCK - width))).reshape(rows, blocks, BLOCK)
    scales = np.abs(padded).max(axis=2) / np.float32(127)
    numbers = np.rint(padded / np.where(scales > 0, scales, np.float32(1))[..., None]) + 128
    return numbers.astype(np.uint8), scales
