"""Score: a piece of music as NumPy columns, and the pure operations on it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NOTE = np.dtype(
    [
        ("onset", np.int32),  # ticks from the start of the piece
        ("duration", np.int32),  # ticks, at least 1
        ("pitch", np.int32),  # MIDI key number 0..127, 60 = middle C; for drums the kit's key
        ("velocity", np.int32),  # 1..127
        ("instrument", np.int32),  # 0..127 General MIDI program, 128 + program for a drum kit
    ]
)
TEMPO = np.dtype([("tick", np.int32), ("qpm", np.float64)])  # quarter notes per minute
METRE = np.dtype([("tick", np.int32), ("numerator", np.int32), ("denominator", np.int32)])

DRUM_KIT = 128  # instruments from here on are drum kits
DEFAULT_QPM = 120.0

NoteArray = NDArray[np.void]
IntArray = NDArray[np.int64]

GM_INSTRUMENTS = (
    "piano bright-piano electric-grand honky-tonk electric-piano electric-piano-2 harpsichord clavinet "
    "celesta glockenspiel music-box vibraphone marimba xylophone tubular-bells dulcimer "
    "drawbar-organ percussive-organ rock-organ church-organ reed-organ accordion harmonica bandoneon "
    "nylon-guitar steel-guitar jazz-guitar clean-guitar muted-guitar overdriven-guitar distortion-guitar "
    "guitar-harmonics acoustic-bass fingered-bass picked-bass fretless-bass slap-bass slap-bass-2 "
    "synth-bass synth-bass-2 violin viola cello contrabass tremolo-strings pizzicato-strings harp timpani "
    "strings slow-strings synth-strings synth-strings-2 choir-aahs voice-oohs synth-voice orchestra-hit "
    "trumpet trombone tuba muted-trumpet french-horn brass synth-brass synth-brass-2 "
    "soprano-sax alto-sax tenor-sax baritone-sax oboe english-horn bassoon clarinet "
    "piccolo flute recorder pan-flute bottle shakuhachi whistle ocarina "
    "square-lead saw-lead calliope-lead chiff-lead charang-lead voice-lead fifths-lead bass-lead "
    "new-age-pad warm-pad polysynth-pad choir-pad bowed-pad metallic-pad halo-pad sweep-pad "
    "rain soundtrack crystal atmosphere brightness goblins echoes sci-fi "
    "sitar banjo shamisen koto kalimba bagpipe fiddle shanai "
    "tinkle-bell agogo steel-drums woodblock taiko melodic-tom synth-drum reverse-cymbal "
    "fret-noise breath-noise seashore bird-tweet telephone helicopter applause gunshot"
).split()
DRUM_KITS = {
    0: "drums", 8: "room-drums", 16: "power-drums", 24: "electronic-drums", 25: "808-drums",
    32: "jazz-drums", 40: "brush-drums", 48: "orchestral-drums", 56: "effects-kit",
}  # fmt: skip
PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
# Keys as they are written, with the fewest accidentals.
MAJOR_KEYS = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MINOR_KEYS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B")


def instrument_name(instrument: int) -> str:
    """Name of a General MIDI program (0..127) or drum kit (128 + program)."""
    if instrument < DRUM_KIT:
        return GM_INSTRUMENTS[instrument]
    kit = instrument - DRUM_KIT
    return DRUM_KITS.get(kit, f"drum-kit-{kit}")


def pitch_name(pitch: int) -> str:
    """Scientific pitch name of a MIDI key number: 60 is C4."""
    return f"{PITCH_CLASSES[pitch % 12]}{pitch // 12 - 1}"


def _empty(dtype: np.dtype[Any]) -> NoteArray:
    return np.empty(0, dtype=dtype)


@dataclass(frozen=True, eq=False)
class Score:
    """Notes, tempi and metres of one piece; arrays are never changed in place.

    ticks_per_quarter: resolution of every tick in the score.
    notes:  structured array (N,) of NOTE, sorted by onset, instrument, then pitch from high to low.
    tempi:  structured array of TEMPO, sorted by tick; before the first one 120 quarters a minute hold.
    metres: structured array of METRE, sorted by tick; before the first one 4/4 holds. A numerator
            of 0 says that the music has no metre (a performance in free time).
    """

    ticks_per_quarter: int
    notes: NoteArray = field(default_factory=lambda: _empty(NOTE))
    tempi: NoteArray = field(default_factory=lambda: _empty(TEMPO))
    metres: NoteArray = field(default_factory=lambda: _empty(METRE))

    def __len__(self) -> int:
        return len(self.notes)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Score)
            and self.ticks_per_quarter == other.ticks_per_quarter
            and np.array_equal(self.notes, other.notes)
            and np.array_equal(self.tempi, other.tempi)
            and np.array_equal(self.metres, other.metres)
        )

    @property
    def end(self) -> int:
        """Tick at which the last note ends; 0 without notes."""
        return int((self.notes["onset"] + self.notes["duration"]).max()) if len(self.notes) else 0

    @property
    def instruments(self) -> list[int]:
        """Instruments that play, in ascending order."""
        return [int(i) for i in np.unique(self.notes["instrument"])]

    @property
    def is_free(self) -> bool:
        """Whether the piece has no metre (see `metres`)."""
        return bool(len(self.metres)) and int(self.metres["numerator"][0]) == 0

    def save(self, path: str | Path) -> None:
        """Write as MIDI, sheet music (.musicxml), piano roll (.svg) or sound (.wav), as the suffix of `path` says."""
        from cadenza.export import write_score

        write_score(self, path)


def sort_notes(notes: NoteArray) -> NoteArray:
    """Notes in canonical order: onset, instrument, pitch from high to low, longest first."""
    return notes[canonical_order(notes)]


def canonical_order(notes: NoteArray) -> IntArray:
    """Positions (N,) of the notes in canonical order (see `sort_notes`)."""
    place = (notes["onset"].astype(np.int64) * 512 + notes["instrument"]) * 128 + (127 - notes["pitch"])
    return np.lexsort((-notes["duration"], place))


def make_notes(onset: Any, duration: Any, pitch: Any, velocity: Any = 80, instrument: Any = 0) -> NoteArray:
    """Notes (N,) in canonical order from columns (each (N,) or a scalar)."""
    onset = np.asarray(onset)
    notes = np.empty(len(onset), dtype=NOTE)
    for name, column in zip(NOTE.names or (), (onset, duration, pitch, velocity, instrument), strict=True):
        notes[name] = column
    return sort_notes(notes)


def transpose(score: Score, semitones: int) -> Score:
    """Move every pitched note by `semitones`; drums stay. Raises ValueError if one leaves 0..127."""
    notes = score.notes.copy()
    notes["pitch"] += np.where(notes["instrument"] < DRUM_KIT, semitones, 0).astype(np.int32)
    if len(notes) and not 0 <= notes["pitch"].min() <= notes["pitch"].max() <= 127:
        raise ValueError(f"transposing by {semitones} leaves the range 0..127")
    return replace(score, notes=notes)


def seconds_at(score: Score, ticks: Any) -> NDArray[np.float64]:
    """Time in seconds of each tick (N,) under the score's tempi."""
    start, qpm = score.tempi["tick"].astype(np.float64), score.tempi["qpm"]
    if not len(start) or start[0] > 0:
        start, qpm = np.insert(start, 0, 0.0), np.insert(qpm, 0, DEFAULT_QPM)
    seconds_per_tick = 60.0 / (qpm * score.ticks_per_quarter)
    elapsed = np.concatenate([[0.0], np.cumsum(np.diff(start) * seconds_per_tick[:-1])])
    ticks = np.asarray(ticks, dtype=np.float64)
    segment = np.maximum(np.searchsorted(start, ticks, side="right") - 1, 0)
    return np.asarray(elapsed[segment] + (ticks - start[segment]) * seconds_per_tick[segment])


