"""A Score as sheet music: bars, parts, staves and voices of written notes and rests, in no format yet.

grid: times that can be written -> voices: hands and voices -> spelling: names -> here: values, ties, triplets, beams
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, pairwise

from cadenza.errors import InputError
from cadenza.score import DRUM_KIT, Score, estimate_key, instrument_name
from cadenza.sheet.drums import FEET, place_of
from cadenza.sheet.grid import DIVISIONS, EIGHTH, UNIT, Lines, Tone, lines_of, tones
from cadenza.sheet.spelling import alter_in, fifths_of, named, spelled
from cadenza.sheet.voices import Chord, hands, voices

# Lengths in 24ths of a quarter, as value and number of dots.
VALUES = {
    192: ("breve", 0),
    144: ("whole", 1),
    96: ("whole", 0),
    72: ("half", 1),
    48: ("half", 0),
    36: ("quarter", 1),
    24: ("quarter", 0),
    18: ("eighth", 1),
    12: ("eighth", 0),
    9: ("16th", 1),
    6: ("16th", 0),
    3: ("32nd", 0),
}
IN_TRIPLETS = {
    64: ("whole", 0),
    48: ("half", 1),
    32: ("half", 0),
    16: ("quarter", 0),
    12: ("eighth", 1),
    8: ("eighth", 0),
    4: ("16th", 0),
}
FLAGS = {"eighth": 1, "16th": 2, "32nd": 3}
PIANO = 0
GRAND_STAFF = {*range(8), *range(16, 22), 46}  # pianos, organs, accordions, harp
# Families of eight programs from the top of a score to its bottom: winds, brass, mallets, synthesisers and the rest,
# choirs, guitars, keyboards, strings, basses.
FAMILIES = (9, 8, 7, 1, 10, 11, 12, 13, 14, 15, 6, 3, 0, 2, 5, 4)
DYNAMICS = {33: "pp", 49: "p", 64: "mp", 80: "mf", 96: "f", 112: "ff"}  # by velocity
# By so much the mean velocity of so long a time has to differ from what is written, for another sign.
DYNAMICS_CHANGE, DYNAMICS_SPAN = 14, 8 * DIVISIONS
UNUSUAL = 2.0  # times as many ledger lines as another clef has the usual one before it gives way
TEMPO_CHANGE = 0.08
MAX_WRITTEN = 200_000


@dataclass(frozen=True)
class Clef:
    """Sign and line of a clef, octaves by which it transposes, and the lowest and highest keys that it suits."""

    sign: str
    line: int
    octave: int = 0
    suits: tuple[int, int] = (0, 127)


TREBLE, BASS = Clef("G", 2, suits=(60, 81)), Clef("F", 4, suits=(40, 60))
ALTO, GUITAR, LOW_BASS = Clef("C", 3, suits=(50, 72)), Clef("G", 2, -1, (48, 69)), Clef("F", 4, -1, (28, 48))
PERCUSSION = Clef("percussion", 2)
CLEFS = {
    41: (ALTO, TREBLE),
    **dict.fromkeys(range(24, 32), (GUITAR,)),
    **dict.fromkeys((*range(32, 40), 43), (LOW_BASS,)),
}


@dataclass(frozen=True)
class Metre:
    """A time signature; `beat` and the places where beats begin are in 24ths of a quarter."""

    numerator: int
    denominator: int
    is_free: bool = False  # there is none; bars are of 4/4

    @property
    def is_compound(self) -> bool:
        """Whether a beat has three parts."""
        return (
            self.numerator % 3 == 0 and (self.numerator > 3 or self.denominator > 4) and self.denominator >= 8
        )

    @property
    def unit(self) -> int:
        """Length of what the denominator names, of which a 32nd is the shortest that is written."""
        return max(UNIT, 4 * DIVISIONS // self.denominator)

    @property
    def beat(self) -> int:
        """Length of a beat."""
        return 3 * self.unit if self.is_compound else self.unit

    @cached_property
    def periods(self) -> tuple[int, ...]:
        """Distances of places in a bar that are alike, those of the strongest first."""
        bar = self.numerator * self.unit
        beats = bar // self.beat
        half = (bar // 2,) if beats % 2 == 0 and beats > 2 else ()
        found = [bar, *half, self.beat]
        part = self.beat // 3 if self.is_compound else self.beat // 2
        while part >= 3:
            found.append(part)
            part //= 2
        return tuple(found)


@dataclass(frozen=True)
class Bar:
    """A bar between two times; `is_new` says that its metre is to be written."""

    start: int
    end: int
    metre: Metre
    is_new: bool


@dataclass(frozen=True)
class Head:
    """A note of a chord as it is written: pitch (of drums the place in the staff) and the key that sounds."""

    key: int
    velocity: int
    step: str
    alter: int
    octave: int
    is_tied_from: bool = False
    is_tied_on: bool = False
    accidental: int | None = None  # to be written
    shape: str = ""  # of a drum's head, if not the usual one


@dataclass(frozen=True)
class Written:
    """A chord or, without heads, a rest."""

    start: int
    end: int
    value: str
    dots: int = 0
    heads: tuple[Head, ...] = ()
    in_triplet: bool = False
    edges: tuple[str, ...] = ()  # "start" and "stop" of a triplet
    beams: tuple[str, ...] = ()  # for each flag "begin", "continue", "end" or a hook
    is_hidden: bool = False
    is_whole_bar: bool = False  # a rest


Voice = list[Written]
Dynamic = tuple[int, str]  # time, sign


@dataclass(frozen=True)
class Part:
    """What one instrument plays: for every bar, staff and voice the written notes."""

    instrument: int
    clefs: tuple[Clef, ...]
    bars: list[list[list[Voice]]]
    dynamics: list[Dynamic]

    @property
    def name(self) -> str:
        """Name of the instrument."""
        return instrument_name(self.instrument).replace("-", " ").capitalize()

    @property
    def is_drums(self) -> bool:
        """Whether its notes have no pitch."""
        return self.instrument >= DRUM_KIT


@dataclass(frozen=True)
class Sheet:
    """Sheet music. Times are in 24ths of a quarter; tempi are (time, quarters a minute)."""

    fifths: int
    is_minor: bool
    bars: list[Bar]
    parts: list[Part]
    tempi: list[tuple[int, float]]


def notate(score: Score) -> Sheet:
    """The sheet music of a score."""
    key = estimate_key(score)
    fifths, is_minor = fifths_of(key), key.endswith("minor")
    lines = lines_of(score)
    staves = {
        instrument: _staves(score, instrument, lines)
        for instrument in sorted(score.instruments, key=_rank) or [PIANO]
    }
    names = _names(
        [staff for instrument in staves if instrument < DRUM_KIT for staff in staves[instrument]],
        fifths,
        is_minor,
    )
    ends = [chord.end for part in staves.values() for staff in part for voice in staff for chord in voice]
    bars = _bars(score, lines, max(ends, default=0))
    _limit([staff for part in staves.values() for staff in part], bars)
    parts = []
    for instrument, found in staves.items():
        clefs = _clefs(instrument, found)
        own = names if instrument < DRUM_KIT else None
        written = [_staff(staff, bars, own, fifths) for staff in found]
        of_bars = [[staff[n] for staff in written] for n in range(len(bars))]
        parts.append(Part(instrument, clefs, of_bars, _dynamics(found, bars)))
    return Sheet(fifths, is_minor, bars, parts, _tempi(score, lines))


def _limit(staves: Sequence[Sequence[Sequence[Chord]]], bars: Sequence[Bar]) -> None:
    """Raise InputError for more notes and rests than anybody reads; a note counts in every bar in which it sounds."""
    starts = [bar.start for bar in bars]
    chords = [chord for staff in staves for voice in staff for chord in voice]
    sounding = (bisect_left(starts, each.end) - bisect_right(starts, each.start) + 1 for each in chords)
    heads = (len(chord.tones) * n for chord, n in zip(chords, sounding, strict=True))
    if len(staves) * len(bars) + sum(heads) > MAX_WRITTEN:
        raise InputError(
            f"sheet music would have more than {MAX_WRITTEN:,} notes and rests; split the piece or take tracks out."
        )


def _rank(instrument: int) -> int:
    """Where an instrument stands in a score: winds above, drums below."""
    return FAMILIES.index(instrument // 8) if instrument < DRUM_KIT else len(FAMILIES)


def _staves(score: Score, instrument: int, lines: Lines) -> list[list[list[Chord]]]:
    """The voices of every staff of an instrument, the upper staff first."""
    notes = score.notes[score.notes["instrument"] == instrument]
    if instrument >= DRUM_KIT:
        return [_drum_voices(tones(notes, lines), lines)]
    found = tones(notes, lines)
    if instrument not in GRAND_STAFF:
        return [voices(found, lines)]
    return [voices(hand, lines) for hand in hands(found)]


def _drum_voices(found: Sequence[Tone], lines: Lines) -> list[list[Chord]]:
    """What hands play, and what feet do; a stroke lasts until the next, at most to the next beat."""
    parts = [[t for t in found if t.pitch not in FEET], [t for t in found if t.pitch in FEET]]
    made = []
    for part in filter(None, parts):
        groups = [list(group) for _, group in groupby(part, key=lambda tone: tone.start)]
        nexts = [group[0].start for group in groups[1:]] + [groups[-1][0].start + DIVISIONS]
        voice = []
        for group, following in zip(groups, nexts, strict=True):
            voice.append(Chord.of(group, min(following, lines.part(group[0].start, DIVISIONS)[1])))
        made.append(voice)
    return made


def _bars(score: Score, lines: Lines, end: int) -> list[Bar]:
    """The bars up to a time, at least one."""
    found: list[Bar] = []
    for tick, (start, stop) in zip(lines.ticks, pairwise(lines.times), strict=False):
        if start < max(1, end):
            metre = _metre_at(score, tick)
            found.append(Bar(start, stop, metre, not found or metre != found[-1].metre))
    return found


def _metre_at(score: Score, tick: int) -> Metre:
    before = score.metres[score.metres["tick"] <= tick]
    if not len(before):
        return Metre(4, 4)
    numerator, denominator = int(before["numerator"][-1]), int(before["denominator"][-1])
    return Metre(numerator, denominator) if numerator else Metre(4, 4, is_free=True)


def _tempi(score: Score, lines: Lines) -> list[tuple[int, float]]:
    """Tempi that differ from those written before."""
    found: list[tuple[int, float]] = []
    for tempo in score.tempi:
        time, qpm = round(lines.time(int(tempo["tick"]))), float(tempo["qpm"])
        if not found or abs(qpm / found[-1][1] - 1) > TEMPO_CHANGE:
            found.append((time, qpm))
    return found


def _clefs(instrument: int, staves: Sequence[Sequence[Sequence[Chord]]]) -> tuple[Clef, ...]:
    if instrument >= DRUM_KIT:
        return (PERCUSSION,)
    usual = (TREBLE, BASS)
    found = []
    for number, staff in enumerate(staves):
        keys = [tone.pitch for voice in staff for chord in voice for tone in chord.tones]
        choices = CLEFS.get(instrument, usual if number == 0 else usual[::-1])
        costs = [sum(_outside(key, clef) for key in keys) for clef in choices]
        found.append(
            choices[0]
            if costs[0] < UNUSUAL * min(costs) or costs[0] == 0
            else choices[costs.index(min(costs))]
        )
    return tuple(found)


def _outside(key: int, clef: Clef) -> int:
    low, high = clef.suits
    return max(0, low - key, key - high)


def _dynamics(staves: Sequence[Sequence[Sequence[Chord]]], bars: Sequence[Bar]) -> list[Dynamic]:
    """How loud a part is, at the first bar in which it plays and where that changes."""
    strokes = sorted(
        (c.start, t.velocity) for staff in staves for voice in staff for c in voice for t in c.tones
    )
    times = [time for time, _ in strokes]
    found: list[Dynamic] = []
    written: int | None = None
    for bar in bars:
        if bisect_left(times, bar.start) == bisect_left(times, bar.end):
            continue
        some = strokes[
            bisect_left(times, bar.start) : bisect_left(times, max(bar.end, bar.start + DYNAMICS_SPAN))
        ]
        mean = sum(velocity for _, velocity in some) / len(some)
        if written is None or abs(mean - written) > DYNAMICS_CHANGE:
            written = min(DYNAMICS, key=lambda level: abs(level - mean))
            found.append((bar.start, DYNAMICS[written]))
    return found


# -- one staff ------------------------------------------------------------------------------------


def _staff(
    staff: Sequence[Sequence[Chord]], bars: Sequence[Bar], names: dict[Tone, int] | None, fifths: int
) -> list[list[Voice]]:
    """For every bar the voices of a staff, of which the first is always there; drums have no names."""
    upper, lower = _tidied(staff, bars)
    found = []
    for bar in bars:
        both = [_voice(upper, bar, names, is_first=True)]
        if bar.start in lower:
            both.append(_voice(lower, bar, names, is_first=False))
        found.append(both if names is None else _with_accidentals(both, fifths))
    return found


def _names(staves: Sequence[Sequence[Sequence[Chord]]], fifths: int, is_minor: bool) -> dict[Tone, int]:
    """The place of every tone on the line of fifths."""
    found = {tone for staff in staves for voice in staff for chord in voice for tone in chord.tones}
    order = sorted(found, key=lambda tone: (tone.start, tone.pitch, tone.end, tone.velocity))
    return dict(zip(order, spelled(order, fifths, is_minor), strict=True))


def _tidied(
    staff: Sequence[Sequence[Chord]], bars: Sequence[Bar]
) -> tuple[dict[int, list[Chord]], dict[int, list[Chord]]]:
    """Chords of the first and the second voice that sound in the bar that begins at a time.

    Where the first is silent, it takes what the second has, unless that is tied to other bars.
    """
    upper, lower = ([_in_bars(voice, bars) for voice in staff] + [{}, {}])[:2]
    for bar in bars:
        alone = lower.get(bar.start, [])
        fit = all(bar.start <= chord.start and chord.end <= bar.end for chord in alone)
        if alone and fit and bar.start not in upper:
            upper[bar.start] = lower.pop(bar.start)
    return upper, lower


def _in_bars(voice: Sequence[Chord], bars: Sequence[Bar]) -> dict[int, list[Chord]]:
    found: dict[int, list[Chord]] = {}
    at = 0
    for chord in voice:
        while bars[at].end <= chord.start:
            at += 1
        n = at
        while n < len(bars) and bars[n].start < chord.end:
            found.setdefault(bars[n].start, []).append(chord)
            n += 1
    return found


def _voice(of_bars: dict[int, list[Chord]], bar: Bar, names: dict[Tone, int] | None, is_first: bool) -> Voice:
    """The notes and rests of a voice in a bar."""
    chords = of_bars.get(bar.start, [])
    if not chords:
        return [Written(bar.start, bar.end, "whole", is_whole_bar=True)]
    spans = _triplets(chords, bar)
    found: Voice = []
    at = bar.start
    for chord in chords:
        start, end = max(chord.start, bar.start), min(chord.end, bar.end)
        found += _rests(at, start, bar, spans, is_hidden=not is_first)
        found += _notes(chord, start, end, bar, spans, names)
        at = end
    found += _rests(at, bar.end, bar, spans, is_hidden=not is_first)
    return _with_beams(_with_edges(found, spans), bar)


def _notes(
    chord: Chord,
    start: int,
    end: int,
    bar: Bar,
    spans: Sequence[tuple[int, int]],
    names: dict[Tone, int] | None,
) -> Iterator[Written]:
    """A chord between two times of a bar, as tied notes where it takes several; drums are struck but once."""
    for first, last, (value, dots), in_triplet in _values(start, end, bar, spans, is_rest=False):
        if names is None:
            struck = tuple(_head(tone, names) for tone in chord.tones) if first == chord.start else ()
            yield Written(first, last, value, dots, struck, in_triplet)
            continue
        heads = tuple(
            replace(_head(tone, names), is_tied_from=first > chord.start, is_tied_on=last < chord.end)
            for tone in chord.tones
        )
        yield Written(first, last, value, dots, heads, in_triplet)


def _head(tone: Tone, names: dict[Tone, int] | None) -> Head:
    if names is None:
        step, octave, shape = place_of(tone.pitch)
        return Head(tone.pitch, tone.velocity, step, 0, octave, shape=shape)
    step, alter, octave = named(names[tone], tone.pitch)
    return Head(tone.pitch, tone.velocity, step, alter, octave)


def _rests(
    start: int, end: int, bar: Bar, spans: Sequence[tuple[int, int]], *, is_hidden: bool
) -> Iterator[Written]:
    for first, last, (value, dots), in_triplet in _values(start, end, bar, spans, is_rest=True):
        yield Written(first, last, value, dots, (), in_triplet, is_hidden=is_hidden)


# -- values ---------------------------------------------------------------------------------------

Value = tuple[int, int, tuple[str, int], bool]  # from, to, value and dots, whether in a triplet


def _values(
    start: int, end: int, bar: Bar, spans: Sequence[tuple[int, int]], *, is_rest: bool
) -> Iterator[Value]:
    """Values that together last from start to end, cut where triplets begin and end and where beats should be seen."""
    edges = sorted({start, end, *(edge for span in spans for edge in span if start < edge < end)})
    for first, last in pairwise(edges):
        if any(span[0] <= first and last <= span[1] for span in spans):
            yield from ((a, b, _nearest(b - a, IN_TRIPLETS), True) for a, b in _cut_in_triplet(first, last))
        else:
            parts = _cut(first - bar.start, last - bar.start, bar.metre, is_rest)
            yield from ((bar.start + a, bar.start + b, _nearest(b - a, VALUES), False) for a, b in parts)


def _nearest(length: int, values: dict[int, tuple[str, int]]) -> tuple[str, int]:
    """The value of a length; off the grid, as at the end of a bar of 64ths, the nearest."""
    return values[min(values, key=lambda value: abs(value - length))]


def _cut_in_triplet(start: int, end: int) -> list[tuple[int, int]]:
    shorter = [start + length for length in IN_TRIPLETS if start + length < end]
    if end - start in IN_TRIPLETS or not shorter:
        return [(start, end)]
    return [(start, shorter[0]), *_cut_in_triplet(shorter[0], end)]


def _cut(start: int, end: int, metre: Metre, is_rest: bool) -> list[tuple[int, int]]:
    """Times within a bar, cut at the strongest places until every part is one value that does not hide the beat."""
    if _is_readable(start, end, metre, is_rest):
        return [(start, end)]
    for period in metre.periods:
        inside = range(start // period * period + period, end, period)
        if len(inside):
            wholes = [at for at in reversed(inside) if _is_readable(start, at, metre, is_rest)]
            middle = wholes[0] if wholes else inside[0]
            return [*_cut(start, middle, metre, is_rest), *_cut(middle, end, metre, is_rest)]
    return [(start, end)]


def _is_readable(start: int, end: int, metre: Metre, is_rest: bool) -> bool:
    length = end - start
    if length not in VALUES:
        return False
    inside, first, last = (
        _strength(metre, *span) for span in ((start + 1, end), (start, start + 1), (end, end + 1))
    )
    is_plain = VALUES[length][1] == 0
    if metre.is_compound and length > metre.unit:
        on_beats = start % metre.beat == 0 and end % metre.beat == 0
        within = start // metre.beat == (end - 1) // metre.beat
        return on_beats or (within and not (is_rest and start % metre.beat))
    if is_rest:
        return is_plain and start % length == 0
    if inside >= min(first, last):
        return True
    syncopated = inside == min(first, last) - 1 and length <= metre.periods[inside]
    return is_plain and syncopated


def _strength(metre: Metre, start: int, end: int) -> int:
    """The strongest place from start on and before end: 0 is a bar line; past all there are if none."""
    for strength, period in enumerate(metre.periods):
        if -(-start // period) * period < end:
            return strength
    return len(metre.periods)


# -- triplets, beams, accidentals -----------------------------------------------------------------


def _triplets(chords: Sequence[Chord], bar: Bar) -> list[tuple[int, int]]:
    """Spans of triplets in a bar: four quarters, two, one, or an eighth that is divided by three."""
    edges = {time for chord in chords for time in (chord.start, chord.end) if bar.start < time < bar.end}
    odd = {time for time in edges if (time - bar.start) % 3}
    widths = () if bar.metre.is_compound else (4 * DIVISIONS, 2 * DIVISIONS, DIVISIONS)
    found: list[tuple[int, int]] = []
    while odd:
        at = min(odd)
        fitting = (width for width in widths if _fits(at - bar.start, width, edges, bar))
        width = next(fitting, EIGHTH)
        start = bar.start + (at - bar.start) // width * width
        found.append((start, min(start + width, bar.end)))
        odd = {time for time in odd if time >= start + width}
    return found


def _fits(place: int, width: int, edges: set[int], bar: Bar) -> bool:
    """Whether all that begins and ends in the span of this width around a place lies on thirds of it or, but for its
    middle, of its halves."""
    start = bar.start + place // width * width
    inside = {time - start for time in edges if start < time < start + width}
    unit = 4 if width == DIVISIONS else width // 3
    return start + width <= bar.end and all(time % unit == 0 and 2 * time != width for time in inside)


def _with_edges(voice: Voice, spans: Sequence[tuple[int, int]]) -> Voice:
    """Triplets begin and end where their spans do."""
    starts, ends = {span[0] for span in spans}, {span[1] for span in spans}
    found = []
    for each in voice:
        edges = ("start",) * (each.start in starts) + ("stop",) * (each.end in ends)
        found.append(replace(each, edges=edges) if each.in_triplet else each)
    return found


def _with_beams(voice: Voice, bar: Bar) -> Voice:
    """Beams join what is shorter than a quarter within a beat."""
    beat = bar.metre.beat if bar.metre.is_compound else max(bar.metre.beat, DIVISIONS)
    found: Voice = []
    for _, group in groupby(voice, key=lambda each: ((each.start - bar.start) // beat, _flags(each) > 0)):
        members = list(group)
        found += _beamed(members) if len(members) > 1 and _flags(members[0]) else members
    return found


def _flags(each: Written) -> int:
    return FLAGS.get(each.value, 0) if each.heads else 0


def _beamed(group: Voice) -> Voice:
    flags = [0, *(_flags(each) for each in group), 0]
    found = []
    for n, each in enumerate(group, 1):
        beams = []
        for level in range(1, flags[n] + 1):
            before, after = flags[n - 1] >= level, flags[n + 1] >= level
            hook = (
                "backward hook"
                if n > 1 and (n == len(group) or flags[n - 1] >= flags[n + 1])
                else "forward hook"
            )
            joined = {(True, True): "continue", (True, False): "end", (False, True): "begin"}
            beams.append(joined.get((before, after), hook))
        found.append(replace(each, beams=tuple(beams)))
    return found


def _with_accidentals(both: list[Voice], fifths: int) -> list[Voice]:
    """Accidentals where a note is altered otherwise than the signature, or the last one of its line in the bar, says."""
    altered: dict[tuple[str, int], int] = {}
    told: dict[tuple[int, int], tuple[Head, ...]] = {}
    order = sorted((each.start, v, n) for v, voice in enumerate(both) for n, each in enumerate(voice))
    for _, v, n in order:
        heads = []
        for head in both[v][n].heads:
            line = (head.step, head.octave)
            is_new = altered.get(line, alter_in(fifths, head.step)) != head.alter
            if is_new and not head.is_tied_from:
                head = replace(head, accidental=head.alter)
                altered[line] = head.alter
            heads.append(head)
        told[v, n] = tuple(heads)
    return [[replace(each, heads=told[v, n]) for n, each in enumerate(voice)] for v, voice in enumerate(both)]
