"""A Score as JSON for the page: columns of numbers, which a roll can be drawn and a piece be played from."""

from __future__ import annotations

from typing import Any

from cadenza.score import NoteArray, Score, bar_lines, estimate_key, instrument_name, seconds_at


def notes_of(score: Score, notes: NoteArray | None = None) -> dict[str, Any]:
    """Notes (all, unless some are given) as columns of ticks, keys and velocities; tempi; metres; the resolution."""
    chosen = score.notes if notes is None else notes
    return {
        "ticks_per_quarter": score.ticks_per_quarter,
        "onset": chosen["onset"].tolist(),
        "duration": chosen["duration"].tolist(),
        "pitch": chosen["pitch"].tolist(),
        "velocity": chosen["velocity"].tolist(),
        "instrument": chosen["instrument"].tolist(),
        "tempi": [[int(tempo["tick"]), float(tempo["qpm"])] for tempo in score.tempi],
        "metres": [[int(m["tick"]), int(m["numerator"]), int(m["denominator"])] for m in score.metres],
    }


def score_of(score: Score) -> dict[str, Any]:
    """All that the page shows of a piece: its notes, bar lines, length, key, and the names of its instruments."""
    return {
        **notes_of(score),
        "bar_lines": bar_lines(score, score.end).tolist(),
        "end": score.end,
        "seconds": float(seconds_at(score, [score.end])[0]),
        "key": estimate_key(score),
        "instruments": {number: instrument_name(number) for number in score.instruments},
    }
