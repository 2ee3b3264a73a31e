"""How fast Cadenza is beside its peers and the machine's own limits, all measured in one run.

Contenders of a group take turns, round after round (A B A B), so that a machine that slows down slows
all of them. Rates are medians over the rounds; a ratio is the median over the rounds of our rate over the
peer's in the same round. The last line is JSON.

    python -m benchmarks.speed FOLDER [--model MODEL] [--seconds N] [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import tutorial
from benchmarks.tutorial import exit_code, require, say
from cadenza.composer import Composer
from cadenza.corpus import Corpus, Piece, scan
from cadenza.errors import CadenzaError, InputError
from cadenza.events import NoteEvents
from cadenza.grammar import NoteGrammar
from cadenza.midi import read_midi
from cadenza.model_folder import WEIGHTS
from cadenza.options import ComposeOptions
from cadenza.runtime import Stepper
from cadenza.sampling import PLACES
from cadenza.score import instrument_name, pitch_name
from cadenza.vocabulary import FIRST_KIT, instrument_of_kind

if TYPE_CHECKING:
    from cadenza.training import _Run

READ_FILES = 5  # that music21 reads too
ENCODED_FILES = 100
BARS = 16
MANY, MANY_BARS = 16, 128  # pieces composed on all cores
MATRIX = 2048
COPIED_BYTES = 256 * 1024 * 1024
PACKAGES = ("cadenza", "torch", "onnxruntime", "numpy", "symusic", "miditok", "music21", "keras")


@dataclass(frozen=True)
class Contender:
    """Something to measure: `work` does a little of it and returns how much, in the group's unit."""

    name: str
    work: Callable[[], float]
    peer: bool = False
    flop: float = 0.0  # matrix arithmetic in a unit of work, where known


@dataclass(frozen=True)
class Row:
    """What came out. rate: units a second, or seconds a run if the unit is "s"."""

    group: str
    name: str
    rate: float
    unit: str
    ratio: float | None = None  # how many times faster the group's first contender is
    gflops: float | None = None


@dataclass(frozen=True)
class Bench:
    """What all groups share."""

    corpus: Corpus
    model: Path | None
    composer: Composer
    seconds: float
    rounds: int
    scratch: Path

    def measure(self, group: str, unit: str, contenders: Sequence[Contender]) -> list[Row]:
        """Rows of a group, whose first contender is the one that peers are compared with."""
        say(f"measuring {group} ...")
        for contender in contenders:
            contender.work()
        rounds = [[rate(c.work, self.seconds) for c in contenders] for _ in range(self.rounds)]
        return [_row(group, unit, c, rounds, k) for k, c in enumerate(contenders)]


def rate(work: Callable[[], float], seconds: float) -> float:
    """How much work is done in a second, measured for at least so many seconds."""
    done, started = 0.0, time.perf_counter()
    while True:
        done += work()
        elapsed = time.perf_counter() - started
        if elapsed >= seconds:
            return done / elapsed


def _row(group: str, unit: str, contender: Contender, rounds: list[list[float]], k: int) -> Row:
    rate = statistics.median(rates[k] for rates in rounds)
    ratio = statistics.median(rates[0] / rates[k] for rates in rounds) if contender.peer else None
    gflops = rate * contender.flop / 1e9 if contender.flop else None
    return Row(group, contender.name, 1 / rate if unit == "s" else rate, unit, ratio, gflops)


# -- reading and encoding -------------------------------------------------------------------------


def reading(bench: Bench) -> list[Row]:
    """Files a second, everybody on the same few files; our scan also on the whole folder."""
    import symusic

    pieces = _accepted(_typical(bench.corpus.pieces, READ_FILES), tutorial.read_names, symusic.Score)
    paths = [piece.path for piece in pieces]
    folder = bench.scratch / "read"
    folder.mkdir()
    for index, path in enumerate(paths):
        shutil.copy(path, folder / f"{index}{path.suffix}")
    contenders = [
        Contender("cadenza scan (read, judge, lay on grid)", lambda: len(scan(folder).files)),
        Contender("cadenza read_midi", lambda: _each(read_midi, paths)),
        Contender("music21, as the tutorial reads", lambda: _each(tutorial.read_names, paths), peer=True),
        Contender("symusic, parsing alone", lambda: _each(symusic.Score, paths), peer=True),
        Contender("cadenza scan, the whole folder", lambda: len(scan(bench.corpus.root).files)),
        Contender("the same on all cores", lambda: len(scan(bench.corpus.root, workers=0).files)),
    ]
    return bench.measure("reading", "files/s", contenders)


