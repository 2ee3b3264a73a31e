"""MIDI files in and out: `read_midi` and `write_midi`, the only place that knows symusic.

Reading keeps what the file says: performed ticks, every instrument, tempo and metre changes. The
sustain pedal lengthens notes, since that is what one hears. What symusic refuses or would misread
is repaired first (see `smf`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import symusic

from cadenza.errors import MidiError
from cadenza.files import write_atomic
from cadenza.score import (
    DEFAULT_QPM,
    DRUM_KIT,
    METRE,
    NOTE,
    TEMPO,
    IntArray,
    NoteArray,
    Score,
    instrument_name,
    sort_notes,
)
from cadenza.smf import needs_repair, repair

MIDI_SUFFIXES = frozenset({".mid", ".midi", ".kar", ".rmi", ".smf"})
MAX_FILE_BYTES = 64 * 1024 * 1024


def read_midi(path: str | Path) -> Score:
    """Read a MIDI file of any format; raises MidiError with one sentence if that is impossible."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise MidiError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB; split the file.")
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise MidiError(f"{path}: cannot be read ({reason}); check the path and its permissions.") from error
    try:
        return parse_midi(data)
    except MidiError as error:
        raise MidiError(f"{path}: {error}") from error


def parse_midi(data: bytes) -> Score:
    """Score from the bytes of a MIDI file; raises MidiError if they are not one."""
    if needs_repair(data):
        data = repair(data)
    try:
        parsed = symusic.Score.from_midi(data)
    except (RuntimeError, ValueError):
        parsed = _parse_repaired(data)
    return _to_score(parsed)


def _parse_repaired(data: bytes) -> Any:
    try:
        return symusic.Score.from_midi(repair(data))
    except (RuntimeError, ValueError) as error:
        raise MidiError("damaged beyond repair; export it again from the program that made it.") from error


def _to_score(parsed: Any) -> Score:
    notes: list[NoteArray] = []
    pedals: dict[int, list[IntArray]] = {}
    for track in parsed.tracks:
        instrument = int(track.program) + (DRUM_KIT if track.is_drum else 0)
        notes.append(_track_notes(track, instrument))
        if len(track.pedals) and not track.is_drum:
            columns = track.pedals.numpy()
            spans = np.stack([columns["time"], columns["time"] + columns["duration"]], axis=1)
            pedals.setdefault(instrument, []).append(spans.astype(np.int64))
    merged = np.concatenate(notes) if notes else np.empty(0, NOTE)
    for instrument, spans_list in pedals.items():
        _sustain(merged, instrument, np.concatenate(spans_list))
    return Score(
        ticks_per_quarter=int(parsed.ticks_per_quarter),
        notes=sort_notes(merged),
        tempi=_tempi(parsed.tempos.numpy()),
        metres=_metres(parsed.time_signatures.numpy()),
    )


def _track_notes(track: Any, instrument: int) -> NoteArray:
    columns = track.notes.numpy()
    notes = np.empty(len(columns["time"]), dtype=NOTE)
    notes["onset"] = columns["time"]
    notes["duration"] = np.maximum(columns["duration"], 1)  # zero-length notes are heard as short ones
    notes["pitch"] = columns["pitch"]
    notes["velocity"] = np.clip(columns["velocity"], 1, 127)
    notes["instrument"] = instrument
    return notes[(columns["time"] >= 0) & (columns["pitch"] >= 0)]


def _sustain(notes: NoteArray, instrument: int, spans: IntArray) -> None:
    """Lengthen, in place, notes that end under a held pedal: to its release or the key's next stroke."""
    chosen = np.flatnonzero(notes["instrument"] == instrument)
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    release = np.maximum.accumulate(spans[:, 1])
    onset = notes["onset"][chosen].astype(np.int64)
    end = onset + notes["duration"][chosen]
    span = np.searchsorted(spans[:, 0], end, side="right") - 1
    held = np.where(span >= 0, release[np.maximum(span, 0)], 0)
    restrike = next_stroke(onset, notes["pitch"][chosen])
    sustained = np.maximum(end, np.minimum(held, restrike))
    notes["duration"][chosen] = np.minimum(sustained - onset, np.iinfo(np.int32).max)


