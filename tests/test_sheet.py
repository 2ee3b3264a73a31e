"""Sheet music: what is written is what sounds, bars are full, names fit the key, and other programs read it."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from cadenza.errors import InputError
from cadenza.export import write_score
from cadenza.midi import read_midi
from cadenza.model_folder import bundled_corpus
from cadenza.score import DRUM_KIT, METRE, Score, make_notes
from cadenza.sheet import musicxml, notate
from cadenza.sheet.grid import DIVISIONS, Lines, Tone, lines_of, tones
from cadenza.sheet.notation import IN_TRIPLETS, VALUES, Bar, Metre, Part, Voice, Written, _values
from cadenza.sheet.spelling import STEPS, alter_in, fifths_of, named, spelled
from cadenza.sheet.voices import hands, voices
from music import random_score, tune

# Elements of a note in the order that MusicXML 4.0 asks for.
ORDER = (
    "chord pitch unpitched rest duration tie instrument voice type dot accidental time-modification stem notehead staff "
    "beam notations"
).split()
METRES = [
    (4, 4),
    (3, 4),
    (6, 8),
    (12, 8),
    (5, 4),
    (7, 8),
    (2, 2),
    (7, 16),
    (3, 32),
    (5, 64),
    (0, 4),
    (1, 4),
    (9, 8),
]


def _scores() -> list[Score]:
    """Pieces on the grid and off it, of several instruments, with drums, in usual and in odd metres."""
    found = [tune(1), random_score(1), random_score(2, on_grid=False)]
    for seed, metre in enumerate(METRES):
        score = random_score(seed, on_grid=seed % 2 == 0)
        found.append(Score(480, score.notes, score.tempi, np.array([(0, *metre), (1900, 3, 4)], dtype=METRE)))
    return found


def _piano(*rows: tuple[int, int, int], metre: tuple[int, int] = (4, 4), program: int = 73) -> Score:
    """Notes (onset, duration, pitch) in 24ths of a quarter; for one staff unless the program is a keyboard's."""
    onset, duration, pitch = zip(*rows, strict=True)
    notes = make_notes(onset, duration, pitch, 80, program)
    return Score(DIVISIONS, notes, metres=np.array([(0, *metre)], dtype=METRE))


def _voices_of(part: Part) -> list[Voice]:
    return [voice for staves in part.bars for staff in staves for voice in staff]


def _sounding(part: Part) -> Counter[tuple[int, int]]:
    """Onset and key of every note that is struck."""
    written = [each for voice in _voices_of(part) for each in voice]
    return Counter((w.start, h.key) for w in written for h in w.heads if not h.is_tied_from)


@pytest.mark.parametrize("score", _scores())
def test_bars_are_full_in_every_voice(score: Score) -> None:
    sheet = notate(score)
    assert sheet.bars[0].start == 0
    for bar, after in pairwise(sheet.bars):
        assert bar.end == after.start
    for part in sheet.parts:
        for bar, staves in zip(sheet.bars, part.bars, strict=True):
            for voice in (voice for staff in staves for voice in staff):
                times = [each.start for each in voice] + [voice[-1].end]
                assert times[0] == bar.start and times[-1] == bar.end
                assert [each.end for each in voice] == times[1:]


