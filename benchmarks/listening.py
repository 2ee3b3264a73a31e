"""How like real pieces composed ones are, style by style, at several settings of sampling.

    python -m benchmarks.listening [--model MODEL] [--valid FOLDER --train FOLDER] [--num 32] [--bars 32] [--seed 1]
                                   [--styles S ...] [--min-p P ...] [--temperature T ...] [--form free]

The folders hold pieces that the model did not learn from and those that it did, by style (default: the two parts of the
bundled corpus). Prints, for each style and each setting, the mean overlap of all features (see `cadenza.listening`), and
for the default setting how much bars repeat beside the real pieces' 95 % interval. First in the table stand up to NUM whole
pieces that were learned from, which show what can be reached; last, temperature 1 without a guard against unlikely
events. One JSON line last.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tutorial import exit_code
from cadenza import Composer
from cadenza.corpus import Piece, scan
from cadenza.holdout import split
from cadenza.listening import DISTANCES, Listening, listen
from cadenza.model_folder import bundled_corpus

UNGUARDED = {"temperature": 1.0, "min_p": 0.0, "top_p": 1.0}


ByStyle = dict[str, list[Piece]]


def real_pieces(valid: Path | None, train: Path | None) -> tuple[ByStyle, ByStyle]:
    """Pieces that the model did not learn from, and those that it did, by style."""
    if valid is not None and train is not None:
        return _by_style(_pieces(valid)), _by_style(_pieces(train))
    parts = split(scan(bundled_corpus(), allow_drums_only=True, workers=0))
    return _by_style(parts.held_out), _by_style(parts.learned)


def _pieces(folder: Path) -> list[Piece]:
    return scan(folder, allow_drums_only=True, workers=0).pieces


def _by_style(pieces: Sequence[Piece]) -> ByStyle:
    found = defaultdict(list)
    for piece in pieces:
        found[piece.style].append(piece)
    return dict(found)


def settings(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """What to sample with, by name."""
    found: dict[str, dict[str, float]] = {"default": {}}
    for temperature, min_p in product(arguments.temperature, arguments.min_p):
        found[f"{temperature:g}, {min_p:g}"] = {"temperature": temperature, "min_p": min_p}
    return {**found, "unguarded": UNGUARDED}


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Compose, compare and print."""
    composer = Composer.from_pretrained(arguments.model)
    real, learned = real_pieces(arguments.valid, arguments.train)
    styles = arguments.styles or sorted(set(composer.folder.styles) & set(real) & set(learned))
    tried, rows = settings(arguments), {}
    names = ("learned", *tried)
    print(f"{'style':<14}{'real':>5}" + "".join(f"{name:>12}" for name in names))
    for style in styles:
        scores = [piece.score for piece in real[style]]
        some = np.random.default_rng(arguments.seed).permutation(len(learned[style]))[: arguments.num]
        found = {"learned": listen([learned[style][n].score for n in some], scores)}
        found |= {name: _listen(composer, arguments, style, each, scores) for name, each in tried.items()}
        print(
            f"{style:<14}{len(scores):>5}" + "".join(f"{each.overlap:>12.1%}" for each in found.values()),
            flush=True,
        )
        rows[style] = {name: each.to_dict() for name, each in found.items()}
        print(_repetition(found["default"]), flush=True)
    means = {name: sum(rows[style][name]["overlap"] for style in styles) / len(styles) for name in names}
    print(f"{'mean':<19}" + "".join(f"{value:>12.1%}" for value in means.values()))
    return {
        "benchmark": "listening",
        "seed": arguments.seed,
        "num": arguments.num,
        "overlap": means,
        "styles": rows,
    }


def _listen(
    composer: Composer, arguments: argparse.Namespace, style: str, setting: dict[str, float], real: list[Any]
) -> Listening:
    options = {
        "num": arguments.num,
        "bars": arguments.bars,
        "seed": arguments.seed,
        "style": style,
        "form": arguments.form,
        **setting,
    }
    return listen([piece.score for piece in composer.compose_many(workers=0, **options)], real)


def _repetition(found: Listening) -> str:
    """How much bars repeat, beside the interval of the real pieces; a star where it lies outside."""
    parts = []
    for distance in DISTANCES:
        each = found.features.get(f"repeats_after_{distance}")
        if each is not None and each.samples is not None and each.real is not None:
            ours, low, high = each.samples.value, each.real.low, each.real.high
            parts.append(f"{distance}: {ours:.2f}{'' if low <= ours <= high else '*'} ({low:.2f}-{high:.2f})")
    return "   repeats after " + "  ".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """See the file's head."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.listening",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, help="default: the bundled model")
    parser.add_argument("--valid", type=Path, help="pieces that it did not learn from, by style")
    parser.add_argument("--train", type=Path, help="those that it did")
    parser.add_argument("--num", type=int, default=32)
    parser.add_argument("--bars", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--styles", nargs="+", help="default: all that both know")
    parser.add_argument("--form", help="default: those of the pieces learned from; free: the network's own")
    parser.add_argument("--min-p", type=float, nargs="+", default=[0.05, 0.1])
    parser.add_argument("--temperature", type=float, nargs="+", default=[1.0])
    arguments = parser.parse_args(argv)
    if (arguments.valid is None) != (arguments.train is None):
        parser.error("give both --valid and --train, or none.")
    return exit_code(lambda: print(json.dumps(run(arguments))))


if __name__ == "__main__":
    raise SystemExit(main())