def bar_ticks(numerator: int, denominator: int, ticks_per_quarter: int) -> int:
    """Length of a bar in ticks, at least 1; without a metre (numerator 0) as in 4/4."""
    if numerator == 0:
        return 4 * ticks_per_quarter
    return max(1, round(4 * ticks_per_quarter * numerator / denominator))


def bar_lines(score: Score, until: int) -> IntArray:
    """Ticks of the bar lines from 0 to the first one at or after `until`; a new metre starts a bar."""
    changes = [
        (int(m["tick"]), bar_ticks(int(m["numerator"]), int(m["denominator"]), score.ticks_per_quarter))
        for m in score.metres
    ]
    if not changes or changes[0][0] > 0:
        changes.insert(0, (0, 4 * score.ticks_per_quarter))
    spans: list[IntArray] = []
    for index, (tick, length) in enumerate(changes):
        last = changes[index + 1][0] if index + 1 < len(changes) else max(until, tick) + length
        spans.append(np.arange(tick, last, length, dtype=np.int64))
    lines = np.concatenate(spans)
    return lines[: int(np.searchsorted(lines, until)) + 1]


def nearest_steps(ticks: NDArray[Any], ticks_per_quarter: int, steps_per_quarter: int) -> IntArray:
    """The nearest grid step of each tick, the later one of two equally near."""
    doubled = 2 * steps_per_quarter * ticks.astype(np.int64) + ticks_per_quarter
    return np.asarray(doubled // (2 * ticks_per_quarter))


def until(score: Score, end: int, early: int = 0) -> Score:
    """What begins before tick `end`, less the notes that come up to `early` ticks before it and belong to it.

    Notes that sound on are cut there.
    """
    notes = score.notes[score.notes["onset"] + early < end].astype(NOTE)
    notes["duration"] = np.minimum(notes["duration"], end - notes["onset"])
    return replace(
        score,
        notes=notes,
        tempi=score.tempi[score.tempi["tick"] < end],
        metres=score.metres[score.metres["tick"] < end],
    )


# Krumhansl and Kessler (1982), probe-tone profiles of a major and a minor key on C.
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


@cache
def key_profiles() -> NDArray[np.float64]:
    """Profiles (24, 12) of the major and minor keys, centred and of length 1."""
    profiles = np.array([np.roll(p, k) for p in (_MAJOR, _MINOR) for k in range(12)])
    centred = profiles - profiles.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.linalg.norm(centred, axis=1, keepdims=True))


def estimate_key(score: Score) -> str:
    """Most likely key, such as "D minor" ("none" without pitched notes): Krumhansl-Schmuckler."""
    pitched = score.notes[score.notes["instrument"] < DRUM_KIT]
    if not len(pitched):
        return "none"
    weight = np.bincount(
        pitched["pitch"] % 12,
        weights=np.minimum(pitched["duration"], 4 * score.ticks_per_quarter),
        minlength=12,
    )
    best = int(np.argmax(key_profiles() @ (weight - weight.mean())))
    return f"{MAJOR_KEYS[best]} major" if best < 12 else f"{MINOR_KEYS[best - 12]} minor"
