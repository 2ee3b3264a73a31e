"""The network as ONNX graphs, fp32 and int8, that onnxruntime runs without torch.

One graph advances the state (`trunk`), and one for each field turns the hidden vector into logits.
They are written node by node, so that nothing but the arithmetic is in them:

    trunk:       events (B, T, F), context (B, T, C), state... -> x (B, T, W), state...
    head_0:      x (N, W) -> logits (N, size)
    head_k > 0:  x (N, W), value (N,) of field k - 1 [, context (N, known with it)] -> x, logits

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

from cadenza.schema import Field, Schema

OPSET, IR_VERSION = 20, 10
Weights = dict[str, NDArray[np.float32]]


@dataclass
class _Builder:
    """Collects the nodes and weights of one graph."""

    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def linear(self, x: str, weights: Weights, name: str, output: str) -> str:
        product = self.node(
            "MatMul", [x, self.constant(f"{name}.w", weights[f"{name}.weight"].T)], f"{output}.xw"
        )
        return self.node("Add", [product, self.constant(f"{name}.b", weights[f"{name}.bias"])], output)

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
    for k in range(len(schema.fields)):
        graphs[f"head_{k}"] = _head(weights, config, schema, k)
    return graphs


def _trunk(weights: Weights, config: dict[str, Any], schema: Schema) -> onnx.ModelProto:
    b, width = _Builder(), config["width"]
    n_fields, n_context = len(schema.fields), len(schema.context)
    inputs = [_integer("events", ["B", "T", n_fields])]
    columns = "events"
    if n_context:
        inputs.append(_integer("context", ["B", "T", n_context]))
        columns = b.node("Concat", ["events", "context"], "columns", axis=2)
    embedded = b.summed_embedding(
        columns, weights["embed.weight"], [*schema.fields, *schema.context], 2, "embed"
    )
    x = b.node("Transpose", [embedded], "embedded", perm=[1, 0, 2])
    outputs = []
    for layer in range(config["layers"]):
        x, states = _cell(b, weights, config, layer, x)
        for state in states:
            inputs.append(_float(state, [1, "B", width]))
            outputs.append(_float(f"{state}_after", [1, "B", width]))
    x = b.node("Transpose", [x], "hidden", perm=[1, 0, 2])
    if "norm.weight" in weights:
        scale = [b.constant(f"norm.{part}", weights[f"norm.{part}"]) for part in ("weight", "bias")]
        b.node("LayerNormalization", [x, *scale], "x", axis=-1, epsilon=1e-5)
    else:
        b.node("Identity", [x], "x")
    return b.model(inputs, [_float("x", ["B", "T", width]), *outputs])


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


def _head(weights: Weights, config: dict[str, Any], schema: Schema, k: int) -> onnx.ModelProto:
    b, width = _Builder(), config["width"]
    x, inputs, outputs = "x", [_float("x", ["N", width])], []
    if k > 0:
        x, more = _condition(b, weights, schema, k)
        inputs += more
        outputs.append(_float(x, ["N", width]))
    up = b.linear(x, weights, f"heads.{k}.up", "up")
    if config["residual_heads"]:
        down = b.linear(b.node("Gelu", [up], "gelu"), weights, f"heads.{k}.down", "down")
        up = b.node("Add", [x, down], "residual")
    b.linear(up, weights, f"heads.{k}.out", "logits")
    return b.model(inputs, [*outputs, _float("logits", ["N", schema.fields[k].size])])


def _condition(b: _Builder, weights: Weights, schema: Schema, k: int) -> tuple[str, list[Any]]:
    """x plus the embeddings of field k - 1 and of the context that it brings."""
    known = [schema.context[c] for c in schema.context_after(k - 1)]
    inputs = [_integer("value", ["N"])]
    axes = b.constant("last", np.array([1], dtype=np.int64))
    columns = b.node("Unsqueeze", ["value", axes], "column")
    if known:
        inputs.append(_integer("context", ["N", len(known)]))
        columns = b.node("Concat", [columns, "context"], "columns", axis=1)
    fields = [schema.fields[k - 1], *known]
    added = b.summed_embedding(columns, weights[f"condition.{k - 1}.weight"], fields, 1, "condition")
    return b.node("Add", ["x", added], "x_after"), inputs


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
