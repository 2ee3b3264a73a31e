"""Sound of a Score: its instruments are played by a synthesiser from the bundled soundfont, and mixed.

Each instrument is rendered by itself, so that their number is not bound by the 16 channels of MIDI. The synthesiser
(midirenderer) plays SF2 files; libsndfile (soundfile) decodes the samples of ours.
"""

from __future__ import annotations

import io
import wave
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cadenza.errors import InputError
from cadenza.files import write_atomic
from cadenza.midi import midi_bytes
from cadenza.score import DEFAULT_QPM, TEMPO, Score, seconds_at
from cadenza.soundfont import bundled

SAMPLE_RATE = 48_000  # what the synthesiser gives
TAIL_SECONDS = 1.5  # in which the last notes die away
PEAK = 0.89  # of full scale, 1 dB below it
AUDIO_EXTRA = "pip install 'cadenza[audio]'"

FloatArray = NDArray[np.float32]


def render(score: Score) -> FloatArray:
    """Sound (samples, 2) at 48 kHz, as loud as can be without clipping; raises InputError without its libraries."""
    require_libraries()
    seconds = float(seconds_at(score, [score.end])[0]) + TAIL_SECONDS
    mixed = np.zeros((round(seconds * SAMPLE_RATE), 2), np.float32)
    for instrument in score.instruments:
        notes = score.notes[score.notes["instrument"] == instrument]
        sound = _synthesised(_with_tail(replace(score, notes=notes)), instrument)[: len(mixed)]
        mixed[: len(sound)] += sound
    loudest = float(np.abs(mixed).max(initial=0.0))
    return mixed * np.float32(PEAK / loudest) if loudest else mixed


def write_wav(score: Score, path: Path) -> None:
    """Write the sound as a 16-bit stereo WAV file; whole or not at all."""
    samples = np.rint(render(score) * 32767).astype("<i2")
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.tobytes())
    write_atomic(path, content.getvalue())


def has_libraries() -> bool:
    """Whether sound can be made."""
    return all(find_spec(name) is not None for name in ("midirenderer", "soundfile"))


def require_libraries() -> None:
    """Raise InputError with the command to type unless sound can be made."""
    if not has_libraries():
        raise InputError(f"sound needs a synthesiser; type: {AUDIO_EXTRA}")


def _with_tail(score: Score) -> Score:
    """The score with a tempo, the same as before, so late that the synthesiser goes on until then."""
    qpm = float(score.tempi["qpm"][-1]) if len(score.tempi) else DEFAULT_QPM
    last = max(score.end, int(score.tempi["tick"][-1]) if len(score.tempi) else 0)
    late = last + 1 + round(TAIL_SECONDS * qpm / 60 * score.ticks_per_quarter)
    return replace(score, tempi=np.concatenate([score.tempi, np.array([(late, qpm)], dtype=TEMPO)]))


def _synthesised(score: Score, instrument: int) -> FloatArray:
    """Sound (samples, 2) of a score for one instrument, 1 being full scale."""
    from midirenderer import render_wave_from

    with wave.open(io.BytesIO(render_wave_from(_font(instrument), midi_bytes(score)))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (SAMPLE_RATE, 2, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return samples.reshape(-1, 2).astype(np.float32) / np.float32(32768)


@lru_cache(maxsize=32)
def _font(instrument: int) -> bytes:
    """An SF2 file of one instrument."""
    return bundled().cut([instrument], _decode)


def _decode(stream: bytes) -> NDArray[np.int16]:
    import soundfile

    frames, _ = soundfile.read(io.BytesIO(stream), dtype="int16")
    return frames
