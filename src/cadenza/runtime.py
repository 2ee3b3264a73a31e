"""Runs a network's ONNX graphs: the step of generation, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from cadenza.errors import ModelError
from cadenza.schema import Schema

FloatArray = NDArray[np.float32]
GraphState = dict[str, FloatArray]

EVENTS_AT_ONCE = 4096  # each takes some 30 kB while it is embedded
EVENTS_IN_A_ROW = 512  # attention among them takes memory by their square


class GraphModel:
    """The graphs in one folder: `trunk.onnx`, `head_1.onnx`, `head_2.onnx` ... (see `graph`)."""

    def __init__(self, folder: Path, schema: Schema, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.trunk = _session(folder / "trunk.onnx", options)
        self.heads = [_session(folder / f"head_{k}.onnx", options) for k in range(1, len(schema.fields))]
        self.state_names = [i.name for i in self.trunk.get_inputs() if i.name.startswith("state_")]
        self.state_shapes = [i.shape for i in self.trunk.get_inputs() if i.name.startswith("state_")]
        outputs = {output.name: output.shape for output in self.trunk.get_outputs()}
        new = {name: outputs.get(f"{name}_new") for name in self.state_names}
        self.rings = {name: shape.index("T") for name, shape in new.items() if shape is not None}
        self.replaced = [name for name in self.state_names if name not in self.rings]
        self.outputs = ["x", "logits", *(f"{name}_after" for name in self.replaced)]
        if self.rings:
            self.outputs += ["slots", *(f"{name}_new" for name in self.rings)]
        self._check(folder, schema)

    def _check(self, folder: Path, schema: Schema) -> None:
        """Raise ModelError unless the graphs are for events of this schema."""
        outputs = [self.trunk.get_outputs()[1], *(head.get_outputs()[-1] for head in self.heads)]
        sizes = [output.shape[-1] for output in outputs]
        inputs = [
            i.shape[-1]
            for graph in (self.trunk, *self.heads)
            for i in graph.get_inputs()
            if i.name == "columns"
        ]
        known = [1 + len(schema.context_after(k)) for k in range(len(schema.fields) - 1)]
        if sizes != [field.size for field in schema.fields] or inputs != [
            len(schema.fields) + len(schema.context),
            *known,
        ]:
            raise ModelError(f"{folder}: graphs of another representation; restore the model or train again.")

    def initial_state(self, batch: int) -> GraphState:
        """State before the first event of every candidate."""
        return {
            name: np.zeros([batch if size == "B" else size for size in shape], np.float32)
            for name, shape in zip(self.state_names, self.state_shapes, strict=True)
        }

    def advance(
        self, columns: NDArray[np.int64], state: GraphState
    ) -> tuple[FloatArray, FloatArray, GraphState]:
        """What comes after events with their context, side by side in columns (B, T, fields + context fields).

        Returns hidden vectors (B, T, width), logits (B, T, size) of the next event's first field, and the
        state after the last event. The state passed is used up: where it keeps what the last events left,
        that of the new ones is written into it.
        """
        x, logits, *after = self.trunk.run(self.outputs, {"columns": columns, **state})
        state = state | dict(zip(self.replaced, after, strict=False))
        if self.rings:
            slots, *new = after[len(self.replaced) :]
            for (name, axis), part in zip(self.rings.items(), new, strict=True):
                state[name][(*[slice(None)] * axis, slots)] = part
        return x, logits, state

    def advance_far(
        self, columns: NDArray[np.int64], state: GraphState
    ) -> tuple[FloatArray, FloatArray, GraphState]:
        """As `advance`, in parts, for sequences of any length in little memory."""
        hidden, first_logits = [], []
        part = max(1, min(EVENTS_IN_A_ROW, EVENTS_AT_ONCE // len(columns)))
        for start in range(0, columns.shape[1], part):
            x, logits, state = self.advance(columns[:, start : start + part], state)
            hidden.append(x)
            first_logits.append(logits)
        return np.concatenate(hidden, axis=1), np.concatenate(first_logits, axis=1), state

    def rows(self, state: GraphState, which: list[int]) -> GraphState:
        """The state of these of its candidates, of one several times if it is named so."""
        return {
            name: np.take(state[name], which, axis=shape.index("B"))
            for name, shape in zip(self.state_names, self.state_shapes, strict=True)
        }

    def field_logits(
        self, k: int, x: FloatArray, columns: NDArray[np.int64]
    ) -> tuple[FloatArray, FloatArray]:
        """x (N, width) conditioned on the field before, and the logits (N, size) of field k > 0.

        columns (N, 1 + c): field k - 1 and the c context fields that are known with it.
        """
        x, logits = self.heads[k - 1].run(None, {"x": x, "columns": columns})
        return x, logits


def _session(path: Path, options: Any) -> Any:
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a class of its own for each kind of damage
        raise ModelError(f"{path}: not a usable graph; train the model again or restore the file.") from error
