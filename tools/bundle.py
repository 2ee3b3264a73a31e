"""Builds what ships with the package: the corpus from a folder of free music, and the trained model.

    python tools/bundle.py corpus FREE      FREE holds mutopia_keyboard, mutopia_hymns, ...
    python tools/bundle.py base FREE OUT    all of that music by style, in OUT/train and OUT/valid
    python tools/bundle.py soundfont SF3    FluidR3Mono_GM.sf3, cut to the instruments that MIDI files name; its licence lies beside it
    python tools/bundle.py model FIRST MODEL OUT
                                            MODEL, which went on from FIRST, both trained on OUT/train; judged by OUT/valid

The choice of pieces is by rule, not by hand: for the corpus, of each source the shortest ones above a least length,
as many as its share of the budget allows; for the base model, all that are eight bars long.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import re
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import torch
from safetensors.torch import load_file, save_file

from cadenza.corpus import Corpus, Piece, scan
from cadenza.evaluation import evaluate_graph
from cadenza.files import write_atomic
from cadenza.graph import halved
from cadenza.holdout import split
from cadenza.model_card import write_card
from cadenza.model_folder import (
    CARD,
    CONFIG,
    CURVE,
    INDEX,
    LOG,
    REPRESENTATION,
    WEIGHTS,
    ModelFolder,
    bundled_corpus,
    bundled_model,
    write_sums,
)
from cadenza.score import DRUM_KIT, DRUM_KITS, bar_lines
from cadenza.soundfont import Soundfont, bundled_soundfont

LEAST_BYTES = 1_200
LEAST_BARS = 8
MODEL_NAME = "free-music"
MODEL_LICENCE = "MIT for the weights; of the music as told below"
TRAINING = "cadenza train OUT/train --drums --preset medium --transpose 6 {start} --minutes {minutes:.0f} --out {out}"


@dataclass(frozen=True)
class Source:
    """Where a style comes from, and how many compressed bytes of it are taken for the corpus."""

    style: str
    folder: str
    budget: int
    licence: str
    credit: str


SOURCES = (
    Source(
        "keyboard",
        "mutopia_keyboard",
        420_000,
        "public domain",
        "Mutopia Project (https://www.mutopiaproject.org), dedicated to the public domain by its typesetters",
    ),
    Source(
        "hymns",
        "mutopia_hymns",
        100_000,
        "public domain",
        "Mutopia Project (https://www.mutopiaproject.org), dedicated to the public domain by its typesetters",
    ),
    Source(
        "songs",
        "openscore_lieder/train",
        320_000,
        "CC0-1.0",
        "OpenScore Lieder Corpus (https://github.com/OpenScore/Lieder)",
    ),
    Source(
        "quartets",
        "openscore_quartets",
        260_000,
        "CC0-1.0",
        "OpenScore String Quartets (https://github.com/OpenScore/StringQuartets)",
    ),
    Source(
        "game",
        "freedoom",
        300_000,
        "BSD-3-Clause (FREEDOOM-LICENSE.txt)",
        "the Freedoom project (https://freedoom.github.io), composers in FREEDOOM-CREDITS.gz",
    ),
    Source(
        "drums",
        "groove",
        0,
        "CC BY 4.0",
        "the Groove MIDI Dataset by Google LLC (https://magenta.tensorflow.org/datasets/groove; Gillick et al. 2019), "
        "laid on a grid",
    ),
    Source(
        "performances",
        "vienna4x22",
        0,
        "CC BY 4.0",
        "the Vienna 4x22 Piano Corpus by Werner Goebl and CPJKU (https://github.com/CPJKU/vienna4x22), its performances alone",
    ),
)
SOUNDS = (
    "FluidR3Mono GM, copyright (c) 2000-2002, 2008 Frank Wen and 2014-16 Michael Cowgill, cut to the instruments of "
    "General MIDI. Licence: MIT (`soundfont/LICENSE.md`, with all acknowledgements)."
)
CORPUS_SOURCES = tuple(source for source in SOURCES if source.budget)
HELD_OUT_EXCERPT = "Schubert"  # of the performances of four excerpts


def build_corpus(free: Path) -> None:
    """Choose, copy and list the pieces."""
    target = bundled_corpus()
    shutil.rmtree(target, ignore_errors=True)
    lines = [line for source in CORPUS_SOURCES for line in _take(source, free / source.folder, target)]
    (target.parent / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name in ("FREEDOOM-LICENSE.txt", "FREEDOOM-CREDITS.gz"):
        shutil.copyfile(free / "freedoom" / name, target.parent / name)
    (target.parent / "CREDITS.md").write_text(_credits(lines))
    total = sum(len(zlib.compress(path.read_bytes(), 9)) for path in target.rglob("*") if path.is_file())
    print(f"{len(lines)} pieces, {total:,} bytes compressed")


def _take(source: Source, folder: Path, target: Path) -> list[dict[str, str]]:
    corpus: Corpus = scan(folder)
    usable = sorted((p.path for p in corpus.pieces if p.timing == "grid"), key=lambda p: p.stat().st_size)
    spent, lines = 0, []
    for path in usable:
        data = path.read_bytes()
        cost = len(zlib.compress(data, 9))
        if len(data) < LEAST_BYTES or spent + cost > source.budget:
            continue
        spent += cost
        copy = target / source.style / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(data)
        lines.append(
            {
                "path": f"{source.style}/{path.name}",
                "sha256": hashlib.sha256(data).hexdigest(),
                "source": source.credit,
                "licence": source.licence,
            }
        )
    print(f"{source.style}: {len(lines)} of {len(corpus.files)} files, {spent:,} bytes compressed")
    return lines


def _credits(lines: list[dict[str, str]]) -> str:
    parts = [
        "# Credits\n\nThe music that ships with Cadenza; what its bundled model learned from is told in `model/README.md`.\n\n"
    ]
    for source in CORPUS_SOURCES:
        count = sum(line["path"].startswith(f"{source.style}/") for line in lines)
        parts.append(f"- `{source.style}`: {count} pieces from {source.credit}. Licence: {source.licence}.\n")
    parts.append("\nEvery file is listed in `manifest.jsonl` with its source, licence and SHA-256.\n")
    parts.append(f"\nThe sounds: {SOUNDS}\n")
    return "".join(parts)


def build_soundfont(source: Path) -> None:
    """Cut the soundfont to the instruments that there are names for."""
    kits = [DRUM_KIT + kit for kit in DRUM_KITS]
    write_atomic(bundled_soundfont(), Soundfont.read(source.read_bytes()).cut([*range(DRUM_KIT), *kits]))


def build_base(free: Path, out: Path) -> None:
    """Copy all the music, by style: what to learn from, and what is held out to judge the model by."""
    for source in SOURCES:
        corpus = scan(free / source.folder, allow_drums_only=True, workers=0)
        pieces = [piece for piece in corpus.pieces if _bars(piece) >= LEAST_BARS]
        learned, held_out = _held_out(source, free, replace(corpus, pieces=pieces))
        for part, chosen in (("train", learned), ("valid", held_out)):
            for piece in chosen:
                below = piece.path.relative_to(free / source.folder.split("/")[0])
                copy = out / part / source.style / "_".join(below.parts)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(piece.path, copy)
        print(f"{source.style}: {len(learned)} pieces to learn from, {len(held_out)} held out")


def _held_out(source: Source, free: Path, corpus: Corpus) -> tuple[list[Piece], list[Piece]]:
    """The official split of a source where there is one; of performances, those of one excerpt are held out."""
    pieces = corpus.pieces
    if source.style == "songs":
        return pieces, scan(free / source.folder.replace("train", "valid"), workers=0).pieces
    if source.style == "drums":
        with (free / source.folder / "info.csv").open(newline="") as file:
            train = {row["midi_filename"] for row in csv.DictReader(file) if row["split"] == "train"}
        is_learned = [str(piece.path.relative_to(free / source.folder)) in train for piece in pieces]
    elif source.style == "performances":
        is_learned = [not piece.path.name.startswith(HELD_OUT_EXCERPT) for piece in pieces]
    else:
        parts = split(corpus)
        return parts.learned, parts.held_out
    learned, held_out = (
        [piece for piece, mine in zip(pieces, is_learned, strict=True) if mine is part]
        for part in (True, False)
    )
    return learned, held_out


def _bars(piece: Piece) -> int:
    return len(bar_lines(piece.score, piece.score.end)) - 1


def bundle_model(first: Path, model: Path, base: Path) -> None:
    """Copy what composing needs, weights and graphs in half their size, with a card that tells all about it."""
    begun = ModelFolder.open(first)
    target = bundled_model()
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in (REPRESENTATION, INDEX, LOG, CURVE):
        shutil.copyfile(model / name, target / name)
    shutil.copytree(model / "graph-int8", target / "graph-int8")
    for graph in sorted((model / "graph-fp32").iterdir()):
        write_atomic(target / "graph-fp32" / graph.name, halved(onnx.load(graph)).SerializeToString())
    weights = {name: t.to(torch.bfloat16).contiguous() for name, t in load_file(model / WEIGHTS).items()}
    save_file(weights, target / WEIGHTS)
    config = json.loads((model / CONFIG).read_text())
    config["corpus"]["folder"] = MODEL_NAME
    write_atomic(target / CONFIG, json.dumps(config, indent=1) + "\n")
    write_sums(target)
    write_atomic(target / CARD, _card(begun, ModelFolder.open(target), base))
    total = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{total:,} bytes in {target}")


def _card(first: ModelFolder, model: ModelFolder, base: Path) -> str:
    card = write_card(model.config, model.character.thirds)
    card = re.sub(r"(?m)^- Licence: .*$", f"- Licence: {MODEL_LICENCE}", card)
    music, judged = [], []
    for source in SOURCES:
        pieces = scan(base / "train" / source.style, allow_drums_only=True, workers=0).pieces
        music.append(
            f"- `{source.style}`: {len(pieces)} pieces from {source.credit}. Licence: {source.licence}."
        )
        judged.append(f"| {source.style} | {_judged(model, base / 'valid' / source.style)} |")
    sections = [
        "## The music and its licences",
        *music,
        "",
        "## How well, set by set",
        "Pieces that took no part in training, whole, in nats per note as computed by the graphs that ship:",
        "",
        f"| set | pieces | notes | {' | '.join(model.precisions)} |",
        "|---|---|---|" + "---|" * len(model.precisions),
        *judged,
        "",
        "## How it scales",
        "Nats per note of some of the held-out pieces, untold of their style, after so many notes (in any key) of both trainings, each of "
        "which ends with a low learning rate. What other networks do with the same music: `docs/benchmarks.md`.",
        "",
        *_scaling([first, model]),
        "",
        "## To train it again",
        "    python tools/bundle.py base FREE OUT",
        f"    {_training(first, '--from-scratch --no-index', 'FIRST')}",
        f"    {_training(model, '--from FIRST', 'MODEL')}",
        "    python tools/bundle.py model FIRST MODEL OUT",
        "",
        f"The first took {first.config['steps']:,} steps, to {first.config['held_out']['nats_per_note']:.3f} nats per held-out note, "
        + ("and was told of styles." if first.representation.styles else "and was told of no styles."),
        "",
        "## Limits",
    ]
    return card.replace("## Limits", "\n".join(sections))


def _training(model: ModelFolder, start: str, out: str) -> str:
    return TRAINING.format(start=start, minutes=model.config["seconds"] / 60, out=out)


def _scaling(models: Sequence[ModelFolder]) -> list[str]:
    """Rows of a table of millions of notes learned from, one training after the other, and nats, from the models' logs."""
    before, rows = 0.0, ["| million notes | nats per note |", "|---|---|"]
    for model in models:
        log = [json.loads(line) for line in (model.path / LOG).read_text().splitlines()]
        seen = [line["notes_per_second"] * line["seconds"] / 1e6 for line in log]
        rows += [
            f"| {before + millions:.1f} | {line['held_out_nats']:.3f} |"
            for millions, line in zip(seen, log, strict=True)
        ]
        before += seen[-1]
    return rows


def _judged(model: ModelFolder, folder: Path) -> str:
    """Pieces, notes and nats per note of held-out files, as cells of a table."""
    scores = [piece.score for piece in scan(folder, allow_drums_only=True, workers=0).pieces]
    encoded = [model.representation.encode_piece(score) for score in scores]
    nats = [
        evaluate_graph(model.graph(name, threads=0), model.representation, encoded).nats_per_note
        for name in model.precisions
    ]
    return f"{len(scores)} | {sum(map(len, scores)):,} | " + " | ".join(f"{each:.3f}" for each in nats)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="what", required=True)
    verbs.add_parser("corpus").add_argument("free", type=Path)
    verbs.add_parser("soundfont").add_argument("source", type=Path)
    base = verbs.add_parser("base")
    base.add_argument("free", type=Path)
    base.add_argument("out", type=Path)
    model = verbs.add_parser("model")
    model.add_argument("first", type=Path)
    model.add_argument("model", type=Path)
    model.add_argument("base", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "corpus":
        build_corpus(arguments.free)
    elif arguments.what == "soundfont":
        build_soundfont(arguments.source)
    elif arguments.what == "base":
        build_base(arguments.free, arguments.out)
    else:
        bundle_model(arguments.first, arguments.model, arguments.base)
