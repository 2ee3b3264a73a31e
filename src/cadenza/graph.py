"""The network as ONNX graphs, fp32 and int8, that onnxruntime runs without torch.

One graph advances the state and gives the logits of the first field (`trunk`), and one for each field
after it takes the one before and gives its logits.
They are written node by node, so that nothing but the arithmetic is in them:

    trunk:       columns (B, T, F + C) of events and context, state...
                 -> x (N, W), logits (N, size), state...
                 N = B * T; a state that keeps the last events comes out with the new ones behind it
    head_k > 0:  x (N, W), columns (N, 1 + known with it) of field k - 1 and context -> x, logits

Sources: ONNX operator specification, opset 23 (gates of LSTM in the order i o f c, of GRU z r h).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from cadenza.files import not_written
from cadenza.schema import Field, Schema, rows_of

OPSET, IR_VERSION = 23, 11
LARGE = 1024  # numbers in a weight that is worth keeping small
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
        self, columns: str, table: NDArray[np.float32], fields: Sequence[Field], axis: int, name: str
    ) -> str:
        """Sum of one row of the table for each column, columns (..., n) being values from -1 on."""
        offsets = np.array(rows_of(fields)[0], np.int64)
        rows = self.node("Add", [columns, self.constant(f"{name}.offsets", offsets)], f"{name}.rows")
        gathered = self.node("Gather", [self.constant(f"{name}.table", table), rows], f"{name}.all")
        axes = self.constant(f"{name}.axis", np.array([axis], dtype=np.int64))
        return self.node("ReduceSum", [gathered, axes], f"{name}.sum", keepdims=0)

    def model(self, inputs: list[Any], outputs: list[Any]) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "cadenza", inputs, outputs, self.weights)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="cadenza")
        # The quantiser asks for a pass that infers shapes and fuses nodes, of which these graphs need none.
        helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
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
    inputs = [_integer("columns", ["B", "T", len(fields)])]
    x = b.summed_embedding("columns", weights["embed.weight"], fields, 2, "embed")
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
            longer = [f"{config['memory']} + T" if size == MEMORY else size for size in shape]
            outputs.append(_float(f"{name}_and_new", longer))
        else:
            outputs.append(_float(f"{name}_after", shape))
    _logits(b, weights, config, 0, "x")
    return b.model(inputs, outputs)


States = dict[str, list[Any]]  # shapes of the state inputs by name
MEMORY = "memory"  # in a shape: a ring of slots, of which each event overwrites the oldest


def _recurrent(b: _Builder, weights: Weights, config: dict[str, Any], embedded: str) -> tuple[str, States]:
    x = b.node("Transpose", [embedded], "embedded", perm=[1, 0, 2])
    names: list[str] = []
    for layer in range(config["layers"]):
        x, states = _cell(b, weights, config, layer, x)
        names += states
    by_candidate = b.node("Transpose", [x], "hidden", perm=[1, 0, 2])
    hidden = b.node("Reshape", [by_candidate, b.integers("flat", [-1, config["width"]])], "hidden_flat")
    return hidden, {name: [1, "B", config["width"]] for name in names}


def _cell(b: _Builder, weights: Weights, config: dict[str, Any], layer: int, x: str) -> tuple[str, list[str]]:
    """One recurrent layer over x (T, B, W); returns its output and the names of its state inputs."""
    lstm = config["architecture"] == "lstm"
    order = (0, 3, 1, 2) if lstm else (1, 0, 2)  # from torch's gates (i f g o; r z n) to ONNX's
    parts = []
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        gates = np.split(weights[f"cells.{name}_l{layer}"], len(order))
        parts.append(np.concatenate([gates[g] for g in order]))
    cell = f"cell_{layer}"
    constants = [
        b.constant(f"{cell}.w", parts[0][None]),
        b.constant(f"{cell}.r", parts[1][None]),
        b.constant(f"{cell}.b", np.concatenate(parts[2:])[None]),
    ]
    states = [f"state_{layer}_h", f"state_{layer}_c"] if lstm else [f"state_{layer}_h"]
    after = [f"{state}_after" for state in states]
    attributes = {} if lstm else {"linear_before_reset": 1}
    b.nodes.append(
        helper.make_node(
            "LSTM" if lstm else "GRU",
            [x, *constants, "", *states],
            [f"{cell}.y", *after],
            name=cell,
            hidden_size=config["width"],
            **attributes,
        )
    )
    axes = b.constant(f"{cell}.axis", np.array([1], dtype=np.int64))
    return b.node("Squeeze", [f"{cell}.y", axes], f"{cell}.out"), states


def _transformer(
    b: _Builder, weights: Weights, config: dict[str, Any], embedded: str
) -> tuple[str, list[Any], States]:
    """See models.transformer: the same arithmetic, but the memory is a ring, whose order does not matter.

    What depends on positions alone comes from outside (see `runtime`): the cosines and sines (B, T, pairs) to
    turn by, and what to add to the scores (B, 1, T, memory + T), 0 or far below it.
    """
    width, heads, memory = config["width"], config["heads"], config["memory"]
    x = b.node("Reshape", [embedded, b.integers("flat", [-1, width])], "embedded")
    shape = b.node("Shape", ["columns"], "batch_and_length", start=0, end=2)
    by_event = b.node("Concat", [shape, b.integers("width", [3 * width])], "by_event", axis=0)
    states: States = {}
    for layer in range(config["layers"]):
        ring = ["B", heads, MEMORY, width // heads]
        states |= {f"state_{layer}_keys": ring, f"state_{layer}_values": ring}
        x = _attention(b, weights, config, layer, x, by_event)
        x = _mlp(b, weights, f"layers.{layer}", x)
    pairs = ["B", "T", width // heads // 2]
    inputs = [_float("cos", pairs), _float("sin", pairs), _float("mask", ["B", 1, "T", f"{memory} + T"])]
    return x, inputs, states


def _attention(
    b: _Builder, weights: Weights, config: dict[str, Any], layer: int, x: str, by_event: str
) -> str:
    """by_event: the shape (B, T, 3 * width)."""
    width, heads, name = config["width"], config["heads"], f"layers.{layer}"
    normed = b.layer_norm(x, weights, f"{name}.norm_attention", f"{name}.attention_in")
    projected = b.linear(normed, weights, f"{name}.query_key_value", f"{name}.projected")
    events = b.node("Reshape", [projected, by_event], f"{name}.events")
    q, k, v, turned = (f"{name}.{part}" for part in ("query", "key", "value", "turned"))
    b.split(events, [f"{name}.query_and_key", v], [2 * width, width])
    b.node("RotaryEmbedding", [f"{name}.query_and_key", "cos", "sin"], turned, num_heads=2 * heads)
    b.split(turned, [q, k], [width, width])
    remembered = [f"state_{layer}_keys", f"state_{layer}_values"]
    outputs = [f"{name}.mixed", *(f"{state}_and_new" for state in remembered)]
    b.nodes.append(
        helper.make_node(
            "Attention",
            [q, k, v, "mask", *remembered],
            outputs,
            name=f"{name}.mixed",
            q_num_heads=heads,
            kv_num_heads=heads,
        )
    )
    flat = b.node("Reshape", [outputs[0], b.integers(f"{name}.width", [-1, width])], f"{name}.flat")
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
    added = b.summed_embedding("columns", weights[f"condition.{k - 1}.weight"], fields, 1, "condition")
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
    """The graph with int8 weights (and activations quantised on the way), of about a quarter of the size.

    GRU layers, which the quantiser does not know, keep their precision.
    Weights keep to 7 bits: without VNNI instructions, sums of full 8-bit products saturate.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    try:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "int8.onnx"
            quantize_dynamic(
                model,
                target,
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=["MatMul", "Gemm", "LSTM", "Gather"],
            )
            return onnx.load(target)
    except OSError as error:  # a full disk, which is not that of the model
        raise not_written(Path(tempfile.gettempdir()), error) from error
