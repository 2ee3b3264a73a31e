"""The peer: the usual tutorial's way from MIDI files to a network, rebuilt from its description.

music21 reads the first instrument of each file into names such as "C4" and "E4.G4"; all files make one
row of names; a Keras network of three LSTMs of 512 sees 100 of them, each a number between 0 and 1, and
predicts the one that follows. `speed` measures how fast that is.

Run as `python -m benchmarks.tutorial FOLDER --minutes M` it measures how far it gets: the Keras network
and `--preset tutorial` train for the same minutes on the same names of the same pieces, then predict the
same held-out names. Time spent on evaluation is not counted; the better network of several looks at
the held-out pieces counts for both. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cadenza.errors import CadenzaError, InputError

if TYPE_CHECKING:
    from cadenza.corpus import Piece
    from cadenza.model_folder import ModelFolder
    from cadenza.training import Prepared

WINDOW = 100
BATCH = 64
LEAST_PROBABILITY = 1e-7  # as Keras clips it in its own loss
LOOKS = 3  # at the held-out pieces, while the Keras network trains
HELD_OUT_NAMES = 4000  # the Keras network spends a whole window on each

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]


def require(*modules: str) -> None:
    """Raise InputError with the command to type unless all of these can be imported."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        extras = "train,bench" if {"torch", "onnx", "safetensors"} & set(missing) else "bench"
        raise InputError(f"this measurement needs {', '.join(missing)}; type: pip install '.[{extras}]'")


def keras_module() -> Any:
    """Keras, on torch unless the environment says otherwise."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    return keras


# -- reading --------------------------------------------------------------------------------------


def read_names(path: Path) -> list[str]:
    """Names of the notes and chords of a file's first instrument, as the tutorial reads them.

    music21 keeps parsed files in a cache, which would be measured from the second reading on: not used.
    Today's music21 makes an empty part of a track's name, so that the first part with notes is taken.
    """
    from music21 import chord, converter, instrument, note

    parsed = converter.parse(path, forceSource=True, storePickle=False)
    partition = instrument.partitionByInstrument(parsed)
    parts = (part.recurse().notes for part in partition.parts) if partition else ()
    elements = next((notes for notes in parts if notes), None) or parsed.flatten().notes
    names = []
    for element in elements:
        if isinstance(element, note.Note):
            names.append(str(element.pitch))
        elif isinstance(element, chord.Chord):
            names.append(".".join(str(pitch) for pitch in element.pitches))
    return names


# -- windows --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Windows:
    """All names in one row, and how many different ones there are."""

    row: IntArray
    classes: int

    def __post_init__(self) -> None:
        if len(self.row) <= WINDOW:
            raise InputError(
                f"only {len(self.row)} notes and chords, more than {WINDOW} needed; add MIDI files."
            )

    def at(self, targets: IntArray) -> tuple[FloatArray, IntArray]:
        """The 100 names before each target, as numbers from 0 to 1 (B, 100, 1), and the targets (B,)."""
        before = self.row[targets[:, None] + np.arange(-WINDOW, 0)]
        return (before[..., None] / self.classes).astype(np.float32), self.row[targets]

    def batches(self, seed: int = 0) -> Iterator[tuple[FloatArray, IntArray]]:
        """Endless shuffled batches; every target comes once before any comes again."""
        rng = np.random.default_rng(seed)
        while True:
            order = rng.permutation(np.arange(WINDOW, len(self.row)))
            for first in range(0, len(order), BATCH):
                yield self.at(order[first : first + BATCH])


def row_of(prepared: Prepared, pieces: Sequence[Piece]) -> IntArray:
    """The names of all pieces as class numbers, one piece after the other."""
    encode = prepared.representation.encode
    return np.concatenate([encode(piece.score)[:, 0] for piece in pieces]).astype(np.int64)


def class_count(prepared: Prepared) -> int:
    """How many names there are, with the one for unknown names."""
    return prepared.representation.schema.fields[0].size


# -- the network ----------------------------------------------------------------------------------


def build_network(classes: int) -> Any:
    """The tutorial's network, ready to train with its optimiser."""
    layers = keras_module().layers
    network = keras_module().Sequential(
        [
            layers.Input((WINDOW, 1)),
            layers.LSTM(512, return_sequences=True),
            layers.Dropout(0.3),
            layers.LSTM(512, return_sequences=True),
            layers.Dropout(0.3),
            layers.LSTM(512),
            layers.Dense(256),
            layers.Dropout(0.3),
            layers.Dense(classes, activation="softmax"),
        ]
    )
    network.compile(loss="sparse_categorical_crossentropy", optimizer="rmsprop")
    return network


