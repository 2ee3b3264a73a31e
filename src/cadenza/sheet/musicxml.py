"""Sheet music as MusicXML 4.0 (W3C), which notation programs and the page's engraver read.

Its lowest octave begins at key 12; keys below it, which hardly anybody hears, are written an octave higher.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree as ET

from cadenza.files import write_atomic
from cadenza.score import Score
from cadenza.sheet.grid import DIVISIONS
from cadenza.sheet.notation import Bar, Clef, Head, Part, Sheet, Voice, Written, notate
from cadenza.sheet.spelling import LOWEST_OCTAVE
from cadenza.version import __version__

HEADER = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 Partwise//EN" '
    '"http://www.musicxml.org/dtds/partwise.dtd">\n'
)
ACCIDENTALS = {-2: "flat-flat", -1: "flat", 0: "natural", 1: "sharp", 2: "double-sharp"}
FORTE = 90  # velocity that MusicXML counts as 100 %
DRUM_CHANNEL = 10
VOICES_OF_STAFF = 4  # numbers of voices that a staff may use


def write_musicxml(score: Score, path: Path) -> None:
    """Write a score as .musicxml, whole or not at all."""
    write_atomic(path, musicxml(score, path.stem))


def musicxml(score: Score, title: str = "") -> str:
    """The sheet music of a score as MusicXML."""
    sheet = notate(score)
    root = ET.Element("score-partwise", version="4.0")
    if title:
        _add(_add(root, "work"), "work-title", title)
    encoding = _add(_add(root, "identification"), "encoding")
    _add(encoding, "software", f"cadenza {__version__}")
    parts = _add(root, "part-list")
    for number, part in enumerate(sheet.parts, 1):
        _declare(parts, part, f"P{number}", number)
    head, tail = _text(root, 0).rsplit("</", 1)
    text = [HEADER, head]
    for number, part in enumerate(sheet.parts, 1):
        measures = (_text(measure, 2) for measure in _measures(part, f"P{number}", sheet))
        text += [f' <part id="P{number}">\n', *(f"  {measure}\n" for measure in measures), " </part>\n"]
    return "".join([*text, "</", tail, "\n"])


def _text(element: ET.Element, level: int) -> str:
    """An element as text; measure by measure, since a piece of them takes ten times the memory of its text."""
    ET.indent(element, " ", level)
    return ET.tostring(element, encoding="unicode")


def _add(parent: ET.Element, name: str, text: object = None, **attributes: str) -> ET.Element:
    """A new child; in names of attributes _ stands for -."""
    child = ET.SubElement(parent, name, {key.replace("_", "-"): value for key, value in attributes.items()})
    if text is not None:
        child.text = "".join(" " if c.isspace() else c if c.isprintable() else "?" for c in str(text))
    return child


# -- parts ----------------------------------------------------------------------------------------


def _declare(parent: ET.Element, part: Part, part_id: str, number: int) -> None:
    """The part in the list of parts, with what it sounds like; every key of a kit is an instrument."""
    score_part = _add(parent, "score-part", id=part_id)
    _add(score_part, "part-name", part.name)
    if part.is_drums:
        keys = sorted({head.key for each in _all(part) for head in each.heads})
        for key in keys:
            instrument = _add(score_part, "score-instrument", id=f"{part_id}-I{key}")
            _add(instrument, "instrument-name", f"{part.name} {key}")
        for key in keys:
            midi = _add(score_part, "midi-instrument", id=f"{part_id}-I{key}")
            _add(midi, "midi-channel", DRUM_CHANNEL)
            _add(midi, "midi-program", part.instrument % 128 + 1)
            _add(midi, "midi-unpitched", key + 1)
        return
    _add(_add(score_part, "score-instrument", id=f"{part_id}-I1"), "instrument-name", part.name)
    midi = _add(score_part, "midi-instrument", id=f"{part_id}-I1")
    channel = (number - 1) % 15
    _add(midi, "midi-channel", channel + 1 if channel < DRUM_CHANNEL - 1 else channel + 2)
    _add(midi, "midi-program", part.instrument + 1)


def _all(part: Part) -> Iterator[Written]:
    for staves in part.bars:
        for voices in staves:
            for voice in voices:
                yield from voice


def _measures(part: Part, part_id: str, sheet: Sheet) -> Iterator[ET.Element]:
    for number, (bar, staves) in enumerate(zip(sheet.bars, part.bars, strict=True), 1):
        measure = ET.Element("measure", number=str(number))
        if bar.is_new:
            _attributes(measure, bar, part, sheet, is_first_bar=number == 1)
        if part is sheet.parts[0]:
            for time, qpm in sheet.tempi:
                if bar.start <= time < bar.end:
                    _tempo(measure, time - bar.start, qpm, bar)
        for time, sign in part.dynamics:
            if time == bar.start:
                _dynamic(measure, sign, len(staves))
        _voices(measure, part, part_id, bar, staves)
        if number == len(sheet.bars):
            _add(_add(measure, "barline", location="right"), "bar-style", "light-heavy")
        yield measure


def _attributes(parent: ET.Element, bar: Bar, part: Part, sheet: Sheet, *, is_first_bar: bool) -> None:
    attributes = _add(parent, "attributes")
    if is_first_bar:
        _add(attributes, "divisions", DIVISIONS)
        if not part.is_drums:
            key = _add(attributes, "key")
            _add(key, "fifths", sheet.fifths)
            _add(key, "mode", "minor" if sheet.is_minor else "major")
    time = _add(attributes, "time", **({"print_object": "no"} if bar.metre.is_free else {}))
    _add(time, "beats", bar.metre.numerator)
    _add(time, "beat-type", bar.metre.denominator)
    if is_first_bar:
        if len(part.clefs) > 1:
            _add(attributes, "staves", len(part.clefs))
        for number, clef in enumerate(part.clefs, 1):
            _clef(attributes, clef, number if len(part.clefs) > 1 else None)


def _clef(parent: ET.Element, clef: Clef, staff: int | None) -> None:
    element = _add(parent, "clef", **({"number": str(staff)} if staff else {}))
    _add(element, "sign", clef.sign)
    _add(element, "line", clef.line)
    if clef.octave:
        _add(element, "clef-octave-change", clef.octave)


def _tempo(parent: ET.Element, offset: int, qpm: float, bar: Bar) -> None:
    """A tempo in the bar's beats."""
    direction = _add(parent, "direction", placement="above")
    metronome = _add(_add(direction, "direction-type"), "metronome", parentheses="no")
    dotted = bar.metre.is_compound and bar.metre.denominator == 8
    _add(metronome, "beat-unit", "quarter")
    if dotted:
        _add(metronome, "beat-unit-dot")
    _add(metronome, "per-minute", round(qpm / 1.5 if dotted else qpm))
    if offset:
        _add(direction, "offset", offset, sound="yes")
    _add(direction, "sound", tempo=f"{qpm:.2f}")