@pytest.mark.parametrize(
    "path", sorted(bundled_corpus().rglob("*.mid"))[::12], ids=lambda path: path.stem[:20]
)
def test_every_note_of_a_piece_is_written_where_it_sounds(path: Path) -> None:
    score = read_midi(path)
    for part in notate(score).parts:
        notes = score.notes[score.notes["instrument"] == part.instrument]
        struck = {(tone.start, tone.pitch) for tone in tones(notes, lines_of(score))}
        assert set(_sounding(part)) == struck
        on_grid = notes[notes["onset"] * 4 % score.ticks_per_quarter == 0]
        exact = {(int(n["onset"]) * DIVISIONS // score.ticks_per_quarter, int(n["pitch"])) for n in on_grid}
        assert exact <= struck


@pytest.mark.filterwarnings("ignore")  # of drums that it does not know
@pytest.mark.parametrize("score", [*_scores()[:3], read_midi(min(bundled_corpus().rglob("*.mid")))])
def test_music21_reads_the_same_notes(score: Score) -> None:
    music21 = pytest.importorskip("music21", reason="music21 is not installed")
    read = music21.converter.parseData(musicxml(score), format="musicxml")
    theirs = iter(read.parts)
    for part in notate(score).parts:
        own = Counter((w.start, w.end, h.key) for voice in _voices_of(part) for w in voice for h in w.heads)
        found = Counter[tuple[float, float, int]]()
        for _ in part.clefs:
            for note in next(theirs).flatten().getElementsByClass([music21.note.Note, music21.chord.Chord]):
                start = note.offset * DIVISIONS
                end = start + note.quarterLength * DIVISIONS
                found.update(
                    (round(float(start), 3), round(float(end), 3), pitch.midi) for pitch in note.pitches
                )
        assert part.is_drums or found == own


@pytest.mark.parametrize("score", _scores()[:8])
def test_elements_have_the_order_of_the_format_and_ids_are_declared(score: Score) -> None:
    root = ET.fromstring(musicxml(score, 'A & B <"c"> \x00\u202e'))
    assert root.findtext("work/work-title") == 'A & B <"c"> ??'
    declared = {each.get("id") for each in root.iter("score-instrument")}
    for note in root.iter("note"):
        places = [ORDER.index(child.tag) for child in note]
        assert places == sorted(places)
        assert {each.get("id") for each in note.findall("instrument")} <= declared
    for part in root.findall("part"):
        assert [measure.get("number") for measure in part] == [str(n + 1) for n in range(len(part))]


@pytest.mark.parametrize("score", _scores())
def test_values_last_as_long_as_they_say(score: Score) -> None:
    lengths = {value: length for length, value in VALUES.items()}
    in_triplets = {value: length for length, value in IN_TRIPLETS.items()}
    for part in notate(score).parts:
        for each in (each for voice in _voices_of(part) for each in voice if not each.is_whole_bar):
            known = in_triplets if each.in_triplet else lengths
            assert known[each.value, each.dots] == each.end - each.start


def test_ties_join_notes_of_one_pitch() -> None:
    for part in notate(random_score(3)).parts:
        if part.is_drums:
            continue
        open_: Counter[tuple[int, int]] = Counter()
        for each in sorted((w for voice in _voices_of(part) for w in voice), key=lambda w: w.start):
            for head in each.heads:
                if head.is_tied_from:
                    open_[each.start, head.key] -= 1
                if head.is_tied_on:
                    open_[each.end, head.key] += 1
        assert not any(open_.values())


@pytest.mark.parametrize("score", _scores())
def test_beams_and_triplets_end_as_they_begin(score: Score) -> None:
    for part in notate(score).parts:
        for voice in _voices_of(part):
            open_: set[int] = set()
            depth = 0
            for each in voice:
                for level, beam in enumerate(each.beams):
                    assert (level in open_) == (beam in ("continue", "end"))
                    open_ = (
                        open_ | {level} if beam == "begin" else open_ - {level} if beam == "end" else open_
                    )
                depth += each.edges.count("start")
                assert depth == int(each.in_triplet)
                depth -= each.edges.count("stop")
            assert not open_ and depth == 0


# -- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metre", "start", "end", "expected"),
    [
        ((4, 4), 0, 96, "whole"),
        ((4, 4), 0, 36, "quarter."),
        ((4, 4), 12, 36, "quarter"),  # a syncopation within half a bar
        ((4, 4), 24, 72, "half"),
        ((4, 4), 36, 60, "eighth eighth"),  # the middle of the bar is seen
        ((4, 4), 6, 30, "eighth. 16th"),
        ((4, 4), 0, 60, "half eighth"),
        ((4, 4), 12, 96, "quarter. half"),
        ((3, 4), 0, 72, "half."),
        ((3, 4), 24, 72, "half"),
        ((6, 8), 0, 36, "quarter."),
        ((6, 8), 0, 48, "quarter. eighth"),
        ((6, 8), 24, 48, "eighth eighth"),
        ((6, 8), 12, 36, "quarter"),
        ((9, 8), 0, 108, "half. quarter."),
        ((5, 4), 0, 120, "whole quarter"),
        ((2, 2), 0, 96, "whole"),
        ((7, 8), 0, 84, "half. eighth"),
    ],
)
def test_lengths_are_written_so_that_the_beat_is_seen(
    metre: tuple[int, int], start: int, end: int, expected: str
) -> None:
    bar = Bar(0, Metre(*metre).periods[0], Metre(*metre), True)
    found = [f"{value}{'.' * dots}" for _, _, (value, dots), _ in _values(start, end, bar, [], is_rest=False)]
    assert " ".join(found) == expected


def _first_voice(score: Score) -> list[Written]:
    return notate(score).parts[0].bars[0][0][0]


def test_triplets_are_found_in_quarters_halves_and_eighths() -> None:
    def written(*starts: int) -> list[tuple[str, bool]]:
        rows = [(a, b - a, 72) for a, b in zip(starts, [*starts[1:], 96], strict=True)]
        return [(each.value, each.in_triplet) for each in _first_voice(_piano(*rows))]

    assert written(0, 8, 16, 24) == [("eighth", True)] * 3 + [("half", False)]
    assert written(0, 16, 32, 48) == [("quarter", True)] * 3 + [("half", False)]
    assert written(0, 4, 8, 12, 24) == [("16th", True)] * 3 + [("eighth", False), ("half", False)]
    assert written(0, 32, 64) == [("half", True)] * 3
    assert written(0, 64) == [("whole", True), ("half", True)]
    assert written(0, 16, 24, 48) == [
        ("quarter", True),
        ("eighth", True),
        ("quarter", False),
        ("half", False),
    ]


def test_a_short_rest_that_says_nothing_is_left_out() -> None:
    played = [(n * 24, 17, 60 + n) for n in range(4)]
    assert [each.value for each in _first_voice(_piano(*played))] == ["quarter"] * 4
    staccato = [(n * 24, 8, 60 + n) for n in range(4)]
    assert [bool(each.heads) for each in _first_voice(_piano(*staccato))] == [True, False] * 4


# -- staves and voices ----------------------------------------------------------------------------


def test_hands_take_what_they_can_reach() -> None:
    melody = [Tone(n * 24, n * 24 + 24, 72 + n % 5, 80) for n in range(16)]
    bass = [Tone(n * 24, n * 24 + 24, pitch, 80) for n in range(16) for pitch in (52, 48, 43)]
    right, left = hands(sorted(melody + bass, key=lambda tone: (tone.start, -tone.pitch)))
    assert right == melody and Counter(left) == Counter(bass)
    assert hands([]) == ([], [])


def test_a_held_bass_is_the_lower_voice_and_what_moves_the_upper() -> None:
    bass = Tone(0, 96, 48, 80)
    moving = [Tone(24 * n, 24 * n + 24, 60 + n, 80) for n in range(4)]
    upper, lower = voices(
        sorted([bass, *moving], key=lambda tone: (tone.start, -tone.pitch)), Lines([0, 96], DIVISIONS)
    )
    assert [chord.tones for chord in upper] == [(tone,) for tone in moving] and lower[0].tones == (bass,)


def test_a_chord_whose_tones_end_apart_is_cut_where_the_least_is_prolonged() -> None:
    ends = [(72, 24), (67, 96), (64, 96), (60, 96)]
    for order in (ends, [(84 - pitch + 48, end) for pitch, end in reversed(ends)]):
        chord = [Tone(0, end, pitch, 80) for pitch, end in order]
        upper, lower = voices(chord, Lines([0, 96], DIVISIONS))
        assert [*upper[0].tones, *lower[0].tones] == chord


def test_no_voice_sounds_two_chords_at_once() -> None:
    for seed in range(5):
        score = random_score(seed, 200, instruments=(0,))
        lines = lines_of(score)
        for voice in voices(tones(score.notes, lines), lines):
            assert all(one.end <= other.start for one, other in pairwise(voice))


def test_clefs_suit_what_is_played() -> None:
    def clef(program: int, pitch: int) -> tuple[str, int]:
        found = notate(_piano((0, 24, pitch), program=program)).parts[0].clefs[0]
        return found.sign, found.octave

    assert clef(73, 80) == ("G", 0) and clef(42, 40) == ("F", 0) and clef(41, 60) == ("C", 0)
    assert clef(33, 35) == ("F", -1) and clef(25, 50) == ("G", -1)


def test_drums_are_written_by_hands_and_feet() -> None:
    keys = [42, 42, 38, 42, 36, 35]
    notes = make_notes([0, 240, 480, 480, 0, 480], 10, keys, 80, DRUM_KIT)
    part = notate(Score(480, notes)).parts[0]
    above, below = part.bars[0][0]
    assert [[head.key for head in each.heads] for each in above][:3] == [[42], [42], [42, 38]]
    assert [[head.key for head in each.heads] for each in below][:2] == [[36], [35]]
    assert part.clefs[0].sign == "percussion" and above[0].heads[0].shape == "x"


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "fifths"),
    [
        ("C major", 0),
        ("A minor", 0),
        ("F# major", 6),
        ("Eb minor", -6),
        ("G# minor", 5),
        ("Db major", -5),
        ("none", 0),
    ],
)
def test_signatures(key: str, fifths: int) -> None:
    assert fifths_of(key) == fifths


