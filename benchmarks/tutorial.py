"""The peer: the usual tutorial's way from MIDI files to a network, and the time it takes to get where it gets.

music21 reads the first instrument of each file into names such as "C4" and "E4.G4"; all files make one
row of names; a Keras network of three LSTMs of 512 sees 100 of them, each a number between 0 and 1, and
predicts the one that follows. `speed` measures how fast that is.

    python -m benchmarks.tutorial FOLDER [--minutes N] [--our-minutes N] [--model M] [--seed S] [--threads N]

measures how soon it predicts held-out pieces how well, beside ours on the very same note-and-chord names:

    keras      the tutorial's network, which learns the last name of a window
    tutorial   preset `tutorial`: a network of that shape, which learns every name of a window
    default    network, learning rate and windows of preset `small`

The ratio is the time that the Keras network takes to its own best, divided by the time that ours takes to
the same nats. Seconds are those of training alone: of reading, encoding and looking at the held-out pieces
nothing counts, for nobody, nor does the Keras network's first step, in which its graph is built; with
one thread they are seconds of the processor, which other work beside it hardly changes. Names that
no training piece has are left out, since the tutorial has no number for them. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cadenza.dataset import WindowStream, shuffled, value_counts
from cadenza.errors import CadenzaError, InputError
from cadenza.events import EncodedPiece
from cadenza.presets import ARCHITECTURES, PRESETS
from cadenza.tokens import UNKNOWN

if TYPE_CHECKING:
    from cadenza.corpus import Piece
    from cadenza.preparation import Prepared

WINDOW = 100
BATCH = 64
PREDICTED_AT_ONCE = 256
LEAST_PROBABILITY = 1e-7  # as Keras clips it in its own loss; the same for all
LOOK_EVERY = 1.2  # times the seconds of the look before: dense at first, where ours learn most
HELD_OUT_NAMES = 4000  # the Keras network spends a whole window on each
UNIT = "nats per held-out note (name of a note or chord) that the training pieces have"

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]


def require(*modules: str) -> None:
    """Raise InputError with the command to type unless all of these can be imported."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        extras = "train,bench" if {"torch", "onnx", "safetensors"} & set(missing) else "bench"
        raise InputError(f"this measurement needs {', '.join(missing)}; type: pip install '.[{extras}]'")


def choose_backend() -> str:
    """What Keras computes with: as KERAS_BACKEND says, else TensorFlow, which is the fastest, if it is there."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    installed = "tensorflow" if find_spec("tensorflow") else "torch"
    return os.environ.setdefault("KERAS_BACKEND", installed)


def keras_module() -> Any:
    """Keras, on the chosen backend."""
    choose_backend()
    import keras

    return keras


def limit_threads(threads: int) -> None:
    """Let torch, and TensorFlow if Keras is on it, compute in so many threads; before they compute anything."""
    import torch

    torch.set_num_threads(threads)
    if choose_backend() == "tensorflow":
        threading = import_module("tensorflow").config.threading
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(threads)


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
        """Endless shuffled batches, all of one size, of which no target is in two before the next shuffle."""
        rng = np.random.default_rng(seed)
        while True:
            order = rng.permutation(np.arange(WINDOW, len(self.row)))
            size = min(BATCH, len(order))
            for first in range(0, len(order) - size + 1, size):
                yield self.at(order[first : first + size])


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


# -- contenders -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contender:
    """A network that learns the names of the training pieces and predicts those of the held-out ones."""

    parameters: int
    step: Callable[[float], None]  # of training, given how much of the run is over, 0 .. 1
    probabilities: Callable[[], NDArray[Any]]  # (N,) that it gives to the held-out names, one after the other


def keras_contender(prepared: Prepared, seed: int) -> Contender:
    """The tutorial's network, which learns and predicts a name from the 100 before it in the row of all."""
    keras_module().utils.set_random_seed(seed)
    train_row, held_out = row_of(prepared, prepared.train), row_of(prepared, prepared.held_out)
    windows = Windows(train_row, class_count(prepared))
    # The last names learned from stand before the held-out ones, so that each of these is a target.
    tested = Windows(np.concatenate([train_row[-WINDOW:], held_out]), windows.classes)
    network, batches = build_network(windows.classes), windows.batches(seed)
    network.train_on_batch(*next(batches))

    def step(_: float) -> None:
        network.train_on_batch(*next(batches))

    def probabilities() -> NDArray[Any]:
        found = []
        for first in range(WINDOW, len(tested.row), PREDICTED_AT_ONCE):
            x, targets = tested.at(np.arange(first, min(first + PREDICTED_AT_ONCE, len(tested.row))))
            found.append(network.predict_on_batch(x)[np.arange(len(targets)), targets])
        return np.concatenate(found)

    return Contender(network.count_params(), step, probabilities)


