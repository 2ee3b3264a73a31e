"""The network as ONNX graphs, fp32 and int8, that onnxruntime runs without torch.

One graph advances the state and gives the logits of the first field (`trunk`), and one for each field
after it takes the one before and gives its logits.
They are written node by node, so that nothing but the arithmetic is in them:

    trunk:       columns (B, T, F + C) of events and context, state... -> x (B, T, W), logits (B, T, size), state...
    head_k > 0:  x (N, W), columns (N, 1 + known with it) of field k - 1 and context -> x, logits

Sources: ONNX operator specification, opset 20 (gates of LSTM in the order i o f c, of GRU z r h).
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

from cadenza.rotary import CYCLE, rotary_clocks
from cadenza.schema import Field, Schema

OPSET, IR_VERSION = 20, 10
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
        product = self.node(
            "MatMul", [x, self.constant(f"{name}.w", weights[f"{name}.weight"].T)], f"{output}.xw"
        )
        return self.node("Add", [product, self.constant(f"{name}.b", weights[f"{name}.bias"])], output)

    def integers(self, name: str, values: Sequence[int]) -> str:
        return self.constant(name, np.array(values, dtype=np.int64))

    def gather(self, x: str, places: Sequence[int], axis: int) -> str:
        name = f"{x}.at_{len(self.nodes)}"
        return self.node("Gather", [x, self.integers(f"{name}.places", places)], name, axis=axis)

    def split(self, x: str, outputs: list[str], sizes: list[int], axis: int = -1) -> None:
        sizes_name = self.integers(f"{outputs[0]}.sizes", sizes)
        self.nodes.append(helper.make_node("Split", [x, sizes_name], outputs, name=outputs[0], axis=axis))

    def keep_last(self, x: str, count: int, output: str) -> str:
        """The last `count` of x (B, slots, ...)."""
        limits = [
            self.integers(f"{output}.{name}", [n])
            for name, n in (("from", -count), ("to", np.iinfo(np.int64).max), ("axis", 1))
        ]
        return self.node("Slice", [x, *limits], output)

    def layer_norm(self, x: str, weights: Weights, name: str, output: str) -> str:
        scale = [self.constant(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias")]
        return self.node("LayerNormalization", [x, *scale], output, axis=-1, epsilon=1e-5)

    def summed_embedding(
        self, columns: str, table: NDArray[np.float32], fields: Sequence[Field], axis: int, name: str
    ) -> str:
        """Sum of one row of the table for each column, columns (..., n) being values from -1 on."""
        sizes = [column.size + 1 for column in fields]
        offsets = np.cumsum([1, *sizes[:-1]], dtype=np.int64)
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
    embedded = b.summed_embedding("columns", weights["embed.weight"], fields, 2, "embed")
    if config["architecture"] == "transformer":
        hidden, states = _transformer(b, weights, config, schema, embedded)
    else:
        hidden, states = _recurrent(b, weights, config, embedded)
    if "norm.weight" in weights:
        b.layer_norm(hidden, weights, "norm", "x")
    else:
        b.node("Identity", [hidden], "x")
    inputs += [_float(name, shape) for name, shape in states.items()]
    after = [_float(f"{name}_after", shape) for name, shape in states.items()]
    _logits(b, weights, config, 0, "x")
    outputs = [_float("x", ["B", "T", config["width"]]), _float("logits", ["B", "T", schema.fields[0].size])]
    return b.model(inputs, [*outputs, *after])


States = dict[str, list[Any]]  # shapes of the state inputs by name; each has an output named *_after


def _recurrent(b: _Builder, weights: Weights, config: dict[str, Any], embedded: str) -> tuple[str, States]:
    x = b.node("Transpose", [embedded], "embedded", perm=[1, 0, 2])
    names: list[str] = []
    for layer in range(config["layers"]):
        x, states = _cell(b, weights, config, layer, x)
        names += states
    hidden = b.node("Transpose", [x], "hidden", perm=[1, 0, 2])
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
    b: _Builder, weights: Weights, config: dict[str, Any], schema: Schema, x: str
) -> tuple[str, States]:
    """See models.transformer: the same arithmetic."""
    memory, width = config["memory"], config["width"]
    states: States = {"state_used": ["B", memory], "state_clocks": ["B", 2]}
    turn = _rotary_turn(b, config, schema)
    mask = _visible(b, memory)
    for layer in range(config["layers"]):
        states |= {f"state_{layer}_{part}": ["B", memory, width] for part in ("keys", "values")}
        x = _attention(b, weights, config, layer, x, turn, mask)
        x = _mlp(b, weights, f"layers.{layer}", x)
    return x, states


def _rotary_turn(b: _Builder, config: dict[str, Any], schema: Schema) -> tuple[str, str]:
    """cos and sin (B, T, 1, pairs) of the angles by which queries and keys are turned; both clocks go on."""
    which, periods = rotary_clocks(config["width"] // config["heads"] // 2, schema.clock is not None)
    one = b.node(
        "Expand",
        [b.integers("one", [1]), b.node("Shape", [b.gather("columns", [0], 2)], "column_shape")],
        "ones",
    )
    elapsed = b.node("Sub", [one, one], "no_time")
    if schema.clock is not None:
        elapsed = b.node("Max", [b.gather("columns", [schema.clock], 2), b.integers("zero", [0])], "elapsed")
    ticks = b.node("Concat", [elapsed, one], "ticks", axis=2)
    ticks = b.node("Cast", [ticks], "float_ticks", to=TensorProto.FLOAT)
    passed = b.node("CumSum", [ticks, b.constant("time_axis", np.array(1, np.int64))], "passed")
    before = b.node("Unsqueeze", ["state_clocks", b.integers("clocks_axis", [1])], "clocks_before")
    cycle = b.constant("cycle", np.array(CYCLE, np.float32))
    now = b.node("Mod", [b.node("Add", [passed, before], "clocks"), cycle], "now", fmod=1)
    b.node("Gather", [now, b.constant("last_event", np.array(-1, np.int64))], "state_clocks_after", axis=1)
    lengths = np.array(periods, np.float32)
    within = b.node("Mod", [b.gather(now, which, 2), b.constant("periods", lengths)], "within", fmod=1)
    frequencies = b.constant("frequencies", (2 * np.pi / lengths).astype(np.float32))
    angle = b.node("Mul", [within, frequencies], "angle")
    angle = b.node("Unsqueeze", [angle, b.integers("heads_axis", [2])], "angle_of_heads")
    return b.node("Cos", [angle], "cos"), b.node("Sin", [angle], "sin")


def _visible(b: _Builder, memory: int) -> str:
    """What to add to scores (B, 1, T, memory + T): 0 for events that are seen, else minus infinity, nearly."""
    length = b.node("Shape", ["columns"], "length", start=1, end=2)
    scalar = b.node("Squeeze", [length], "scalar_length")
    zero, one = (
        b.constant("range_start", np.array(0, np.int64)),
        b.constant("range_step", np.array(1, np.int64)),
    )
    new = b.node("Range", [zero, scalar, one], "new_slots")
    total = b.node("Add", [scalar, b.constant("memory", np.array(memory, np.int64))], "n_slots")
    slots = b.node("Range", [zero, total, one], "slots")
    ahead = b.node("Unsqueeze", [new, b.integers("query_axis", [1])], "queries")
    back = b.node("Sub", [slots, ahead], "offset")  # 0 .. memory for the slots that a query sees
    seen = b.node(
        "And",
        [
            b.node("GreaterOrEqual", [back, zero], "recent"),
            b.node("LessOrEqual", [back, b.constant("oldest", np.array(memory, np.int64))], "past"),
        ],
        "seen",
    )
    hidden = b.constant("hidden_score", np.array(-1e9, np.float32))
    band = b.node("Where", [seen, b.constant("seen_score", np.array(0, np.float32)), hidden], "band")
    fresh = b.node(
        "Expand",
        [
            b.constant("full", np.ones((1, 1), np.float32)),
            b.node("Shape", ["columns"], "batch_and_length", start=0, end=2),
        ],
        "fresh",
    )
    used = b.node("Concat", ["state_used", fresh], "used", axis=1)
    b.keep_last(used, memory, "state_used_after")
    unused = b.node(
        "Mul",
        [b.node("Sub", [used, "full"], "unused"), b.constant("far", np.array(1e9, np.float32))],
        "empty",
    )
    return b.node(
        "Add", [b.node("Unsqueeze", [unused, b.integers("mask_axes", [1, 2])], "of_slots"), band], "mask"
    )


def _attention(
    b: _Builder,
    weights: Weights,
    config: dict[str, Any],
    layer: int,
    x: str,
    turn: tuple[str, str],
    mask: str,
) -> str:
    heads, width, memory, name = config["heads"], config["width"], config["memory"], f"layers.{layer}"
    size = width // heads
    of_heads = b.integers(f"{name}.of_heads", [0, -1, heads, size])
    normed = b.layer_norm(x, weights, f"{name}.norm_attention", f"{name}.attention_in")
    projected = b.linear(normed, weights, f"{name}.query_key_value", f"{name}.qkv")
    parts = [f"{name}.to_turn", f"{name}.value"]
    b.split(projected, parts, [2 * width, width])
    both = b.node("Reshape", [parts[0], b.integers(f"{name}.both", [0, 0, 2 * heads, size])], f"{name}.qk")
    turned = _rotated(b, both, turn, size, name)
    query, key = f"{name}.query", f"{name}.key"
    b.split(turned, [query, key], [heads, heads], axis=2)
    flat = b.node("Reshape", [key, b.integers(f"{name}.flat", [0, 0, width])], f"{name}.flat_key")
    keys, values = (
        b.node("Concat", [f"state_{layer}_{part}", new], f"{name}.all_{part}", axis=1)
        for part, new in (("keys", flat), ("values", parts[1]))
    )
    for part, slots in (("keys", keys), ("values", values)):
        b.keep_last(slots, memory, f"state_{layer}_{part}_after")
    scaled = b.node(
        "Mul", [query, b.constant(f"{name}.scale", np.array(size**-0.5, np.float32))], f"{name}.scaled"
    )
    q = b.node("Transpose", [scaled], f"{name}.q", perm=[0, 2, 1, 3])
    k = b.node(
        "Transpose", [b.node("Reshape", [keys, of_heads], f"{name}.k4")], f"{name}.k", perm=[0, 2, 3, 1]
    )
    v = b.node(
        "Transpose", [b.node("Reshape", [values, of_heads], f"{name}.v4")], f"{name}.v", perm=[0, 2, 1, 3]
    )
    scores = b.node("Add", [b.node("MatMul", [q, k], f"{name}.scores"), mask], f"{name}.masked")
    mixed = b.node("MatMul", [b.node("Softmax", [scores], f"{name}.weights", axis=-1), v], f"{name}.mixed")
    mixed = b.node("Transpose", [mixed], f"{name}.mixed_t", perm=[0, 2, 1, 3])
    mixed = b.node("Reshape", [mixed, b.integers(f"{name}.width", [0, 0, width])], f"{name}.mixed_flat")
    attended = b.linear(mixed, weights, f"{name}.attended", f"{name}.attended")
    return b.node("Add", [x, attended], f"{name}.after_attention")


def _rotated(b: _Builder, x: str, turn: tuple[str, str], size: int, name: str) -> str:
    """x (B, T, heads, size) with its pairs turned."""
    cos, sin = turn
    halves = [f"{name}.turn_a", f"{name}.turn_b"]
    b.split(x, halves, [size // 2, size // 2], axis=3)
    products = {
        (n, m): b.node("Mul", [half, angle], f"{name}.turn_{n}{m}")
        for n, half in enumerate(halves)
        for m, angle in enumerate((cos, sin))
    }
    first = b.node("Sub", [products[0, 0], products[1, 1]], f"{name}.turned_a")
    second = b.node("Add", [products[0, 1], products[1, 0]], f"{name}.turned_b")
    return b.node("Concat", [first, second], f"{name}.turned", axis=3)


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


def quantised(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with int8 weights (and activations quantised on the way), of about a quarter of the size.

    GRU layers, which the quantiser does not know, keep their precision.
    Weights keep to 7 bits: without VNNI instructions, sums of full 8-bit products saturate.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        quantize_dynamic(
            model,
            target,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "LSTM", "Gather"],
        )
        return onnx.load(target)