def encoding(bench: Bench) -> list[Row]:
    """Notes a second, from scores in memory to the numbers that networks learn from."""
    import symusic

    events, remi = NoteEvents(), _remi()
    pieces = _accepted(
        _typical(bench.corpus.pieces, ENCODED_FILES), lambda path: remi.encode(symusic.Score(path))
    )
    notes = sum(len(piece.score) for piece in pieces)
    scores = [piece.score for piece in pieces]
    parsed = [symusic.Score(piece.path) for piece in pieces]
    contenders = [
        Contender("cadenza encode", lambda: notes * bool(_each(events.encode, scores))),
        Contender("MidiTok REMI", lambda: notes * bool(_each(remi.encode, parsed)), peer=True),
        Contender("cadenza encode with context", lambda: notes * bool(_each(events.encode_piece, scores))),
    ]
    return bench.measure("encoding", "notes/s", contenders)


def _remi() -> Any:
    """MidiTok's REMI with our grid, loudness levels, tempo, metre and instruments, in one stream."""
    import miditok

    config = miditok.TokenizerConfig(
        beat_res={(0, 4): 12},
        num_velocities=16,
        use_tempos=True,
        use_time_signatures=True,
        use_programs=True,
        one_token_stream_for_programs=True,
    )
    return miditok.REMI(config)


def _typical(pieces: Sequence[Piece], count: int) -> list[Piece]:
    """Pieces of all lengths, evenly chosen from the shortest to the longest without the very ends."""
    ordered = sorted(pieces, key=lambda piece: (len(piece.score), piece.fingerprint))
    places = (np.arange(count) + 0.5) / count * len(ordered)
    return [ordered[int(place)] for place in places] if len(ordered) > count else ordered


def _accepted(pieces: Sequence[Piece], *readers: Callable[[Path], Any]) -> list[Piece]:
    """Pieces whose files the peers can handle; the others are named."""
    accepted = []
    for piece in pieces:
        try:
            for reader in readers:
                reader(piece.path)
            accepted.append(piece)
        except Exception as error:  # every library has its own
            say(f"left out, as a peer fails on it: {piece.path} ({type(error).__name__}: {error})")
    if not accepted:
        raise InputError("the peers can read none of the chosen files; choose another folder.")
    return accepted


def _each(function: Callable[[Any], Any], items: Sequence[Any]) -> int:
    for item in items:
        function(item)
    return len(items)


# -- training -------------------------------------------------------------------------------------


def training(bench: Bench) -> list[Row]:
    """Supervised targets a second: the tutorial's network both ways, and our default network."""
    same, default = (training_run(bench.corpus, bench.scratch / name, name) for name in ("tutorial", "small"))
    network, batches = _keras(same)
    contenders = [
        Contender("cadenza --preset tutorial", lambda: train_step(same), flop=flop_per_target(same)),
        Contender(
            "Keras, the tutorial's network",
            lambda: _keras_step(network, batches),
            peer=True,
            flop=_keras_flop(network),
        ),
        Contender(
            "cadenza --preset small (default)", lambda: train_step(default), flop=flop_per_target(default)
        ),
    ]
    return bench.measure("training", "targets/s", contenders)


def training_run(corpus: Corpus, out: Path, preset: str, architecture: str | None = None) -> _Run:
    """A training run that `train_step` takes step by step; nothing is written."""
    from cadenza.preparation import TrainingOptions, prepare
    from cadenza.training import _Run

    options = TrainingOptions(preset=preset, architecture=architecture, minutes=60.0, base=None)
    return _Run(prepare(corpus.root, options, corpus), options, out)


def train_step(run: _Run) -> int:
    """How many targets were learned."""
    run._train_step()
    return run.recent[-1][1]


def flop_per_target(run: _Run) -> float:
    """Forward and backward: six for every weight that is multiplied, twelve for every number of the keys that
    attention sees."""
    named, network = run.model.named_parameters(), run.model.config
    multiplied = sum(p.numel() for name, p in named if is_multiplied(name, p.ndim))
    attends = network.architecture == "transformer"
    seen = network.layers * network.width * (network.memory + 1) if attends else 0
    return 6.0 * multiplied + 12.0 * seen


