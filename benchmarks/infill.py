"""What learning to fill gaps gives, and what it costs: nats per note with and without the notes after a gap.

    python -m benchmarks.infill --folder FOLDER [--gap-share S] [--model M] [--minutes N] [--seed S]

FOLDER has the parts `train` and `valid`. One network is trained, of whose pieces the share S has gaps, and
measured on the pieces of `valid`: on all notes, as a piece is composed from left to right; on the notes of four bars
in twelve, told or not told of the notes after them; and on the notes of each instrument by itself where there are
several, told or not told of what the others do later. With --gap-share 0 it has learned no gaps: the difference on all
notes is what learning them costs. Where a gap ends is not counted on either side.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import fitting
from benchmarks.notes import Tokenised, fit_preset, measure, on_grid
from benchmarks.tutorial import exit_code
from cadenza.context import bars_of
from cadenza.corpus import scan
from cadenza.dataset import Augmentation, AugmentedScores
from cadenza.events import EncodedPiece, NoteEvents, kinds_of
from cadenza.gaps import Gap
from cadenza.holdout import split
from cadenza.models import LanguageModel
from cadenza.presets import PRESETS
from cadenza.vocabulary import KIND, N_KINDS, ONSET, EventArray, plays

GAP_BARS, EVERY_BARS = 4, 12


def gaps_of_bars(bars: int, kinds: Sequence[int]) -> Iterator[Gap]:
    """Four new bars after every eight given ones."""
    free = np.zeros((bars, N_KINDS), bool)
    free[np.arange(bars) % EVERY_BARS >= EVERY_BARS - GAP_BARS] = True
    yield Gap.of(free, kinds)


def gaps_of_parts(bars: int, kinds: Sequence[int]) -> Iterator[Gap]:
    """Each instrument new, from start to end, where others play."""
    for kind in kinds if len(kinds) > 1 else ():
        free = np.zeros((bars, N_KINDS), bool)
        free[:, kind] = True
        yield Gap.of(free, kinds)


def new_notes(events: EventArray, gap: Gap, bar: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of these events (N, fields), in these bars (N,), are notes in the gap."""
    return np.asarray(plays(events[:, KIND]) & ~gap.given(events, bar))


def gap_nats(
    model: LanguageModel, representation: NoteEvents, pieces: Sequence[EventArray], make: Any
) -> dict[str, Any]:
    """Nats per note in gaps, told of the notes around them and not."""
    found: dict[str, list[EncodedPiece]] = {"told": [], "untold": []}
    rows = []
    for events in pieces:
        step = np.cumsum(events[:, ONSET].astype(np.int64))
        bar = bars_of(events, representation.steps_per_quarter).number_of(step)
        for gap in make(max(1, int(bar[-1])), kinds_of(events)):
            rows.append(new_notes(events, gap, bar))
            for name, told in (("told", gap), ("untold", None)):
                found[name].append(
                    EncodedPiece(events, representation.context(events, bars_to_come=0, gap=told))
                )
    count = sum(int(row.sum()) for row in rows)
    if not count:
        return {"notes": 0}
    result: dict[str, Any] = {"notes": count}
    for name, encoded in found.items():
        nats = fitting.piece_nats(model, encoded)
        result[name] = round(sum(float(n[row].sum()) for n, row in zip(nats, rows, strict=True)) / count, 4)
    return result


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and measure; everything that the JSON line says."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    parts = split(scan(arguments.folder / "train", workers=0))
    learned, held_out = parts.learned, parts.held_out
    valid = [on_grid(piece.score) for piece in scan(arguments.folder / "valid", workers=0).pieces]
    events = NoteEvents()
    scores = [on_grid(piece.score) for piece in learned]
    source = AugmentedScores(scores, events, Augmentation(gap_share=arguments.gap_share), arguments.seed)
    form = Tokenised(events.schema, events.encode_piece, source, PRESETS["small"].window, {})
    fit = fit_preset(arguments, form, held_out)
    pieces = [events.encode(score) for score in valid]
    plain = measure(fit.model, [events.encode_piece(score) for score in valid], sum(map(len, valid)))
    return {
        "benchmark": "infill",
        "folder": arguments.folder.name,
        "model": arguments.model,
        "gap_share": arguments.gap_share,
        "seed": arguments.seed,
        "minutes": arguments.minutes,
        "clock": fitting.clock_name(),
        "nats_per_note": round(plain, 4),
        "bars": gap_nats(fit.model, events, pieces, gaps_of_bars),
        "parts": gap_nats(fit.model, events, pieces, gaps_of_parts),
        "held_out": round(fit.valid, 4),
        "parameters": fit.parameters,
        "steps": fit.steps,
        "seconds": round(fit.seconds, 1),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """See the file's head."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.infill",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, required=True, help="with the parts train and valid")
    parser.add_argument("--gap-share", type=float, default=Augmentation.gap_share, help="of pieces with gaps")
    fitting.add_training_options(parser, minutes=10.0)
    arguments = parser.parse_args(argv)

    def work() -> None:
        print(json.dumps(run(arguments)))

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
