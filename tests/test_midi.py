"""MIDI files in and out."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import mido
import numpy as np
import pytest

from cadenza.errors import InputError, MidiError
from cadenza.midi import midi_bytes, parse_midi, read_midi, write_midi
from cadenza.score import DRUM_KIT, METRE, TEMPO, Score, make_notes, sort_notes
from music import random_score, tune


def _file(*messages: mido.Message | mido.MetaMessage, ticks_per_beat: int = 480) -> bytes:
    midi = mido.MidiFile(ticks_per_beat=ticks_per_beat)
    midi.tracks.append(mido.MidiTrack(messages))
    out = BytesIO()
    midi.save(file=out)
    return out.getvalue()


def _on(note: int, time: int = 0, velocity: int = 64, channel: int = 0) -> mido.Message:
    return mido.Message("note_on", note=note, velocity=velocity, time=time, channel=channel)


def _pedal(value: int, time: int = 0) -> mido.Message:
    return mido.Message("control_change", control=64, value=value, time=time)


def test_what_is_written_is_read_back() -> None:
    score = tune(3)
    assert parse_midi(midi_bytes(score)) == score


def test_every_instrument_and_the_drums_survive(tmp_path: Path) -> None:
    score = random_score(5, 40, instruments=(0, 7, 40, 73, DRUM_KIT, DRUM_KIT + 40))
    write_midi(score, tmp_path / "a.mid")
    back = read_midi(tmp_path / "a.mid")
    assert back.instruments == score.instruments
    for column in ("onset", "pitch", "instrument"):
        expected = {tuple(n) for n in score.notes[["onset", "pitch", "instrument"]].tolist()}
        assert {tuple(n) for n in back.notes[["onset", "pitch", "instrument"]].tolist()} == expected, column
    np.testing.assert_array_equal(back.metres, score.metres)
    np.testing.assert_allclose(back.tempi["qpm"], score.tempi["qpm"], rtol=1e-5)


def test_another_library_reads_what_we_write() -> None:
    score = tune(4)
    parsed = mido.MidiFile(file=BytesIO(midi_bytes(score)))
    struck = [m for track in parsed.tracks for m in track if m.type == "note_on" and m.velocity > 0]
    assert sorted(m.note for m in struck) == sorted(score.notes["pitch"].tolist())


def test_the_pedal_lengthens_notes_to_its_release() -> None:
    score = parse_midi(_file(_pedal(127), _on(60), _on(60, 100, 0), _pedal(0, 300), _on(62), _on(62, 50, 0)))
    assert score.notes["duration"].tolist() == [400, 50]


def test_the_pedal_does_not_hold_a_key_past_its_next_stroke() -> None:
    score = parse_midi(
        _file(_pedal(127), _on(60), _on(60, 100, 0), _on(60, 100), _on(60, 100, 0), _pedal(0, 500))
    )
    assert score.notes["onset"].tolist() == [0, 200]
    assert score.notes["duration"].tolist() == [200, 600]


def test_a_note_that_is_never_ended_is_kept() -> None:
    score = parse_midi(_file(_on(60), _on(64), _on(64, 480, 0)))
    assert sorted(score.notes["pitch"].tolist()) == [60, 64]


def test_a_key_that_two_players_share_is_kept_for_both() -> None:
    notes = make_notes([0, 100], [400, 50], 60)
    back = parse_midi(midi_bytes(Score(480, notes)))
    assert back.notes["duration"].tolist() == [400, 50]


def test_free_time_is_written_without_a_metre() -> None:
    score = Score(
        480, make_notes([0], 10, 60), np.array([(0, 120.0)], dtype=TEMPO), np.array([(0, 0, 4)], dtype=METRE)
    )
    assert not len(parse_midi(midi_bytes(score)).metres)


def test_notes_are_sorted_by_onset_instrument_and_falling_pitch() -> None:
    notes = make_notes([5, 0, 0, 0], 1, [60, 50, 70, 60], 80, [0, 1, 0, 0])
    assert sort_notes(notes)["pitch"].tolist() == [70, 60, 50, 60]


@pytest.mark.parametrize("content", [b"", b"\0", b"MThd", b"<html>", b"PK\x03\x04" + bytes(100)])
def test_what_is_not_midi_is_refused_in_a_sentence_with_the_path(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.mid"
    path.write_bytes(content)
    with pytest.raises(MidiError, match=r"x\.mid: .+"):
        read_midi(path)


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_midi(tmp_path / "none.mid")


def test_a_folder_that_cannot_be_written_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_midi(tune(0), tmp_path / "file" / "x.mid")