def _dynamic(parent: ET.Element, sign: str, staves: int) -> None:
    direction = _add(parent, "direction", placement="below")
    _add(_add(_add(direction, "direction-type"), "dynamics"), sign)
    if staves > 1:
        _add(direction, "staff", 1)


# -- notes ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """Where a note stands: its part, staff (None if the part has but one), voice and the direction of stems, if given."""

    part_id: str
    is_drums: bool
    staff: int | None
    voice: int
    stem: str


def _voices(
    parent: ET.Element, part: Part, part_id: str, bar: Bar, staves: Sequence[Sequence[Voice]]
) -> None:
    places = [(staff, number) for staff, voices in enumerate(staves) for number in range(len(voices))]
    for n, (staff, number) in enumerate(places):
        if n:
            _add(_add(parent, "backup"), "duration", bar.end - bar.start)
        stem = ("up", "down")[number] if len(staves[staff]) > 1 else ""
        voice = staff * VOICES_OF_STAFF + number + 1
        place = _Place(part_id, part.is_drums, staff + 1 if len(staves) > 1 else None, voice, stem)
        for each in staves[staff][number]:
            if each.heads:
                for index, head in enumerate(each.heads):
                    _note(parent, each, head, place, is_first=index == 0)
            else:
                _rest(parent, each, place)


def _rest(parent: ET.Element, each: Written, place: _Place) -> None:
    note = _add(parent, "note", **({"print_object": "no"} if each.is_hidden else {}))
    _add(note, "rest", **({"measure": "yes"} if each.is_whole_bar else {}))
    _add(note, "duration", each.end - each.start)
    _add(note, "voice", place.voice)
    if not each.is_whole_bar:
        _value(note, each, None)
    if place.staff:
        _add(note, "staff", place.staff)
    _notations(note, each, ())


def _note(parent: ET.Element, each: Written, head: Head, place: _Place, *, is_first: bool) -> None:
    """A note of a chord; the format gives the order of what it is made of."""
    note = _add(parent, "note", dynamics=f"{100 * head.velocity / FORTE:.4g}")
    if not is_first:
        _add(note, "chord")
    _pitch(note, head, place.is_drums)
    _add(note, "duration", each.end - each.start)
    ties = ["stop"] * head.is_tied_from + ["start"] * head.is_tied_on
    for tie in ties:
        _add(note, "tie", type=tie)
    if place.is_drums:
        _add(note, "instrument", id=f"{place.part_id}-I{head.key}")
    _add(note, "voice", place.voice)
    _value(note, each, head.accidental)
    if place.stem:
        _add(note, "stem", place.stem)
    if head.shape:
        _add(note, "notehead", head.shape)
    if place.staff:
        _add(note, "staff", place.staff)
    if is_first:
        for number, beam in enumerate(each.beams, 1):
            _add(note, "beam", beam, number=str(number))
    _notations(note, each if is_first else replace(each, edges=()), ties)


def _pitch(note: ET.Element, head: Head, is_drums: bool) -> None:
    prefix = "display-" if is_drums else ""
    pitch = _add(note, "unpitched" if is_drums else "pitch")
    _add(pitch, f"{prefix}step", head.step)
    if head.alter:
        _add(pitch, "alter", head.alter)
    _add(pitch, f"{prefix}octave", max(head.octave, LOWEST_OCTAVE))


def _value(note: ET.Element, each: Written, accidental: int | None) -> None:
    _add(note, "type", each.value)
    for _ in range(each.dots):
        _add(note, "dot")
    if accidental is not None:
        _add(note, "accidental", ACCIDENTALS[accidental])
    if each.in_triplet:
        modification = _add(note, "time-modification")
        _add(modification, "actual-notes", 3)
        _add(modification, "normal-notes", 2)


def _notations(note: ET.Element, each: Written, ties: Sequence[str]) -> None:
    if not ties and not each.edges:
        return
    notations = _add(note, "notations")
    for tie in ties:
        _add(notations, "tied", type=tie)
    for edge in each.edges:
        _add(notations, "tuplet", type=edge)
