"""Runs a network's ONNX graphs: the step of generation, without torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from cadenza.errors import ModelError
from cadenza.graph_rules import check_graph
from cadenza.rotary import CYCLE, ORDER, TIME, rotary_clocks
from cadenza.schema import Schema

FloatArray = NDArray[np.float32]
GraphState = dict[str, NDArray[Any]]

EVENTS_AT_ONCE = 4096  # each takes some 30 kB while it is embedded
EVENTS_IN_A_ROW = 512  # attention among them takes memory by their square
MOST_STATE = 2**24  # numbers in the state of one candidate, far above those of the largest preset
_UNSEEN = np.float32(-1e9)  # added to the score of what attention must not see


class GraphModel:
    """The graphs in one folder: `trunk.onnx`, `head_1.onnx`, `head_2.onnx` ... (see `graph`)."""

    def __init__(self, folder: Path, schema: Schema, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False  # steps are small: asking the system is a little faster
        self.folder = folder
        self.trunk = _session(folder / "trunk.onnx", options)
        self.heads = [_session(folder / f"head_{k}.onnx", options) for k in range(1, len(schema.fields))]
        self.inputs = {i.name: i.shape for i in self.trunk.get_inputs()}
        self.outputs = {output.name: output.shape for output in self.trunk.get_outputs()}
        self.state_shapes = {name: shape for name, shape in self.inputs.items() if name.startswith("state_")}
        self.rings = [name for name in self.state_shapes if f"{name}_new" in self.outputs]
        self.replaced = [name for name in self.state_shapes if f"{name}_after" in self.outputs]
        self._check(schema)
        self.width = int(self.outputs["x"][-1])
        self.positions = None
        if self.rings:
            memory, size = self.state_shapes[self.rings[0]][2:]
            self.positions = _Positions(memory, size // 2, schema.clock)

    def _check(self, schema: Schema) -> None:
        """Raise ModelError unless the graphs are for events of this schema and take and give what `graph` says."""
        columns = [len(schema.fields) + len(schema.context)]
        columns += [1 + len(schema.context_after(k)) for k in range(len(schema.fields) - 1)]
        try:
            self._check_trunk(columns[0], schema.fields[0].size)
            for head, n_columns, field in zip(self.heads, columns[1:], schema.fields[1:], strict=True):
                self._check_head(head, n_columns, field.size)
        except (ValueError, TypeError, IndexError, KeyError) as error:
            raise ModelError(
                f"{self.folder}: graphs of another representation; restore the model or train again."
            ) from error

    def _check_trunk(self, n_columns: int, size: int) -> None:
        width = self.outputs["x"][-1]
        _require(_signature(self.trunk.get_outputs()[:2]) == {"x": (2, width), "logits": (2, size)})
        _require(isinstance(width, int) and 0 < width <= MOST_STATE)
        placed = {"cos", "sin", "mask"} if self.rings else set()
        _require(set(self.inputs) == {"columns", *placed, *self.state_shapes})
        _require((len(self.inputs["columns"]), self.inputs["columns"][-1]) == (3, n_columns))
        after = [*(f"{name}_after" for name in self.replaced), *(f"{name}_new" for name in self.rings)]
        _require(set(self.outputs) == {"x", "logits", *after} and len(after) == len(self.state_shapes))
        for names, n_axes in ((self.replaced, 2), (self.rings, 4)):
            shapes = [self.state_shapes[name] for name in names]
            _require(all(shape == shapes[0] and len(shape) == n_axes for shape in shapes))
        room = 0
        for name, shape in self.state_shapes.items():
            sizes = [size for size in shape if size != "B"]
            _require(shape[0] == "B")
            _require(len(sizes) == len(shape) - 1 and all(isinstance(n, int) and n > 0 for n in sizes))
            room += math.prod(sizes)
            if name in self.rings:
                _require(CYCLE % shape[2] == 0 and shape[3] % 2 == 0)
        _require(room <= MOST_STATE)

    def _check_head(self, head: Any, n_columns: int, size: int) -> None:
        width = self.outputs["x"][-1]
        after, logits = head.get_outputs()
        _require(_signature(head.get_inputs()) == {"x": (2, width), "columns": (2, n_columns)})
        _require(_signature([after, logits]) == {after.name: (2, width), "logits": (2, size)})

    def initial_state(self, batch: int) -> GraphState:
        """State before the first event of every candidate."""
        state: GraphState = {
            name: np.zeros([batch if size == "B" else size for size in shape], np.float32)
            for name, shape in self.state_shapes.items()
        }
        return state | (self.positions.initial_state(batch) if self.positions else {})

    def advance(
        self, columns: NDArray[np.int64], state: GraphState
    ) -> tuple[FloatArray, FloatArray, GraphState]:
        """What comes after events with their context, side by side in columns (B, T, fields + context fields).

        Returns hidden vectors (B, T, width), logits (B, T, size) of the next event's first field, and the
        state after the last event. The state passed is used up: where it keeps what the last events left,
        that of the new ones is written into it.
        """
        if self.replaced and columns.shape[1] > 1:  # which go on from event to event
            x, logits, _ = zip(*(self.advance(part, state) for part in _events(columns)), strict=True)
            return np.concatenate(x, axis=1), np.concatenate(logits, axis=1), state
        placed, slots = (
            self.positions.place(columns, state) if self.positions else ({}, np.empty(0, np.int64))
        )
        feed = {"columns": columns, **placed, **{name: state[name] for name in self.state_shapes}}
        found = dict(zip(self.outputs, self._run(self.trunk, list(self.outputs), feed), strict=True))
        state |= {name: found[f"{name}_after"] for name in self.replaced}
        for name in self.rings:
            state[name][:, :, slots] = found[f"{name}_new"][:, :, -len(slots) :]
        shape = (*columns.shape[:2], -1)
        return found["x"].reshape(shape), found["logits"].reshape(shape), state

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

    def field_logits(
        self, k: int, x: FloatArray, columns: NDArray[np.int64]
    ) -> tuple[FloatArray, FloatArray]:
        """x (N, width) conditioned on the field before, and the logits (N, size) of field k > 0.

        columns (N, 1 + c): field k - 1 and the c context fields that are known with it.
        """
        x, logits = self._run(self.heads[k - 1], None, {"x": x, "columns": columns})
        return x, logits

    def _run(self, session: Any, outputs: list[str] | None, feed: dict[str, Any]) -> list[Any]:
        try:
            found: list[Any] = session.run(outputs, feed)
        except Exception as error:  # see `_session`
            raise _unusable(self.folder) from error
        return found


class Stepper:
    """Goes on event by event for candidates side by side, all of which begin where one piece has come to.

    The same as `GraphModel.advance` and `field_logits`, but every array stays in its place, which saves half
    of the time of small networks. What is returned is valid until the next call of the same method.

    start: the state of one candidate, and the hidden vector x (1, width) and the logits (1, size) of the event
    after it, as `advance` gave them.
    """

    def __init__(
        self, model: GraphModel, start: GraphState, x: FloatArray, logits: FloatArray, candidates: int
    ) -> None:
        self.model = model
        self.start = {"x": x, "logits": logits, **{name: start[name] for name in model.state_shapes}}
        if model.positions:
            self.start["clocks"] = start["state_clocks"]
            self.start["mask"] = model.positions.mask(start, 1)
        self._bind({name: np.repeat(part, candidates, axis=0) for name, part in self.start.items()})

    def _bind(self, kept: dict[str, NDArray[Any]]) -> None:
        model, batch = self.model, len(kept["x"])
        self.kept, self.everyone = kept, np.arange(batch)
        self.replaced = _side_by_side(kept, model.replaced)
        self.after = np.zeros_like(self.replaced)
        self.rings = _side_by_side(kept, model.rings)
        self.new = np.zeros_like(self.rings[:, :, :, :1])
        arrays: dict[str, NDArray[Any]] = {
            "columns": np.zeros((batch, 1, model.inputs["columns"][-1]), np.int64),
            **{name: part for name, part in kept.items() if name != "clocks"},
            **{f"{name}_after": part for name, part in zip(model.replaced, self.after, strict=True)},
            **{f"{name}_new": part for name, part in zip(model.rings, self.new, strict=True)},
        }
        if model.positions:
            for name in ("cos", "sin"):
                arrays[name] = np.zeros((batch, 1, len(model.positions.periods)), np.float32)
        self.arrays = arrays
        self.trunk = _Bound(model.trunk, arrays, model.folder)
        self.heads = []
        before = arrays["x"]  # each head goes on from what the one before left
        for head in model.heads:
            sizes = {value.name: value.shape[-1] for value in (*head.get_inputs(), *head.get_outputs())}
            after = np.zeros_like(before)
            room = {
                "x": before,
                "columns": np.zeros((batch, sizes["columns"]), np.int64),
                head.get_outputs()[0].name: after,
                "logits": np.zeros((batch, sizes["logits"]), np.float32),
            }
            self.heads.append(_Bound(head, room, model.folder))
            before = after

    def advance(self, columns: Sequence[Sequence[int]]) -> FloatArray:
        """Logits (B, size) of the first field of the events after these (B, fields + context fields)."""
        arrays, positions = self.arrays, self.model.positions
        arrays["columns"][:, 0] = columns
        if positions:
            positions.step(arrays, self.kept["clocks"])
        self.trunk.run()
        self.replaced[...] = self.after
        if positions:
            # Each to its own slot: sums over the slots then have the same order whenever a candidate began.
            slots = (self.kept["clocks"][:, ORDER].astype(np.int64) - 1) % positions.memory
            arrays["mask"][self.everyone, 0, 0, slots] = 0
            self.rings[:, self.everyone, :, slots] = self.new[:, :, :, 0].swapaxes(0, 1)
        return arrays["logits"]

    def field_logits(self, k: int, columns: Sequence[Sequence[int]]) -> FloatArray:
        """Logits (B, size) of field k > 0; to be asked for one field after the other.

        columns (B, 1 + c): field k - 1 and the c context fields that are known with it.
        """
        head = self.heads[k - 1]
        head.arrays["columns"][...] = columns
        head.run()
        return head.arrays["logits"]

    def restart(self, row: int) -> None:
        """Let this candidate begin anew, which the logits that `advance` returned last then tell."""
        for name, part in self.start.items():
            self.kept[name][row] = part[0]

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these candidates alone."""
        self._bind({name: part[list(rows)] for name, part in self.kept.items()})