def train_network(network: Any, windows: Windows, seconds: float, look: Callable[[float, int], None]) -> int:
    """Train for so many seconds; `look` is called LOOKS times with seconds and steps. Returns the steps."""
    spent, steps, looks = 0.0, 0, 0
    batches = windows.batches()
    while spent < seconds:
        started = time.perf_counter()
        network.train_on_batch(*next(batches))
        spent += time.perf_counter() - started
        steps += 1
        if spent >= seconds * (looks + 1) / LOOKS:
            looks += 1
            look(spent, steps)
    return steps


# -- how far each gets ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Reached:
    """Nats per held-out name, over all names and over those that the training pieces have too."""

    nats: float
    nats_known: float

    @classmethod
    def of(cls, probabilities: NDArray[Any], targets: IntArray) -> Reached:
        """From the probabilities (N, classes) of the names that may follow."""
        p = probabilities[np.arange(len(targets)), targets].astype(np.float64)
        nats = -np.log(np.maximum(p, LEAST_PROBABILITY))
        known = nats[targets > 0]
        return cls(round(float(nats.mean()), 4), round(float(known.mean()), 4) if len(known) else math.nan)


def some_of(prepared: Prepared, pieces: Sequence[Piece], names: int) -> list[Piece]:
    """As many pieces as have so many names together; at least one."""
    kept: list[Piece] = []
    for piece in pieces:
        if kept and len(row_of(prepared, [*kept, piece])) > names:
            continue
        kept.append(piece)
    return kept


def measure_keras(prepared: Prepared, seconds: float) -> dict[str, Any]:
    """Train the Keras network and keep its best look at the held-out pieces."""
    train_row, held_out = row_of(prepared, prepared.train), row_of(prepared, prepared.held_out)
    windows = Windows(train_row, class_count(prepared))
    # The last names learned from stand before the held-out ones, so that each of these is a target.
    tested = Windows(np.concatenate([train_row[-WINDOW:], held_out]), windows.classes)
    x, targets = tested.at(np.arange(WINDOW, len(tested.row)))
    network = build_network(windows.classes)
    reached: list[Reached] = []

    def look(spent: float, steps: int) -> None:
        reached.append(Reached.of(network.predict(x, batch_size=256, verbose=0), targets))
        say(f"keras: {spent:.0f} s, {steps} steps, {reached[-1].nats:.3f} nats")

    steps = train_network(network, windows, seconds, look)
    return _result(min(reached, key=lambda r: r.nats), steps, steps * BATCH)


def measure_ours(prepared: Prepared, minutes: float) -> dict[str, Any]:
    """Train `--preset tutorial` and measure the model folder that it leaves."""
    from cadenza.model_folder import ModelFolder
    from cadenza.presets import PRESETS
    from cadenza.training import Progress, TrainingOptions, train

    def show(progress: Progress) -> None:
        if progress.held_out_nats is not None:
            say(f"ours: {progress.seconds:.0f} s, {progress.step} steps, {progress.held_out_nats:.3f} nats")

    options = TrainingOptions(preset="tutorial", minutes=minutes, graphs=("fp32",))
    with tempfile.TemporaryDirectory() as scratch:
        out = train(
            prepared.corpus.root, Path(scratch) / "model", options, on_progress=show, prepared=prepared
        )
        folder = ModelFolder.open(out)
        reached = Reached.of(_probabilities(folder, prepared), row_of(prepared, prepared.held_out))
        steps = int(folder.config["steps"])
    preset = PRESETS["tutorial"]
    return _result(reached, steps, steps * preset.lanes * preset.window)