def next_stroke(onset: IntArray, key: IntArray) -> IntArray:
    """For every note (N,) the onset of the next note with the same key; a huge number if none."""
    order = np.lexsort((onset, key))
    following = np.full(len(onset), np.iinfo(np.int64).max)
    same = np.flatnonzero(np.diff(key[order]) == 0)
    following[order[same]] = onset[order[same + 1]]
    return following


def _tempi(columns: dict[str, Any]) -> NoteArray:
    tempi = np.empty(len(columns["time"]), dtype=TEMPO)
    tempi["tick"], tempi["qpm"] = columns["time"], 6e7 / np.maximum(columns["mspq"], 1)
    return _last_at_each_tick(tempi[columns["mspq"] > 0])


def _metres(columns: dict[str, Any]) -> NoteArray:
    metres = np.empty(len(columns["time"]), dtype=METRE)
    metres["tick"] = columns["time"]
    metres["numerator"], metres["denominator"] = columns["numerator"], columns["denominator"]
    valid = (columns["numerator"] > 0) & (columns["denominator"] > 0)
    return _last_at_each_tick(metres[valid])


def _last_at_each_tick(events: NoteArray) -> NoteArray:
    """Events sorted by tick; of several at one tick the last one in the file holds."""
    events = events[np.argsort(events["tick"], kind="stable")]
    return events[np.append(np.diff(events["tick"]) != 0, True)] if len(events) else events


def write_midi(score: Score, path: str | Path) -> None:
    """Write a Standard MIDI File, format 1, one track per instrument (see `midi_bytes`); whole or not at all."""
    write_atomic(Path(path), midi_bytes(score))


def midi_bytes(score: Score) -> bytes:
    """The score as the bytes of a MIDI file.

    A track cannot strike a key that it holds already. So where several players of one instrument share a key, as two
    violins do, the instrument has several tracks.
    """
    parsed = symusic.Score(score.ticks_per_quarter)
    qpm = score.tempi if len(score.tempi) else np.array([(0, DEFAULT_QPM)], dtype=TEMPO)
    for tempo in qpm:
        parsed.tempos.append(symusic.Tempo(int(tempo["tick"]), float(tempo["qpm"])))
    for metre in score.metres:
        if metre["numerator"]:
            parsed.time_signatures.append(
                symusic.TimeSignature(int(metre["tick"]), int(metre["numerator"]), int(metre["denominator"]))
            )
    for instrument in score.instruments:
        notes = score.notes[score.notes["instrument"] == instrument]
        player = _players(notes)
        for n in range(int(player.max(initial=0)) + 1):
            parsed.tracks.append(_to_track(notes[player == n], instrument))
    return bytes(parsed.dumps_midi())


def _players(notes: NoteArray) -> IntArray:
    """For each note (N,) of an instrument the first of its players that does not hold the key: mostly 0."""
    found = np.zeros(len(notes), np.int64)
    onset, pitch = notes["onset"].astype(np.int64), notes["pitch"].astype(np.int64)
    end = onset + notes["duration"]
    if not (next_stroke(onset, pitch) < end).any():
        return found
    free_from: dict[int, list[int]] = {}  # by key, when each player has let go of it
    for n in np.argsort(onset, kind="stable").tolist():
        ends = free_from.setdefault(int(pitch[n]), [])
        found[n] = next((k for k, until in enumerate(ends) if until <= onset[n]), len(ends))
        ends[found[n] : found[n] + 1] = [int(end[n])]
    return found


def _to_track(notes: NoteArray, instrument: int) -> Any:
    track = symusic.Track(
        name=instrument_name(instrument),
        program=instrument % DRUM_KIT,
        is_drum=instrument >= DRUM_KIT,
    )
    track.notes = symusic.Note.from_numpy(
        notes["onset"].astype(np.int32),
        notes["duration"].astype(np.int32),
        notes["pitch"].astype(np.int8),
        notes["velocity"].astype(np.int8),
    )
    return track
