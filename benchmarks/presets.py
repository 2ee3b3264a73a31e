"""What each preset and kind of network costs: parameters, memory, speed of training and of composing.

    python -m benchmarks.presets FOLDER [--minutes 1] [--presets small large] [--models lstm gru transformer]

Every network is trained for so long by `cadenza train`, in a process of its own whose greatest resident size
is taken, and then composes one piece, and 16 of 32 bars on all cores, with int8 weights and with fp32. Steps alone take turns
with large matrix products in the kind of number that is learned in: their share of the machine. What int8 costs is told by the nats
per note of some of the folder's pieces in both precisions. One JSON line last.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.speed import flop_per_target, learned_in, matrix_product, rate, train_step, training_run
from benchmarks.tutorial import exit_code, require
from cadenza.composer import Composer
from cadenza.corpus import Corpus, Piece, scan
from cadenza.errors import CadenzaError
from cadenza.evaluation import evaluate_graph
from cadenza.model_folder import LOG, ModelFolder
from cadenza.options import ComposeOptions
from cadenza.presets import ARCHITECTURES, PRESETS
from cadenza.workers import process_pool

ROUNDS, JUDGED_PIECES = 3, 10
WARM_UP_STEPS, STEP_SECONDS = 3, 5.0
PRECISIONS = ("int8", "fp32")


def train(folder: Path, out: Path, preset: str, model: str, minutes: float) -> float:
    """Train a model; returns the greatest resident size of the process in MiB."""
    command = [sys.executable, "-m", "cadenza", "train", str(folder), "--out", str(out), "--preset", preset]
    process = subprocess.Popen(
        [*command, "--model", model, "--minutes", str(minutes)], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise CadenzaError(f"{' '.join(command)} failed.")
    return usage.ru_maxrss / 1024


def events_per_second_of_training(out: Path) -> float:
    """Over the whole run: evaluations and checkpoints take their time, too."""
    last = (out / LOG).read_text().splitlines()[-1]
    return float(json.loads(last)["notes_per_second"])


def composing(out: Path, precision: str, num: int, bars: int) -> float:
    """Notes a second, median of three times; the start of processes counts."""
    composer = Composer.from_pretrained(out, precision)
    found = []
    for seed in range(ROUNDS + 1):
        start = time.perf_counter()
        options = ComposeOptions(bars=bars, num=num, seed=seed)
        notes = sum(len(piece.score) for piece in composer.compose_many(options=options, workers=0))
        found.append(notes / (time.perf_counter() - start))
    return statistics.median(found[1:])


def nats_per_note(out: Path, precision: str, pieces: Sequence[Piece]) -> float:
    """Of pieces of the folder, of which the network has seen most: good for comparing its precisions."""
    folder = ModelFolder.open(out)
    encoded = [folder.representation.encode_piece(piece.score) for piece in pieces]
    return evaluate_graph(folder.graph(precision), folder.representation, encoded).nats_per_note


def share_of_products(folder: Path, out: Path, preset: str, model: str) -> dict[str, float]:
    """Of steps alone, in turns with large products of the kind of number that is learned in; medians."""
    run, product = training_run(scan(folder), out, preset, model), matrix_product(learned_in())
    for _ in range(WARM_UP_STEPS):
        train_step(run)
    turns = [(rate(partial(train_step, run), STEP_SECONDS), rate(product, 1.0)) for _ in range(ROUNDS)]
    run.stream.close()
    steps, limit = (statistics.median(column) for column in zip(*turns, strict=True))
    gflops = steps * flop_per_target(run) / 1e9
    share = statistics.median(one * flop_per_target(run) / 1e9 / other for one, other in turns)
    return {
        "events_per_second_of_steps": round(steps),
        "gflops": round(gflops, 1),
        "gflops_of_products": round(limit, 1),
        "share_of_products": round(share, 3),
    }


def measure(corpus: Corpus, out: Path, preset: str, model: str, minutes: float) -> dict[str, Any]:
    """One row of the table."""
    memory = train(corpus.root, out, preset, model, minutes)
    with process_pool(1) as pool:  # a process that had trained would lend its own size to those it starts
        share = pool.submit(share_of_products, corpus.root, out.with_name("steps"), preset, model).result()
    parameters = ModelFolder.open(out).config["parameters"]
    pieces = corpus.pieces[:JUDGED_PIECES]
    return {
        "preset": preset,
        "model": model,
        "parameters": parameters,
        "training_mib": round(memory),
        "trained_events_per_second": round(events_per_second_of_training(out)),
        **share,
        "nats_per_note": {name: round(nats_per_note(out, name, pieces), 4) for name in PRECISIONS},
        "composed_notes_per_second": {
            f"{precision}, {num}": round(composing(out, precision, num, bars))
            for precision in PRECISIONS
            for num, bars in ((1, 16), (16, 32))
        },
    }


def main(argv: Sequence[str] | None = None) -> int:
    """See the file's head."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.presets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--presets", nargs="+", choices=sorted(PRESETS), default=["small", "large"])
    parser.add_argument("--models", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    arguments = parser.parse_args(argv)

    def work() -> None:
        require("torch", "onnx", "safetensors")
        rows, corpus = [], scan(arguments.folder)
        for preset in arguments.presets:
            for model in arguments.models:
                with tempfile.TemporaryDirectory() as scratch:
                    out = Path(scratch) / "model"
                    rows.append(measure(corpus, out, preset, model, arguments.minutes))
                print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
        print(json.dumps({"benchmark": "presets", "minutes": arguments.minutes, "rows": rows}))

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