def is_multiplied(name: str, dimensions: int) -> bool:
    """Whether a weight of this name is a matrix that is multiplied, not a table that is looked up."""
    return dimensions == 2 and not name.startswith(("embed.", "condition."))


def _keras(run: _Run) -> tuple[Any, Any]:
    classes = tutorial.class_count(run.prepared)
    windows = tutorial.Windows(tutorial.row_of(run.prepared, run.prepared.train), classes)
    return tutorial.build_network(classes), windows.batches()


def _keras_step(network: Any, batches: Any) -> int:
    x, targets = next(batches)
    network.train_on_batch(x, targets)
    return len(targets)


def _keras_flop(network: Any) -> float:
    """Of a target: its LSTMs go over a whole window for it."""
    recurrent = [layer for layer in network.layers if hasattr(layer, "recurrent_activation")]
    weights = sum(int(np.prod(w.shape)) for layer in recurrent for w in layer.weights if len(w.shape) == 2)
    return 6.0 * weights * tutorial.WINDOW


# -- composing ------------------------------------------------------------------------------------


def composing(bench: Bench) -> list[Row]:
    """Notes a second of finished pieces; the peer predicts one note at a time.

    What a step consists of is measured alone, in events a second, of which nearly all are notes: the rules and
    the context, the graphs, and the matrix products in them, which are the limit.
    """
    network = tutorial.build_network(_names(bench))
    window = np.random.default_rng(0).random((1, tutorial.WINDOW, 1), dtype=np.float32)
    seeds, composer = itertools.count(1), bench.composer
    rows = []
    for batch, peers in (
        (1, [Contender("Keras predict, note by note", lambda: _predict(network, window), peer=True)]),
        (PLACES, []),
    ):
        contenders = [
            Contender(_side_by_side(batch), partial(_compose, composer, batch, seeds)),
            *peers,
            Contender(
                "  with every control on",
                partial(_compose, composer, batch, seeds, **every_control(composer)),
            ),
            Contender("  its rules and context alone", _rules_alone(composer, batch)),
            Contender("  its graphs alone", _graphs_alone(composer, batch)),
            Contender("  their matrix products alone", _products_alone(composer, batch)),
        ]
        rows += bench.measure("composing", "notes/s", contenders)
    name = f"cadenza, {MANY} pieces of {MANY_BARS} bars on all cores"
    work = partial(_compose, composer, MANY, seeds, bars=MANY_BARS, workers=0)
    return rows + bench.measure("composing", "notes/s", [Contender(name, work)])


def _side_by_side(batch: int) -> str:
    return "cadenza, one piece" if batch == 1 else f"cadenza, {batch} pieces side by side"


def _predict(network: Any, window: NDArray[np.float32]) -> int:
    return _each(lambda x: network.predict(x, verbose=0), [window] * 4)


def _rules_alone(composer: Composer, batch: int) -> Callable[[], float]:
    """Takes a composed piece's events through the grammar, as often as there are pieces."""
    representation, repertoire = composer.representation, composer.folder.repertoire
    assert isinstance(representation, NoteEvents)
    assert repertoire is not None
    events = representation.encode(composer.compose(bars=BARS, seed=1).score).tolist()
    fields = range(len(representation.schema.fields))
    telling = [k for k in fields if representation.schema.context_after(k)]

    def work() -> float:
        for _ in range(batch):
            grammar = NoteGrammar(representation, repertoire, BARS)
            for event in events:
                context = grammar.no_context()
                for k in fields:
                    grammar.bias(k, event)
                    if k in telling:
                        grammar.fill_context(k, event, context)
                grammar.advance(event)
        return batch * len(events)

    return work


def _graphs_alone(composer: Composer, batch: int) -> Callable[[], float]:
    """Runs the graphs of a step on events of nothing."""
    model, schema = composer.graph, composer.representation.schema
    columns = len(schema.fields) + len(schema.context)
    x, logits, state = model.advance(np.zeros((1, 1, columns), np.int64), model.initial_state(1))
    steps = Stepper(model, state, x[:, -1], logits[:, -1], batch)
    nothing = [[0] * columns] * batch
    known = [[[0] * (1 + len(schema.context_after(k)))] * batch for k in range(len(schema.fields) - 1)]

    def work() -> float:
        for _ in range(100):
            steps.advance(nothing)
            for k, facts in enumerate(known, 1):
                steps.field_logits(k, facts)
        return 100 * batch

    return work


