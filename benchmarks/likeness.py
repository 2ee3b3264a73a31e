"""How alike composed and held-out pieces are, by the measures of `cadenza.statistics`.

    python -m benchmarks.likeness [--model MODEL] [--corpus FOLDER] [--num 32] [--bars 16] [--seed 1]

Composes at several settings and prints the mean of each measure beside that of the pieces that the
model did not learn from, cut to the same length, with the share of composed pieces inside the held-out
10th to 90th percentile. One JSON line last.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from cadenza import Composer
from cadenza.corpus import scan
from cadenza.holdout import split
from cadenza.likeness import first_bars
from cadenza.model_folder import bundled_corpus
from cadenza.score import Score
from cadenza.statistics import describe

MEASURES = (
    "notes_per_bar",
    "distinct_onsets_per_bar",
    "pitch_entropy",
    "pitch_class_entropy",
    "polyphony",
    "scale_consistency",
    "empty_beat_rate",
    "longest_repeated_note_run",
    "bar_repetition",
    "instruments",
    "stray_instruments",
)
STRAY_NOTES = 4  # an instrument that plays fewer notes than this in a piece does not belong to it
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 1.0, "top_p": 1.0},
    {"temperature": 1.0, "top_p": 0.95},
    {"temperature": 1.0, "min_p": 0.05},
    {"temperature": 1.0, "min_p": 0.1},
    {"temperature": 1.0, "min_p": 0.2},
    {"temperature": 0.9, "min_p": 0.1},
    {"temperature": 0.85, "min_p": 0.1},
    {"temperature": 0.9, "top_p": 0.95},
    {"temperature": 0.9, "top_p": 0.9},
    {"temperature": 0.0},
)


def main() -> None:
    """Compose, describe and print."""
    arguments = parse(__doc__)
    composer = Composer.from_pretrained(arguments.model)
    held_out = split(scan(arguments.corpus)).held_out
    quantise = composer.representation.quantise  # type: ignore[attr-defined]
    real = _described([first_bars(quantise(piece.score), arguments.bars) for piece in held_out])
    low, high = np.percentile(real, 10, axis=0), np.percentile(real, 90, axis=0)
    rows: dict[str, Any] = {"held out": dict(zip(MEASURES, np.mean(real, axis=0).tolist(), strict=True))}
    print(f"{'setting':<34}" + "".join(f"{name[:14]:>16}" for name in MEASURES))
    _print_row("held out", np.mean(real, axis=0), None)
    for setting in SETTINGS:
        options = {"bars": arguments.bars, "num": arguments.num, "seed": arguments.seed, **setting}
        composed = _described([piece.score for piece in composer.compose_many(**options)])
        inside = ((composed >= low - 1e-9) & (composed <= high + 1e-9)).mean(axis=0)
        name = ", ".join(f"{k} {v}" for k, v in setting.items()) or "default"
        _print_row(name, np.mean(composed, axis=0), inside)
        rows[name] = dict(zip(MEASURES, np.mean(composed, axis=0).tolist(), strict=True))
        rows[name]["inside"] = float(inside.mean())
    print(json.dumps(rows))


def _described(scores: list[Score]) -> np.typing.NDArray[np.float64]:
    described = [{**describe(score), **_ensemble(score)} for score in scores]
    return np.array([[d[name] for name in MEASURES] for d in described])


def _ensemble(score: Score) -> dict[str, float]:
    _, counts = np.unique(score.notes["instrument"], return_counts=True)
    return {"instruments": float(len(counts)), "stray_instruments": float((counts < STRAY_NOTES).sum())}


def _print_row(name: str, values: Any, inside: Any) -> None:
    shares = [""] * len(values) if inside is None else [f" {share:4.0%}" for share in inside]
    mean = "" if inside is None else f"  inside {inside.mean():.0%}"
    cells = "".join(f"{value:>11.2f}{share:>5}" for value, share in zip(values, shares, strict=True))
    print(f"{name:<34}{cells}{mean}")


def parse(description: str | None) -> argparse.Namespace:
    """The options of benchmarks that compose with a model and compare with its corpus."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="default: the bundled model")
    parser.add_argument("--corpus", type=Path, default=bundled_corpus(), help="what the model was trained on")
    parser.add_argument("--num", type=int, default=32)
    parser.add_argument("--bars", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
