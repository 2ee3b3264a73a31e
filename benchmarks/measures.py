"""Our measures beside the published implementations of them: MusPy's, and mgeval's formulas with SciPy.

    python -m benchmarks.measures FOLDER [--num 40]

Reads pieces of a folder, writes them on MusPy's grid as plain MIDI files and measures them with both. Prints
for every measure the greatest and the median difference, and the same for the overlap and the divergence of random
halves of the folder. One JSON line last.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.tutorial import exit_code, require
from cadenza.corpus import scan
from cadenza.listening import FloatArray, distances, features, overlap_and_divergence
from cadenza.midi import write_midi
from cadenza.score import DRUM_KIT, Score, bar_ticks, nearest_steps
from cadenza.statistics import STEPS_PER_QUARTER, describe


def main() -> None:
    """Measure with both, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--num", type=int, default=40)
    arguments = parser.parse_args()
    require("muspy", "scipy")
    pieces = scan(arguments.folder).pieces
    scores = [on_grid(piece.score) for piece in pieces[:: -(-len(pieces) // arguments.num)]]
    found = {name: differences(name, scores) for name in MEASURES}
    found |= halves(scores)
    print(f"{len(scores)} pieces\n{'':<24}{'greatest':>10}{'median':>10}  difference")
    for name, off in found.items():
        print(f"{name:<24}{max(off):>10.5f}{np.median(off):>10.5f}")
    print(json.dumps({name: [float(max(off)), float(np.median(off))] for name, off in found.items()}))


def on_grid(score: Score) -> Score:
    """The score with every tick on MusPy's grid, so that both measure the same notes; drums apart."""
    notes = score.notes[score.notes["instrument"] < DRUM_KIT].copy()
    for name in ("onset", "duration"):
        notes[name] = nearest_steps(notes[name], score.ticks_per_quarter, STEPS_PER_QUARTER)
    # One step shorter, since MusPy counts a bar or a beat more where a note ends on its line.
    notes["duration"] = np.maximum(1, notes["duration"] - 1)
    _, first = np.unique(np.stack([notes["onset"], notes["pitch"]], axis=1), axis=0, return_index=True)
    metres = score.metres.copy()
    metres["tick"] = nearest_steps(metres["tick"], score.ticks_per_quarter, STEPS_PER_QUARTER)
    return replace(
        score,
        ticks_per_quarter=STEPS_PER_QUARTER,
        notes=notes[np.sort(first)],
        tempi=score.tempi[:0],
        metres=metres,
    )


def _bar_steps(score: Score) -> int:
    numerator, denominator = tuple(score.metres[0])[1:] if len(score.metres) else (4, 4)
    return bar_ticks(int(numerator), int(denominator), STEPS_PER_QUARTER)


MEASURES: dict[str, Callable[[Score], tuple[int, ...]]] = {  # and what else MusPy wants to be told
    "pitch_range": lambda _: (),
    "pitch_entropy": lambda _: (),
    "pitch_class_entropy": lambda _: (),
    "scale_consistency": lambda _: (),
    "polyphony": lambda _: (),
    "empty_beat_rate": lambda _: (),
    "groove_consistency": lambda score: (_bar_steps(score),),
}


def differences(name: str, scores: list[Score]) -> list[float]:
    """Of one measure, piece by piece; groove only where the metre never changes, since MusPy knows one."""
    import muspy

    found = []
    with tempfile.TemporaryDirectory() as folder:
        for score in scores:
            if name == "groove_consistency" and (len(score.metres) > 1 or score.is_free):
                continue
            path = Path(folder) / "piece.mid"
            write_midi(score, path)
            music = muspy.read_midi(path)
            assert music.resolution == STEPS_PER_QUARTER
            found.append(abs(getattr(muspy, name)(music, *MEASURES[name](score)) - describe(score)[name]))
    return found


def halves(scores: list[Score]) -> dict[str, list[float]]:
    """Overlap and divergence of all features of two random halves, ours less those by mgeval's formulas."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(scores))
    described = [features(scores[n]) for n in order]
    middle = len(order) // 2
    overlap, divergence = [], []
    for name in described[0]:
        one, other = (
            np.array([piece[name] for piece in half if len(piece[name])])
            for half in (described[:middle], described[middle:])
        )
        if min(len(one), len(other)) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
            continue
        among = distances(other, other)[np.triu_indices(len(other), 1)]
        between = distances(one, other).ravel()
        ours, theirs = overlap_and_divergence(among, between), _mgeval(among, between)
        overlap.append(abs(ours[0] - theirs[0]))
        divergence.append(abs(ours[1] - theirs[1]))
    return {"overlap": overlap, "divergence": divergence}


def _mgeval(among: FloatArray, between: FloatArray) -> tuple[float, float]:
    """With SciPy's kernels and quadrature; the divergence on points that both densities share."""
    from scipy import integrate, stats

    p, q = stats.gaussian_kde(among), stats.gaussian_kde(between)
    low, high = min(among.min(), between.min()), max(among.max(), between.max())
    overlap = integrate.quad(lambda x: min(p(x)[0], q(x)[0]), low, high, limit=200)[0]
    points = np.linspace(low, high, 1000)
    return float(overlap), float(stats.entropy(p(points), q(points)))


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