def _events(columns: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Each event (B, 1, columns) of some in a row."""
    return np.split(columns, columns.shape[1], axis=1)


def _side_by_side(arrays: dict[str, NDArray[Any]], names: Sequence[str]) -> NDArray[Any]:
    """These arrays, of one shape, as one new array (names, ...), of which they then are views."""
    together = (
        np.stack([arrays[name] for name in names]) if names else np.zeros((0,) * 5, np.float32)
    )  # as many axes as rings have
    arrays.update(zip(names, together, strict=True))
    return together


class _Bound:
    """A graph bound to arrays that it reads and writes in place."""

    def __init__(self, session: Any, arrays: dict[str, NDArray[Any]], folder: Path) -> None:
        self.session, self.binding, self.folder = session, session.io_binding(), folder
        self.arrays = arrays
        for value in session.get_inputs():
            self.binding.bind_ortvalue_input(value.name, self._shared(value.name))
        for value in session.get_outputs():
            self.binding.bind_ortvalue_output(value.name, self._shared(value.name))

    def _shared(self, name: str) -> Any:
        assert self.arrays[name].flags.c_contiguous, "of another array a copy would be bound in silence"
        return onnxruntime.OrtValue.ortvalue_from_numpy(self.arrays[name])

    def run(self) -> None:
        try:
            self.session.run_with_iobinding(self.binding)
        except Exception as error:  # see `_session`
            raise _unusable(self.folder) from error


class _Positions:
    """Where the events of a Transformer's memory stand: clocks and slots, as `models.transformer` has them.

    State: state_clocks (B, 2) and which slots are in use, state_used (B, memory). The clock of events
    tells which slot is whose, since `memory` divides CYCLE; `place` and `mask` take it to be the same for all
    candidates, as it is until one of a Stepper begins anew.
    """

    def __init__(self, memory: int, pairs: int, clock: int | None) -> None:
        self.memory, self.clock = memory, clock
        which, periods = rotary_clocks(pairs, clock is not None)
        self.which, self.periods = np.array(which), np.array(periods)
        self.speeds = 2 * np.pi / self.periods

    def initial_state(self, batch: int) -> GraphState:
        return {"state_clocks": np.zeros((batch, 2)), "state_used": np.zeros((batch, self.memory), bool)}

    def place(
        self, columns: NDArray[np.int64], state: GraphState
    ) -> tuple[dict[str, FloatArray], NDArray[np.int64]]:
        """The graph's inputs `cos`, `sin` and `mask` for these events (B, T, columns), and the slots that the last
        `memory` of them go to; moves the state on."""
        length = columns.shape[1]
        mask = self.mask(state, length)
        now = self.tick(columns, state)
        slots = (now[0, -self.memory :, ORDER].astype(np.int64) - 1) % self.memory
        state["state_used"][:, slots] = True
        angles = self.angles(now)
        return {"cos": np.cos(angles), "sin": np.sin(angles), "mask": mask}, slots

    def tick(self, columns: NDArray[np.int64], state: GraphState) -> NDArray[np.float64]:
        """Both clocks (B, T, 2) at these events (B, T, columns); moves those of the state on."""
        ticks = np.ones((*columns.shape[:2], 2))
        ticks[..., TIME] = 0 if self.clock is None else np.maximum(columns[..., self.clock], 0)
        now = (state["state_clocks"][:, None] + ticks.cumsum(axis=1)) % CYCLE
        state["state_clocks"] = now[:, -1]
        return now

    def step(self, arrays: dict[str, NDArray[Any]], now: NDArray[np.float64]) -> None:
        """As `place` for one event (B, 1, columns), but for slots and mask; `now` (B, 2) moves on in place."""
        now[:, ORDER] += 1
        if self.clock is not None:
            now[:, TIME] += np.maximum(arrays["columns"][:, 0, self.clock], 0)
        angles = self.angles(now)
        np.cos(angles, out=arrays["cos"][:, 0])
        np.sin(angles, out=arrays["sin"][:, 0])

    def angles(self, now: NDArray[np.float64]) -> FloatArray:
        """By which to turn each pair (..., pairs) when the clocks are at `now` (..., 2)."""
        return (now.take(self.which, axis=-1) % self.periods * self.speeds).astype(np.float32)

    def mask(self, state: GraphState, length: int) -> FloatArray:
        """0 where one of the next events sees a slot or another one, else far below it (B, 1, T, memory + T)."""
        used, first = state["state_used"], int(state["state_clocks"][0, ORDER])
        back = np.arange(length)[:, None]
        age = (first - 1 - np.arange(self.memory)) % self.memory  # in events, before the last one
        ahead = back - np.arange(length)
        seen = np.empty((len(used), length, self.memory + length), bool)
        seen[..., : self.memory] = used[:, None] & (age < self.memory - back)
        seen[..., self.memory :] = (ahead >= 0) & (ahead <= self.memory)
        return np.where(seen, np.float32(0), _UNSEEN)[:, None]


def _session(path: Path, options: Any) -> Any:
    try:
        data = path.read_bytes()
        check_graph(data)
        # Without a fallback, of which there is none here, and which is told on standard output.
        return onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # onnxruntime raises a class of its own for each kind of damage
        raise _unusable(path) from error


def _unusable(path: Path) -> ModelError:
    return ModelError(f"{path}: not a usable graph; train the model again or restore the file.")


def no_numbers(model: GraphModel) -> ModelError:
    """What to raise when a network predicts what is no number, or too far from all others to tell what may come."""
    return ModelError(f"{model.folder}: predicts no numbers; train the model again or restore its files.")


def _signature(values: Sequence[Any]) -> dict[str, tuple[int, Any]]:
    """Of each input or output its number of axes and the length of the last one."""
    return {value.name: (len(value.shape), value.shape[-1]) for value in values}


def _require(holds: bool) -> None:
    if not holds:
        raise ValueError("not what a graph of ours takes or gives")