def _products_alone(composer: Composer, batch: int) -> Callable[[], float]:
    """Multiplies by each of the network's matrices in fp32, on one core as the graphs do; attention's products
    with what it remembers are left out."""
    import torch
    from safetensors.torch import load_file

    tensors = load_file(composer.folder.path / WEIGHTS)
    matrices = [tensor.float() for name, tensor in tensors.items() if is_multiplied(name, tensor.ndim)]
    inputs = [torch.zeros(batch, matrix.shape[1]) for matrix in matrices]

    def work() -> float:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        for _ in range(100):
            for x, matrix in zip(inputs, matrices, strict=True):
                torch.nn.functional.linear(x, matrix)
        torch.set_num_threads(threads)
        return 100 * batch

    return work


def _names(bench: Bench) -> int:
    from cadenza.tokens import NotesAndChords

    return NotesAndChords.of(piece.score for piece in bench.corpus.pieces).schema.fields[0].size


def every_control(composer: Composer) -> dict[str, Any]:
    """All options that a piece keeps to or tends to, as far as the model knows them."""
    assert isinstance(composer.representation, NoteEvents)
    character, whole = composer.folder.character, composer.folder.repertoire
    assert whole is not None
    repertoires = {name: composer.folder.styles[name] for name in character.styles}
    melodic = (name for name, found in repertoires.items() if min(found.kinds) < FIRST_KIT)
    style = next(melodic, None)
    repertoire = repertoires[style] if style else whole
    kinds = [kind for kind in repertoire.kinds if kind < FIRST_KIT][:4]
    names = [instrument_name(int(number)) for number in instrument_of_kind(np.array(kinds))]
    low, high = repertoire.pitch_ranges[kinds[0]]
    return {
        "key": "D minor",
        "key_strictness": 0.95,
        "tempo": 100.0,
        "metre": "4/4",
        "instruments": ", ".join(names),
        "must_play": names[0],
        "ranges": f"{names[0]}: {pitch_name(low)}-{pitch_name(high)}",
        "polyphony": 2,
        "density": "4-16",
        "max_repeat": 2,
        "style": style,
        "mood": "slow" if "tempo" in character.thirds else None,
    }


def _compose(
    composer: Composer,
    num: int,
    seeds: Iterator[int],
    bars: int = BARS,
    workers: int = 1,
    **wishes: Any,
) -> int:
    """workers: see `Composer.compose_many`; their start counts."""
    options = ComposeOptions(bars=bars, num=num, seed=next(seeds), **wishes)
    pieces = composer.compose_many(options=options, workers=workers)
    return sum(len(piece.score) for piece in pieces)


# -- cold start -----------------------------------------------------------------------------------


def cold_start(bench: Bench) -> list[Row]:
    """Seconds from the command to its end, each a process of its own."""
    [middle] = _typical(bench.corpus.pieces, 1)[:1]
    model = [str(bench.model)] if bench.model else []
    out = str(bench.scratch / "composed")
    compose = ["compose", *model, "--out", out, "--num", "4", "--bars", str(BARS), "--seed", "1"]
    commands = {
        "cadenza --help": ["-m", "cadenza", "--help"],
        "cadenza inspect FILE": ["-m", "cadenza", "inspect", str(middle.path)],
        f"cadenza compose --num 4 --bars {BARS}": ["-m", "cadenza", *compose],
        "python -c pass": ["-c", "pass"],
        "python -c 'import music21'": ["-c", "import music21"],
        "python -c 'import keras'": ["-c", "import keras"],
    }
    contenders = [Contender(name, partial(_process, arguments)) for name, arguments in commands.items()]
    return bench.measure("cold start", "s", contenders)


def _process(arguments: Sequence[str]) -> int:
    environment = {"KERAS_BACKEND": "torch", **os.environ}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise CadenzaError(f"python {' '.join(arguments)} failed: {done.stderr.strip()[-500:]}")
    return 1


# -- the machine ----------------------------------------------------------------------------------