def test_a_name_says_its_pitch() -> None:
    naturals = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
    for place in range(-12, 17):
        for pitch in (p for p in range(128) if p % 12 == 7 * place % 12):
            step, alter, octave = named(place, pitch)
            assert 12 * (octave + 1) + naturals[step] + alter == pitch
    for fifths in range(-7, 8):
        altered = [step for step in STEPS if alter_in(fifths, step)]
        assert altered == (
            list(STEPS[:fifths]) if fifths > 0 else list(STEPS[7 + fifths :]) if fifths else []
        )


def _named(pitches: list[int], key: str) -> str:
    found = [Tone(24 * n, 24 * n + 24, pitch, 80) for n, pitch in enumerate(pitches)]
    places = spelled(found, fifths_of(key), key.endswith("minor"))
    names = (named(place, pitch) for place, pitch in zip(places, pitches, strict=True))
    return " ".join(step + ("#" * alter if alter > 0 else "b" * -alter) for step, alter, _ in names)


@pytest.mark.parametrize(
    ("pitches", "key", "expected"),
    [
        ([60, 62, 64, 65, 67, 69, 71], "C major", "C D E F G A B"),
        ([61, 63, 65, 66, 68, 70, 72], "Db major", "Db Eb F Gb Ab Bb C"),
        ([66, 68, 70, 71, 73, 75, 77], "F# major", "F# G# A# B C# D# E#"),
        ([69, 71, 72, 74, 76, 77, 80, 81], "A minor", "A B C D E F G# A"),
        ([60, 62, 63, 65, 67, 68, 71, 72], "C minor", "C D Eb F G Ab B C"),
        ([67, 66, 67, 64, 63, 64], "C major", "G F# G E D# E"),
        ([66, 68, 69, 71, 73, 74, 77, 78, 77, 78, 79, 78], "F# minor", "F# G# A B C# D E# F# E# F# G F#"),
        ([69, 70, 69, 67], "F major", "A Bb A G"),
        ([62, 61, 62, 66, 69], "D major", "D C# D F# A"),
        ([64, 68, 71, 64, 68, 71], "C major", "E G# B E G# B"),
        ([65, 68, 72, 65, 68, 72], "C major", "F Ab C F Ab C"),
    ],
)
def test_pitches_are_named_as_the_key_and_what_is_near_ask_for(
    pitches: list[int], key: str, expected: str
) -> None:
    assert _named(pitches, key) == expected


