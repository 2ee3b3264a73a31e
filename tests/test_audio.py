"""Sound: pitch, time and loudness as the score has them, whatever plays."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from cadenza.audio import PEAK, SAMPLE_RATE, TAIL_SECONDS, FloatArray, render
from cadenza.cli import main
from cadenza.midi import write_midi
from cadenza.score import DRUM_KIT, TEMPO, Score, make_notes, seconds_at
from music import random_score, tune

TPQ = 480


def _starts(sound: FloatArray) -> list[float]:
    """Seconds at which the sound becomes louder than it was, by blocks of 10 ms."""
    block = SAMPLE_RATE // 100
    energy = np.square(sound[: len(sound) // block * block]).reshape(-1, block * 2).mean(axis=1) + 1e-12
    louder = np.flatnonzero((energy[1:] > 20 * energy[:-1]) & (energy[1:] > 1e-5)) + 1
    return [float(n) / 100 for n in louder]


@pytest.mark.parametrize(("pitch", "hertz"), [(69, 440.0), (57, 220.0), (84, 1046.5)])
def test_a_note_has_its_pitch(pitch: int, hertz: float) -> None:
    sound = render(Score(TPQ, make_notes([0], [4 * TPQ], [pitch])))
    part = sound[SAMPLE_RATE // 5 : SAMPLE_RATE // 5 + 2**16, 0]
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part))))
    peak = np.argmax(spectrum[: int(1.4 * hertz * len(part) / SAMPLE_RATE)]) * SAMPLE_RATE / len(part)
    assert peak == pytest.approx(hertz, rel=0.01)


def test_notes_begin_when_the_tempo_says() -> None:
    notes = make_notes([TPQ, 5 * TPQ], TPQ // 4, [60, 60], 100)
    tempi = np.array([(0, 60.0), (3 * TPQ, 120.0)], dtype=TEMPO)
    assert _starts(render(Score(TPQ, notes, tempi)))[:2] == pytest.approx([1.0, 4.0], abs=0.03)


def test_a_louder_note_is_louder() -> None:
    notes = make_notes([0, 4 * TPQ], TPQ, [60, 60], [40, 110])
    sound = np.abs(render(Score(TPQ, notes)))
    assert sound[: 2 * SAMPLE_RATE].max() < 0.5 * sound[2 * SAMPLE_RATE :].max()


@pytest.mark.parametrize("seed", range(3))
def test_sound_never_clips_and_ends_after_the_last_note(seed: int) -> None:
    score = random_score(seed, 200)
    sound = render(score)
    assert np.isfinite(sound).all() and np.abs(sound).max() == pytest.approx(PEAK, abs=1e-3)
    assert len(sound) / SAMPLE_RATE == pytest.approx(
        float(seconds_at(score, [score.end])[0]) + TAIL_SECONDS, abs=0.01
    )
    assert np.abs(sound[-100:]).max() < 0.1 * np.abs(sound).max()


def test_more_instruments_than_there_are_channels_all_sound() -> None:
    instruments = [*range(0, 100, 5), DRUM_KIT, DRUM_KIT + 8]
    onset = np.arange(len(instruments)) * 4 * TPQ
    sound = render(Score(TPQ, make_notes(onset, 2 * TPQ, 60, 127, instruments)))
    for n in range(len(instruments)):
        part = sound[n * 2 * SAMPLE_RATE : (n * 2 + 1) * SAMPLE_RATE]
        assert np.abs(part).max() > 0.01, instruments[n]


def test_no_notes_are_silence() -> None:
    assert not render(Score(TPQ)).any()


def test_a_file_and_a_folder_are_rendered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for n in range(2):
        write_midi(tune(n, bars=2), tmp_path / "in" / f"{n}.mid")
    assert main(["render", str(tmp_path / "in" / "0.mid"), "--out", str(tmp_path / "x.wav")]) == 0
    assert main(["render", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.count(".wav") == 3
    with wave.open(str(tmp_path / "out" / "1.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, SAMPLE_RATE)
        assert file.getnframes() / SAMPLE_RATE == pytest.approx(4 + TAIL_SECONDS, abs=0.1)
    assert main(["render", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--to", "musicxml"]) == 0
    assert len(list((tmp_path / "out").glob("*.musicxml"))) == 2
    assert (tmp_path / "x.wav").read_bytes() == (tmp_path / "out" / "0.wav").read_bytes()


@pytest.mark.parametrize(
    ("path", "out", "words"),
    [
        ("none.mid", "x.wav", "none.mid"),
        ("none", "x", "none: no such file"),
        ("bad.mid", "x.wav", "bad.mid"),
        ("bad.mid", "x.mp3", "must end in .wav"),
    ],
)
def test_what_cannot_be_rendered_is_told_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str, out: str, words: str
) -> None:
    (tmp_path / "bad.mid").write_bytes(b"no music")
    assert main(["render", str(tmp_path / path), "--out", str(tmp_path / out)]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / out).exists()


def test_without_a_synthesiser_the_command_to_type_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cadenza.audio.find_spec", lambda name: None if name == "midirenderer" else True)
    write_midi(tune(1), tmp_path / "a.mid")
    assert main(["render", str(tmp_path / "a.mid"), "--out", str(tmp_path / "a.wav")]) == 2
    assert "pip install 'cadenza[audio]'" in capsys.readouterr().err
