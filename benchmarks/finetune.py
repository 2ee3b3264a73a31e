"""What it is worth, for a small folder, to go on from a model that knows music.

    python -m benchmarks.finetune --folder FOLDER [--pieces N ...] [--minutes M ...] [--from MODEL] [--seed S]

FOLDER has the parts `train` and `valid`. Of `train`, N pieces are chosen and learned from for M minutes, from scratch and
going on from MODEL (the bundled one unless told otherwise). All of the N count: those that training holds out choose
the weights. Measured are the nats per note of some pieces of `valid`, the same for all, by the graphs that compose; and of
20 composed pieces of 32 bars, how long a passage they share with what was learned from.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.tutorial import exit_code
from cadenza import Composer, TrainingOptions, train
from cadenza.corpus import Piece, scan
from cadenza.evaluation import evaluate_graph
from cadenza.model_folder import ModelFolder

VALID_NOTES = 40_000
COMPOSED = 20


def subset(pieces: Sequence[Piece], number: int, seed: int, folder: Path) -> Path:
    """A folder of links to so many pieces; the smaller ones are parts of the larger ones."""
    order = np.random.default_rng(seed).permutation(len(pieces))
    folder.mkdir(parents=True)
    for n, index in enumerate(order[:number].tolist()):
        (folder / f"{n:04d}.mid").symlink_to(pieces[index].path.resolve())
    return folder


def nats_per_note(model: Path, valid: Sequence[Piece]) -> float:
    """Held-out likelihood of some of the pieces under the model's fp32 graphs."""
    folder, chosen, notes = ModelFolder.open(model), [], 0
    for piece in valid:
        chosen.append(folder.representation.encode_piece(piece.score))
        notes += len(piece.score)
        if notes >= VALID_NOTES:
            break
    graph = folder.graph("fp32", threads=0)
    return evaluate_graph(graph, folder.representation, chosen).nats_per_note


def originality(model: Path, seed: int) -> dict[str, Any]:
    """How long the longest shared passages of composed pieces are, and how many pieces may be memorised."""
    composer = Composer.from_pretrained(model)
    pieces = composer.compose_many(num=COMPOSED, bars=32, seed=seed, workers=0)
    found = [piece.sidecar["originality"] for piece in pieces]
    notes = [each["longest"]["notes"] if each["longest"] else 0 for each in found]
    return {
        "median": float(np.median(notes)),
        "p95": float(np.quantile(notes, 0.95)),
        "by_people_p95": composer.folder.baseline.notes[1],
        "may_be_memorised": sum(each["may_be_memorised"] for each in found),
        "of": COMPOSED,
    }


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every row of the table."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    pieces = scan(arguments.folder / "train", workers=0).pieces
    valid = scan(arguments.folder / "valid", workers=0).pieces
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for number in arguments.pieces:
            folder = subset(pieces, number, arguments.seed, Path(work) / f"{number}")
            for minutes in arguments.minutes:
                for name, base in (("scratch", None), ("from", arguments.base or "auto")):
                    out = Path(work) / f"{number}-{minutes}-{name}"
                    options = TrainingOptions(minutes=minutes, base=base, seed=arguments.seed)
                    train(folder, out, options)
                    row = {"pieces": number, "minutes": minutes, "start": name}
                    row["nats_per_note"] = round(nats_per_note(out, valid), 4)
                    row["steps"] = ModelFolder.open(out).config["steps"]
                    if not arguments.no_composing:
                        row["originality"] = originality(out, arguments.seed)
                    rows.append(row)
                    print(json.dumps(row), flush=True)
    return {"benchmark": "finetune", "folder": str(arguments.folder), "seed": arguments.seed, "rows": rows}


def main(argv: Sequence[str] | None = None) -> int:
    """See the file's head."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.finetune",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, required=True, help="with the parts train and valid")
    parser.add_argument("--pieces", type=int, nargs="+", default=[5, 20, 60])
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 5.0])
    parser.add_argument("--from", dest="base", type=Path, help="the model to go on from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of training; as many as there are cores unless told")
    parser.add_argument("--no-composing", action="store_true", help="leave originality out")
    arguments = parser.parse_args(argv)

    def work() -> None:
        print(json.dumps(run(arguments)))

    return exit_code(work)


if __name__ == "__main__":
    raise SystemExit(main())