def test_an_accidental_is_written_once_in_a_bar() -> None:
    pitches = [60, 66, 67, 65, 66, 66, 67, 64, 60, 62, 64, 67, 72, 67, 64, 60]
    score = _piano(*[(24 * n, 24, pitch) for n, pitch in enumerate(pitches)])
    found = [
        head.accidental
        for voice in _voices_of(notate(score).parts[0])
        for each in voice
        for head in each.heads
    ]
    assert found[:5] == [None, 1, None, 0, 1] and not any(found[5:])


def test_it_is_written_by_its_suffix(tmp_path: Path) -> None:
    write_score(tune(1), tmp_path / "a.musicxml")
    assert (tmp_path / "a.musicxml").read_text().startswith("<?xml")


def test_a_file_that_pretends_to_be_endless_is_refused() -> None:
    with pytest.raises(InputError, match="too many for sheet music"):
        notate(Score(96, make_notes([0x0FFFFFFF], [1], [60])))


def test_a_piece_without_notes_is_one_empty_bar() -> None:
    sheet = notate(Score(480))
    assert len(sheet.bars) == 1
    assert [each.is_whole_bar for part in sheet.parts for voice in _voices_of(part) for each in voice] == [
        True
    ] * 2


def test_keys_below_the_lowest_octave_of_the_format_are_written_an_octave_higher() -> None:
    notes = make_notes([24 * n for n in range(14)], 24, range(14), 80, 43)
    root = ET.fromstring(musicxml(Score(DIVISIONS, notes)))
    octaves = [int(octave.text or "") for octave in root.iter("octave")]
    assert set(octaves) == {0} and len(octaves) == 14


def test_titles_keep_what_can_be_read() -> None:
    text = musicxml(tune(1), "\u3042\u3000\u0007b\u00a0c<")
    assert "<work-title>\u3042 ?b c&lt;</work-title>" in text