@dataclass(frozen=True)
class EncodedPieces:
    """A PieceSource of pieces as they are, encoded before the clock starts, as the Keras network's names are."""

    pieces: Sequence[EncodedPiece]
    seed: int

    def __len__(self) -> int:
        return len(self.pieces)

    def draw(self, number: int) -> EncodedPiece:
        """See PieceSource."""
        index, _ = shuffled(number, len(self.pieces), self.seed)
        return self.pieces[index]


def our_contender(prepared: Prepared, preset: str, architecture: str | None, seed: int) -> Contender:
    """The network of a preset, learning as the preset says; it predicts each piece from its start."""
    import torch

    from benchmarks.fitting import piece_nats
    from cadenza.learner import Learner, Recipe
    from cadenza.models import build_model
    from cadenza.preparation import TrainingOptions

    lanes, window = PRESETS[preset].lanes, PRESETS[preset].window
    _, learning_rate = PRESETS[preset].network(architecture)
    config = TrainingOptions(preset, architecture).network(sum(len(piece.score) for piece in prepared.train))
    encode = prepared.representation.encode_piece
    source = EncodedPieces([encode(piece.score) for piece in prepared.train], seed)
    stream = WindowStream(source, lanes=lanes, length=window)
    held_out = [encode(piece.score) for piece in prepared.held_out]
    torch.manual_seed(seed)
    model = build_model(config, prepared.representation.schema)
    model.guess(value_counts(source, prepared.representation.schema))
    recipe = Recipe(learning_rate, PRESETS[preset].weight_decay)
    learner = Learner(model, recipe, lanes, torch.device("cpu"))

    def step(share_done: float) -> None:
        model.train()
        learner.learn(stream.next_batch(), share_done)

    def probabilities() -> NDArray[Any]:
        model.eval()
        # One by one: the probabilities of all names at all places of many pieces need gigabytes.
        return np.exp(-np.concatenate([piece_nats(model, [piece])[0][:, 0] for piece in held_out]))

    return Contender(sum(p.numel() for p in model.parameters()), step, probabilities)


# -- how soon each gets how far ------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """How well the held-out names were predicted after some training."""

    seconds: float  # of training, without the looks
    steps: int
    nats: float  # see UNIT


def nats_of(probabilities: NDArray[Any], targets: IntArray) -> float:
    """Mean of -log p over the targets that are known, given p (N,) of all."""
    p = np.maximum(probabilities[targets != UNKNOWN].astype(np.float64), LEAST_PROBABILITY)
    return float(-np.log(p).mean())


def race(name: str, contender: Contender, targets: IntArray, seconds: float) -> list[Look]:
    """Train for so many seconds, and look at the held-out names ever more rarely; the clock stops for looks."""
    from benchmarks.fitting import clock

    spent, steps, looks = 0.0, 0, list[Look]()
    while spent < seconds:
        started = clock()
        contender.step(spent / seconds)
        spent += clock() - started
        steps += 1
        if not looks or spent >= min(LOOK_EVERY * looks[-1].seconds, seconds):
            looks.append(Look(spent, steps, nats_of(contender.probabilities(), targets)))
            say(f"{name}: {spent:.1f} s, {steps} steps, {looks[-1].nats:.3f} nats")
    return looks


def seconds_to(looks: Sequence[Look], nats: float) -> float | None:
    """Seconds of training to the first look that is as good; None if there is none."""
    return next((look.seconds for look in looks if look.nats <= nats), None)


def records(looks: Sequence[Look]) -> list[Look]:
    """Those that are better than all before."""
    found: list[Look] = []
    for look in looks:
        if not found or look.nats < found[-1].nats:
            found.append(look)
    return found


def ratios(peer: Sequence[Look], ours: Sequence[Look]) -> list[tuple[float, float | None]]:
    """For each record of the peer, of which the last is its best: nats, and its seconds to them by ours."""
    found = []
    for record in records(peer):
        seconds = seconds_to(ours, record.nats)
        found.append((round(record.nats, 4), None if seconds is None else _rounded(record.seconds / seconds)))
    return found


def frequency_nats(prepared: Prepared, targets: IntArray) -> float:
    """For orientation: every name as likely as it is frequent in the training pieces."""
    counts = np.bincount(row_of(prepared, prepared.train), minlength=class_count(prepared)) + 1.0
    return nats_of(counts[targets] / counts.sum(), targets)


