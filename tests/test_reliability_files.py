"""Files from strangers: damaged at random, cut anywhere, endless or enormous, each is a score or refused in a sentence."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import mido
import numpy as np
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st

from cadenza.corpus import examine
from cadenza.errors import InputError, MidiError
from cadenza.events import NoteEvents
from cadenza.grammar import NoteGrammar
from cadenza.midi import midi_bytes, parse_midi, write_midi
from cadenza.repertoire import Repertoire
from cadenza.score import Score, make_notes
from cadenza.sheet import musicxml
from cadenza.web.uploads import unpacked
from music import improvise, random_score, tune
from smf_bytes import at, note, smf, track

FOUND = Path(__file__).with_name("found")
CASES = 2_000  # of the 100,000 that `make nightly` tries


def test_pieces_damaged_at_random_are_read_or_refused(tmp_path: Path) -> None:
    script = Path(__file__).with_name("mutations.py")
    command = [sys.executable, str(script), "--cases", str(CASES), "--folder", str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr[-4000:]


def test_every_beginning_of_a_file_is_read_or_refused() -> None:
    data = midi_bytes(random_score(3, 30))
    read = [_notes_in(data[:size]) for size in range(len(data) + 1)]
    assert read[-1] == 30 and max(read) == 30
    assert read[:14] == [0] * 14


def _notes_in(data: bytes) -> int:
    try:
        return len(parse_midi(data))
    except MidiError:
        return 0


def test_a_million_notes_are_too_many_and_said_to_be(tmp_path: Path) -> None:
    """As in "black MIDI"."""
    notes = make_notes(np.arange(1_000_000) // 8, 1, np.arange(1_000_000) % 88 + 20)
    write_midi(Score(480, notes), tmp_path / "black.mid")
    facts = examine(tmp_path / "black.mid").facts
    assert facts["verdict"] == "too long" and "1000000 notes" in facts["reason"].replace(",", "")


def test_times_without_end_take_no_memory_of_their_length(tmp_path: Path) -> None:
    """Of a note that comes after a thousand hours, and of one that never ends."""
    late = track(*(note() for _ in range(20)), at(0x0FFFFFFF, 0x90, 60, 80), at(0x0FFFFFFF, 0x90, 61, 80))
    (tmp_path / "late.mid").write_bytes(smf(late, division=24))
    assert examine(tmp_path / "late.mid").facts["verdict"] == "too long"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.booleans())
def test_whatever_can_be_drawn_other_programs_read(seed: int, bars: int, microtiming: bool) -> None:
    notes = NoteEvents(microtiming=microtiming)
    repertoire = Repertoire.of([notes.encode(tune(1)), notes.encode(random_score(seed % 7))], notes)
    events = improvise(NoteGrammar(notes, repertoire, bars), notes, seed)
    score = notes.decode(events)
    np.testing.assert_array_equal(notes.decode(notes.encode(score)).notes, score.notes)
    data = midi_bytes(score)
    assert parse_midi(data).notes.tolist() == score.notes.tolist()
    by_symusic = sum(len(part.notes) for part in symusic.Score.from_midi(data).tracks)
    file = mido.MidiFile(file=io.BytesIO(data))
    by_mido = sum(m.type == "note_on" and m.velocity > 0 for part in file.tracks for m in part)
    assert by_symusic == by_mido == len(score)


@pytest.mark.parametrize("path", sorted(FOUND.iterdir()), ids=lambda path: path.name)
def test_what_fuzzing_found_is_mended(path: Path, tmp_path: Path) -> None:
    """Each file's name begins with what reads it (see `tools/fuzz.py`)."""
    if path.name.startswith("zip-"):
        with suppress(InputError):
            list(unpacked("music.zip", io.BytesIO(path.read_bytes())))
    else:
        (tmp_path / "case.mid").write_bytes(path.read_bytes())
        examine(tmp_path / "case.mid")


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "a\r\nb", "\x00\x1b[31m", "\u202egpj", "x" * 9999]
)
def test_titles_of_strangers_do_no_harm(name: str) -> None:
    text = musicxml(tune(1, bars=1), name)
    assert "<script" not in text and "\x1b" not in text and "\x00" not in text and "\r" not in text
