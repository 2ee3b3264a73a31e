"""Small generated pieces and files for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cadenza.events import NoteEvents
from cadenza.filling import SUITED
from cadenza.grammar import NoteGrammar
from cadenza.midi import write_midi
from cadenza.sampling import IntArray
from cadenza.schema import NEVER, NOT_APPLICABLE
from cadenza.score import DRUM_KIT, METRE, TEMPO, Score, make_notes


def random_score(
    seed: int, n_notes: int = 60, *, instruments: tuple[int, ...] = (0, 40, DRUM_KIT), on_grid: bool = True
) -> Score:
    """A piece of random notes with changes of metre and tempo, at 480 ticks a quarter."""
    rng = np.random.default_rng(seed)
    unit = 120 if on_grid else 1
    onset = rng.integers(0, 16 * 480 // unit, n_notes) * unit
    return Score(
        480,
        make_notes(
            onset,
            rng.integers(1, 960 // unit + 1, n_notes) * unit,
            rng.integers(30, 90, n_notes),
            rng.integers(1, 128, n_notes),
            rng.choice(instruments, n_notes),
        ),
        np.array([(0, 100.0), (960, 140.0)], dtype=TEMPO),
        np.array([(0, 3, 4), (3 * 480, 4, 4)], dtype=METRE),
    )


def tune(seed: int, bars: int = 8) -> Score:
    """A simple piece in C: a melody in quarters and eighths over a held bass, 4/4, piano."""
    rng = np.random.default_rng(seed)
    scale = np.array([60, 62, 64, 65, 67, 69, 71, 72])
    onset: list[int] = []
    duration: list[int] = []
    pitch: list[int] = []
    for bar in range(bars):
        start = bar * 4 * 480
        onset.append(start)
        duration.append(4 * 480)
        pitch.append(int(rng.choice([36, 41, 43])))
        at = 0
        while at < 4 * 480:
            length = int(rng.choice([240, 480]))
            onset.append(start + at)
            duration.append(min(length, 4 * 480 - at))
            pitch.append(int(rng.choice(scale)))
            at += length
    notes = make_notes(onset, duration, pitch, 80)
    return Score(480, notes, np.array([(0, 120.0)], dtype=TEMPO), np.array([(0, 4, 4)], dtype=METRE))


def write_folder(folder: Path, n: int = 6, bars: int = 8, first: int = 0) -> Path:
    """A folder of `n` tunes, in two styles."""
    for index in range(first, first + n):
        write_midi(tune(index, bars), folder / ("plain" if index % 2 else "other") / f"tune_{index}.mid")
    return folder


def drawn(grammar: NoteGrammar, representation: NoteEvents, seed: int) -> IntArray:
    """Events (T, fields) drawn as a network does to which all is alike."""
    rng, rows = np.random.default_rng(seed), []
    while not grammar.done:
        event, context = [NOT_APPLICABLE] * len(representation.schema.fields), grammar.no_context()
        for k in range(len(event)):
            bias = grammar.bias(k, event)
            if bias is not None:
                share = np.exp(bias.astype(np.float64))
                event[k] = grammar.taken(k, int(rng.choice(len(share), p=share / share.sum())))
            grammar.fill_context(k, event, context)
        grammar.advance(event)
        rows.append(event)
    return np.array(rows)


def improvise(grammar: NoteGrammar, representation: NoteEvents, seed: int) -> IntArray:
    """Events (T, fields) drawn evenly from all that the grammar allows: the worst network there is."""
    rng = np.random.default_rng(seed)
    rows = []
    while not grammar.done:
        event = [NOT_APPLICABLE] * len(representation.schema.fields)
        for k, field in enumerate(representation.schema.fields):
            bias = grammar.bias(k, event)
            if bias is not None:
                assert bias.shape == (field.size,)
                assert set(np.unique(bias)) <= {0, np.float32(SUITED), np.float32(NEVER)}
                able = np.flatnonzero(bias >= 0)
                assert len(able), f"nothing may follow in field {k}"
                event[k] = grammar.taken(k, int(rng.choice(able)))
        grammar.advance(event)
        rows.append(event)
    return np.array(rows)