def some_of(prepared: Prepared, pieces: Sequence[Piece], names: int) -> list[Piece]:
    """As many pieces as have so many names together; at least one."""
    kept: list[Piece] = []
    total = 0
    for piece in pieces:
        count = len(row_of(prepared, [piece]))
        if not kept or total + count <= names:
            kept.append(piece)
            total += count
    return kept


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything that the JSON line says."""
    import torch

    from cadenza.preparation import TrainingOptions, prepare

    prepared = prepare(arguments.folder, TrainingOptions(preset="tutorial"))
    prepared = replace(prepared, held_out=some_of(prepared, prepared.held_out, arguments.held_out_names))
    targets = row_of(prepared, prepared.held_out)
    if not (targets != UNKNOWN).any():
        raise InputError("no held-out piece has a name that the training pieces have; add MIDI files.")
    limit_threads(arguments.threads or torch.get_num_threads())
    say(f"Keras on {choose_backend()}; {torch.get_num_threads()} threads")
    return {
        "benchmark": "tutorial",
        "folder": arguments.folder.name,
        "unit": UNIT,
        "minutes": arguments.minutes,
        "our_minutes": arguments.our_minutes,  # which our schedule of learning rates is planned for
        "model": arguments.model,
        "seed": arguments.seed,
        "threads": torch.get_num_threads(),
        "keras_backend": choose_backend(),
        "train_pieces": len(prepared.train),
        "train_names": len(row_of(prepared, prepared.train)),
        "held_out_pieces": len(prepared.held_out),
        "held_out_names": int((targets != UNKNOWN).sum()),
        "unknown_names": int((targets == UNKNOWN).sum()),  # left out
        "classes": class_count(prepared),
        "frequencies": round(frequency_nats(prepared, targets), 4),
        "contenders": race_all(prepared, targets, arguments),
    }


def race_all(prepared: Prepared, targets: IntArray, arguments: argparse.Namespace) -> dict[str, Any]:
    """Facts about each contender; each network is gone before the next one starts."""
    model, seed = arguments.model, arguments.seed
    contenders: dict[str, tuple[float, Callable[[], Contender]]] = {
        "tutorial": (arguments.our_minutes, lambda: our_contender(prepared, "tutorial", None, seed)),
        "default": (arguments.our_minutes, lambda: our_contender(prepared, "small", model, seed)),
        "keras": (arguments.minutes, lambda: keras_contender(prepared, seed)),
    }
    curves: dict[str, list[Look]] = {}
    parameters: dict[str, int] = {}
    for name, (minutes, build) in contenders.items():
        contender = build()
        parameters[name] = contender.parameters
        curves[name] = race(name, contender, targets, 60 * minutes)
    peer = curves["keras"]
    return {name: {"parameters": parameters[name], **_facts(looks, peer)} for name, looks in curves.items()}


def _facts(looks: Sequence[Look], peer: Sequence[Look]) -> dict[str, Any]:
    best, compared = records(looks)[-1], ratios(peer, looks)
    seconds = seconds_to(looks, records(peer)[-1].nats)
    return {
        "best": round(best.nats, 4),
        "best_seconds": _rounded(best.seconds),
        "seconds_to_keras_best": None if seconds is None else _rounded(seconds),
        "ratio": compared[-1][1],
        "ratios": compared,
        "steps": looks[-1].steps,
        "curve": [(_rounded(look.seconds), look.steps, round(look.nats, 4)) for look in looks],
    }


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


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
    """Train all three, print a table and the JSON line."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if not (0 < arguments.minutes < math.inf and 0 < arguments.our_minutes < math.inf):
        parser.error("--minutes and --our-minutes must be above 0")
    if arguments.threads is not None and arguments.threads < 1:
        parser.error("--threads must be at least 1")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # everything is compared on the processor

    def work() -> None:
        require("torch", "safetensors", "keras")
        result = compare(arguments)
        _print_table(result)
        print(json.dumps(result))

    return exit_code(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tutorial",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="MIDI files")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="of training for the Keras network (default 10)"
    )
    parser.add_argument(
        "--our-minutes", type=float, default=2.0, help="of training for each of ours (default 2)"
    )
    parser.add_argument(
        "--model",
        choices=ARCHITECTURES,
        default=PRESETS["small"].model["architecture"],
        help="architecture of the default contender",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="default: one for each core")
    parser.add_argument(
        "--held-out-names",
        type=int,
        default=HELD_OUT_NAMES,
        help=f"to be predicted, at most (default {HELD_OUT_NAMES})",
    )
    return parser


def _print_table(result: dict[str, Any]) -> None:
    print(f"{result['unit']}; {result['held_out_names']:,} of them, {result['threads']} threads")
    print(f"{'':<12}{'best':>8}{'after':>10}{'to the best of Keras':>24}{'times as fast':>16}")
    for name, facts in result["contenders"].items():
        seconds, ratio = facts["seconds_to_keras_best"], facts["ratio"]
        reached = "not reached" if seconds is None else f"{seconds:,.1f} s"
        print(
            f"{name:<12}{facts['best']:8.3f}{facts['best_seconds']:8,.0f} s"
            f"{reached:>24}{'' if ratio is None else f'{ratio:,.1f}':>16}"
        )
    print(f"{'frequencies':<12}{result['frequencies']:8.3f}")


if __name__ == "__main__":
    sys.exit(main())