def machine(bench: Bench) -> list[Row]:
    """What this machine's processor and memory give to plain large operations."""
    kinds = dict.fromkeys(("float32", learned_in()))
    products = [Contender(f"{kind} matrix product", matrix_product(kind)) for kind in kinds]
    rows = bench.measure("machine", "GFLOP/s", products)
    return rows + bench.measure("machine", "GB/s", [Contender("memory copy, read and written", _copy())])


def learned_in() -> str:
    """The kind of number that matrices are multiplied in while a network learns on this machine."""
    import torch

    from cadenza.learner import has_fast_bfloat16

    return "bfloat16" if has_fast_bfloat16(torch.device("cpu")) else "float32"


def matrix_product(kind: str) -> Callable[[], float]:
    """Multiplies two large matrices of this kind of number; returns the GFLOP that takes."""
    import torch

    a = torch.randn(MATRIX, MATRIX).to(getattr(torch, kind))
    b = torch.randn(MATRIX, MATRIX).to(getattr(torch, kind))
    out = torch.empty_like(a)

    def work() -> float:
        torch.mm(a, b, out=out)
        return 2 * MATRIX**3 / 1e9

    return work


def _copy() -> Callable[[], float]:
    import torch

    source = torch.ones(COPIED_BYTES // 4)
    target = torch.zeros_like(source)

    def work() -> float:
        target.copy_(source)
        return 2 * COPIED_BYTES / 1e9

    return work


# -- the command line -----------------------------------------------------------------------------

GROUPS = (reading, encoding, training, composing, cold_start, machine)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every group, print the table and the JSON line."""
    arguments = _parser().parse_args(argv)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # everything is compared on the processor

    def work() -> None:
        require("torch", "onnx", "safetensors", "keras", "miditok", "music21")
        with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # music21 and MidiTok comment on the files
            bench = _bench(arguments, Path(scratch))
            rows = [row for group in GROUPS for row in group(bench)]
        if not arguments.json:
            _print_table(rows)
        print(json.dumps(_summary(bench, rows)))

    return exit_code(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description="How fast Cadenza is beside its peers and the machine's own limits.",
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="MIDI files")
    parser.add_argument(
        "--model", metavar="MODEL", type=Path, help="that composes (default: the bundled one)"
    )
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="at least, of each turn of a contender (default 1)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender (default 5)")
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    return parser


def _bench(arguments: argparse.Namespace, scratch: Path) -> Bench:
    if arguments.rounds < 1:
        raise InputError("--rounds must be at least 1.")
    composer = Composer.from_pretrained(arguments.model)
    corpus = scan(arguments.folder)
    corpus.require_pieces(2)
    tutorial.keras_module()  # before anything is measured, so that its backend is chosen in time
    return Bench(corpus, arguments.model, composer, arguments.seconds, arguments.rounds, scratch)


def _print_table(rows: Sequence[Row]) -> None:
    limit = next(row.rate for row in rows if row.name.startswith(learned_in()))
    group = ""
    for row in rows:
        heading = row.group if row.group != group else ""
        group = row.group
        rate = (
            f"{row.rate:,.3f}"
            if row.rate < 10
            else f"{row.rate:,.1f}"
            if row.rate < 1000
            else f"{row.rate:,.0f}"
        )
        notes = [f"ours is {row.ratio:,.3g} times as fast"] if row.ratio else []
        if row.gflops:
            notes.append(f"{row.gflops:,.1f} GFLOP/s, {row.gflops / limit:.0%} of such products")
        print(f"{heading:<12}{row.name:<42}{rate:>12} {row.unit:<10}{'; '.join(notes)}".rstrip())


def _summary(bench: Bench, rows: Sequence[Row]) -> dict[str, Any]:
    import torch

    return {
        "benchmark": "speed",
        "folder": bench.corpus.root.name,
        "files": len(bench.corpus.files),
        "pieces": len(bench.corpus.pieces),
        "model": bench.composer.folder.digest,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "keras_backend": tutorial.keras_module().backend.backend(),
        "seconds": bench.seconds,
        "rounds": bench.rounds,
        "versions": {name: version(name) for name in PACKAGES},
        "rows": [{key: _rounded(value) for key, value in asdict(row).items()} for row in rows],
    }


def _rounded(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main())
