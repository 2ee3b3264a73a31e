"""The network as ONNX graphs, fp32 and int8, that onnxruntime runs without torch.

One graph advances the state and gives the logits of the first field (`trunk`), and one for each field
after it takes the one before and gives its logits.
They are written node by node, so that nothing but the arithmetic is in them:

    trunk:       columns (B, T, F + C) of events and context, state... -> x (B, T, W), logits (B, T, size), state...
                 of a state that keeps the last events, only the `new` ones come out, and the `slots` (T) they go to
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

    def slice(self, x: str, limits: tuple[int, int], axis: int, output: str) -> str:
        names = ("from", "to", "axis")
        numbers = [
            self.integers(f"{output}.{name}", [n]) for name, n in zip(names, (*limits, axis), strict=True)
        ]
        return self.node("Slice", [x, *numbers], output)

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
    outputs = [_float("x", ["B", "T", config["width"]]), _float("logits", ["B", "T", schema.fields[0].size])]
    for name, shape in states.items():
        inputs.append(_float(name, [config["memory"] if size == MEMORY else size for size in shape]))
        if MEMORY in shape:
            outputs.append(_float(f"{name}_new", ["T" if size == MEMORY else size for size in shape]))
        else:
            outputs.append(_float(f"{name}_after", shape))
    if config["architecture"] == "transformer":
        outputs.append(_integer("slots", ["T"]))
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
    """See models.transformer: the same arithmetic, but what an event leaves is written over what the oldest left.

    So no step copies the memory. The clock of events tells which slot is whose, since `memory` divides CYCLE.
    """
    heads, size = config["heads"], config["width"] // config["heads"]
    states: States = {"state_clocks": ["B", 2], "state_used": ["B", MEMORY]}
    turn = _rotary_turn(b, config, schema)
    masks = _visible(b, config["memory"])
    for layer in range(config["layers"]):
        states |= {
            f"state_{layer}_keys": ["B", heads, size, MEMORY],
            f"state_{layer}_values": ["B", heads, MEMORY, size],
        }
        x = _attention(b, weights, config, layer, x, turn, masks)
        x = _mlp(b, weights, f"layers.{layer}", x)
    return x, states


def _rotary_turn(b: _Builder, config: dict[str, Any], schema: Schema) -> tuple[str, str]:
    """cos and sin (B, T, 1, size) of the angles by which queries and keys are turned; both clocks go on.

    The angles of the first half of a head's numbers are negative, so that x turned is x * cos + exchanged * sin,
    with the halves exchanged.
    """
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
    lengths = np.array(periods * 2, np.float32)
    within = b.node("Mod", [b.gather(now, which * 2, 2), b.constant("periods", lengths)], "within", fmod=1)
    signs = np.repeat(np.array([-1, 1], np.float32), len(periods))
    angle = b.node(
        "Mul", [within, b.constant("frequencies", 2 * np.float32(np.pi) / lengths * signs)], "angle"
    )
    angle = b.node("Unsqueeze", [angle, b.integers("heads_axis", [2])], "angle_of_heads")
    return b.node("Cos", [angle], "cos"), b.node("Sin", [angle], "sin")


def _visible(b: _Builder, memory: int) -> tuple[str, str]:
    """What to add to the scores of remembered (B, 1, T, memory) and of new events (T, T): 0, or far below 0."""
    scalar = b.node("Squeeze", [b.node("Shape", ["columns"], "length", start=1, end=2)], "scalar_length")
    zero = b.constant("range_start", np.array(0, np.int64))
    new = b.node("Range", [zero, scalar, b.constant("range_step", np.array(1, np.int64))], "new_events")
    first = b.gather(b.gather("state_clocks", [0], 0), [1], 1)
    count = b.node("Cast", [b.node("Squeeze", [first], "first_count")], "count", to=TensorProto.INT64)
    slots = b.constant("n_slots", np.array(memory, np.int64))
    b.node("Mod", [b.node("Add", [new, count], "numbers"), slots], "slots")
    since = b.node("Sub", [count, b.integers("slots_from_one", range(1, memory + 1))], "since")
    age = b.node("Mod", [since, slots], "age")  # how many events before the last one a slot was written
    queries = b.node("Unsqueeze", [new, b.integers("query_axis", [1])], "queries")
    limit = b.node("Sub", [b.constant("oldest", np.array(memory - 1, np.int64)), queries], "limit")
    old = _unless(b, b.node("LessOrEqual", [age, limit], "old_seen"), "old_mask")
    unused = b.node("Sub", ["state_used", b.constant("full", np.array(1, np.float32))], "unused")
    empty = b.node("Mul", [unused, b.constant("far", np.array(1e9, np.float32))], "empty")
    empty = b.node("Unsqueeze", [empty, b.integers("mask_axes", [1, 2])], "empty_of_heads")
    ahead = b.node("Sub", [queries, new], "ahead")
    seen = b.node(
        "And",
        [
            b.node("GreaterOrEqual", [ahead, zero], "not_later"),
            b.node("LessOrEqual", [ahead, slots], "recent"),
        ],
        "new_seen",
    )
    shape = b.node("Shape", ["columns"], "batch_and_length", start=0, end=2)
    b.node("Expand", ["full", shape], "state_used_new")
    return b.node("Add", [empty, old], "mask_of_remembered"), _unless(b, seen, "mask_of_new")


def _unless(b: _Builder, seen: str, output: str) -> str:
    hidden = b.constant(f"{output}.hidden", np.array(-1e9, np.float32))
    return b.node("Where", [seen, b.constant(f"{output}.seen", np.array(0, np.float32)), hidden], output)


def _attention(
    b: _Builder,
    weights: Weights,
    config: dict[str, Any],
    layer: int,
    x: str,
    turn: tuple[str, str],
    masks: tuple[str, str],
) -> str:
    heads, width, name = config["heads"], config["width"], f"layers.{layer}"
    size = width // heads
    normed = b.layer_norm(x, weights, f"{name}.norm_attention", f"{name}.attention_in")
    projection = _with_exchanged(weights, f"{name}.query_key_value", width, heads)
    projected = b.linear(normed, projection, f"{name}.query_key_value", f"{name}.qkv")
    parts = [f"{name}.{part}" for part in ("plain", "exchanged", "value")]
    b.split(projected, parts, [2 * width, 2 * width, width])
    both = b.integers(f"{name}.both", [0, 0, 2 * heads, size])
    products = [
        b.node("Mul", [b.node("Reshape", [part, both], f"{part}.of_heads"), angle], f"{part}.turned")
        for part, angle in zip(parts, turn, strict=False)
    ]
    turned = b.node("Add", products, f"{name}.turned")
    b.split(turned, [f"{name}.query", f"{name}.key"], [heads, heads], axis=2)
    q = b.node("Transpose", [f"{name}.query"], f"{name}.q", perm=[0, 2, 1, 3])
    k = b.node("Transpose", [f"{name}.key"], f"state_{layer}_keys_new", perm=[0, 2, 3, 1])
    values = b.node("Reshape", [parts[2], b.integers(f"{name}.of_heads", [0, 0, heads, size])], f"{name}.v4")
    v = b.node("Transpose", [values], f"state_{layer}_values_new", perm=[0, 2, 1, 3])
    scores = [
        b.node("Add", [b.node("MatMul", [q, keys], f"{keys}.scores"), mask], f"{keys}.masked")
        for keys, mask in zip((f"state_{layer}_keys", k), masks, strict=True)
    ]
    shares = b.node(
        "Softmax", [b.node("Concat", scores, f"{name}.scores", axis=3)], f"{name}.shares", axis=-1
    )
    memory, end = config["memory"], int(np.iinfo(np.int64).max)
    mixed = [
        b.node("MatMul", [b.slice(shares, limits, 3, f"{slots}.shares"), slots], f"{slots}.mixed")
        for slots, limits in ((f"state_{layer}_values", (0, memory)), (v, (memory, end)))
    ]
    together = b.node(
        "Transpose", [b.node("Add", mixed, f"{name}.mixed")], f"{name}.mixed_t", perm=[0, 2, 1, 3]
    )
    flat = b.node("Reshape", [together, b.integers(f"{name}.width", [0, 0, width])], f"{name}.mixed_flat")
    attended = b.linear(flat, weights, f"{name}.attended", f"{name}.attended")
    return b.node("Add", [x, attended], f"{name}.after_attention")


def _with_exchanged(weights: Weights, name: str, width: int, heads: int) -> Weights:
    """The projection to queries (scaled) and keys, to these with the halves of every head exchanged, to values."""
    size = width // heads
    exchanged = np.arange(2 * width).reshape(2 * heads, 2, size // 2)[:, ::-1].ravel()
    scale = np.repeat(np.array([size**-0.5, 1], np.float32), width)
    found = {}
    for part in ("weight", "bias"):
        whole = weights[f"{name}.{part}"]
        plain = (whole[: 2 * width].T * scale).T
        found[f"{name}.{part}"] = np.concatenate([plain, plain[exchanged], whole[2 * width :]])
    return found


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