def _probabilities(folder: ModelFolder, prepared: Prepared) -> NDArray[Any]:
    """Of every name (N, classes) at every place of the held-out pieces, each piece from its start."""
    from cadenza.dataset import with_start

    graph = folder.graph("fp32", threads=0)
    tables = []
    for piece in prepared.held_out:
        events = with_start(prepared.representation.encode_piece(piece.score)).events.astype(np.int64)
        _, logits, _ = graph.advance_far(events[None, :-1], graph.initial_state(1))
        logits = logits[0]
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        tables.append(odds / odds.sum(axis=1, keepdims=True))
    return np.concatenate(tables)


def measure_frequencies(prepared: Prepared) -> Reached:
    """For orientation: every name as likely as it is frequent in the training pieces."""
    counts = np.bincount(row_of(prepared, prepared.train), minlength=class_count(prepared)) + 1.0
    targets = row_of(prepared, prepared.held_out)
    return Reached.of(np.broadcast_to(counts / counts.sum(), (len(targets), len(counts))), targets)


def _result(reached: Reached, steps: int, targets: int) -> dict[str, Any]:
    return {"nats": reached.nats, "nats_known": reached.nats_known, "steps": steps, "targets_seen": targets}


def compare(folder: Path, minutes: float, names: int) -> dict[str, Any]:
    """Everything that the JSON line says."""
    from cadenza.training import TrainingOptions, prepare

    prepared = prepare(folder, TrainingOptions(preset="tutorial"))
    prepared = replace(prepared, held_out=some_of(prepared, prepared.held_out, names))
    held_out = row_of(prepared, prepared.held_out)
    result: dict[str, Any] = {
        "benchmark": "tutorial",
        "minutes": minutes,
        "train_pieces": len(prepared.train),
        "train_names": len(row_of(prepared, prepared.train)),
        "held_out_pieces": len(prepared.held_out),
        "held_out_names": len(held_out),
        "unknown_share": round(float((held_out == 0).mean()), 4),
        "classes": class_count(prepared),
        "frequencies": {"nats": measure_frequencies(prepared).nats},
        "keras": measure_keras(prepared, 60 * minutes),
        "ours": measure_ours(prepared, minutes),
    }
    result["keras"]["backend"] = keras_module().backend.backend()
    result["nats_saved"] = round(result["keras"]["nats"] - result["ours"]["nats"], 4)
    return result


# -- the command line -----------------------------------------------------------------------------


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def exit_code(work: Callable[[], None]) -> int:
    """0; 2 after one sentence on stderr about what was wrong; 1 if stopped."""
    try:
        work()
    except CadenzaError as error:
        say(f"benchmark: {error}")
        return 2
    except KeyboardInterrupt:
        say("\nbenchmark: stopped.")
        return 1
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Train both, print a table and the JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tutorial", description=__doc__)
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="MIDI files")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="of training, for each of the two (default 10)"
    )
    parser.add_argument(
        "--held-out-names",
        type=int,
        default=HELD_OUT_NAMES,
        help=f"to be predicted (default {HELD_OUT_NAMES})",
    )
    arguments = parser.parse_args(argv)
    if arguments.minutes <= 0:
        parser.error("--minutes must be above 0")

    def work() -> None:
        require("torch", "onnx", "safetensors", "keras")
        result = compare(arguments.folder, arguments.minutes, arguments.held_out_names)
        _print_table(result)
        print(json.dumps(result))

    return exit_code(work)


def _print_table(result: dict[str, Any]) -> None:
    print(
        f"nats per held-out name after {result['minutes']:g} minutes "
        f"({result['held_out_names']:,} names, {result['unknown_share']:.1%} of them unknown)"
    )
    for name in ("ours", "keras"):
        part = result[name]
        print(
            f"  {name:<12}{part['nats']:8.3f}  known names {part['nats_known']:.3f}"
            f"  {part['steps']:,} steps, {part['targets_seen']:,} targets"
        )
    print(f"  {'frequencies':<12}{result['frequencies']['nats']:8.3f}")


if __name__ == "__main__":
    sys.exit(main())
