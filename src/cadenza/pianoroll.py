"""Piano rolls: a Score as a picture (SVG), to see at a glance what was read or generated.

Time runs to the right and wraps into systems like lines of text; pitch runs upwards beside a small
keyboard. Colour tells the instruments apart, opacity the velocities. Drums have a lane of their own
below, one row per drum. The same score always gives the same bytes, and nothing but this text is
needed to show it: no scripts, fonts, style sheets or element ids that could clash on a page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from cadenza.score import (
    DEFAULT_QPM,
    DRUM_KIT,
    IntArray,
    NoteArray,
    Score,
    bar_lines,
    instrument_name,
    pitch_name,
    seconds_at,
)

FloatArray = NDArray[np.float64]

WIDTH = 1200  # pixels, about A4 when printed
LEFT, RIGHT = 72.0, 24.0  # margins; the left one holds pitch and drum names
KEYBOARD = 12.0  # width of the small keyboard left of each system
MAX_QUARTER = 72.0  # a very short piece is not stretched beyond this many pixels a quarter
SYSTEM_QUARTERS = 32  # about what a system holds: 8 bars of 4/4, 16 of 2/4
MAX_SYSTEMS = 72  # longer pieces get more bars per system; many viewers stop at 32767 pixels of height
ROLL_HEIGHT = 300.0  # what a system's pitches should fill, as far as the row heights below allow
MIN_ROW, MAX_ROW = 4.0, 8.0
MIN_SEMITONES = 14  # so that a piece on one pitch still shows where it lies, with a C in sight
DRUM_ROW = 9.0
GAP = 0.6  # white between notes, keeps repeated and neighbouring ones apart
VELOCITY_LEVELS = 5

# Okabe and Ito's colour-blind-safe colours without yellow and black, then dark ones of Paul Tol's
# "muted" scheme. A piece with more instruments starts again from the first, with a dark outline.
PALETTE = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00",
    "#56b4e9", "#882255", "#332288", "#999933", "#117733",
)  # fmt: skip
DRUM_PALETTE = ("#374151", "#92400e", "#6b7280", "#1e3a8a")
INK, MUTED = "#1f2937", "#6b7280"
BLACK_KEYS = (1, 3, 6, 8, 10)

GM_DRUMS = (
    "kick-2 kick rim snare clap snare-2 low-tom-2 hat low-tom hat-pedal mid-tom-2 hat-open mid-tom "
    "high-tom-2 crash high-tom ride china ride-bell tambourine splash cowbell crash-2 vibraslap ride-2 "
    "bongo-hi bongo-lo conga-mute conga-hi conga-lo timbale-hi timbale-lo agogo-hi agogo-lo cabasa "
    "maracas whistle-1 whistle-2 guiro-1 guiro-2 claves woodblk-hi woodblk-lo cuica-mute cuica "
    "triangle-1 triangle-2"
).split()
FIRST_GM_DRUM = 35


@dataclass(frozen=True)
class _Style:
    """How an instrument is painted."""

    fill: str
    outlined: bool

    def attributes(self) -> str:
        outline = f' stroke="{INK}" stroke-width=".7"' if self.outlined else ""
        return f'fill="{self.fill}"{outline}'


@dataclass(frozen=True)
class _Layout:
    """Where everything goes; lengths in pixels, times in ticks."""

    lines: IntArray  # (B + 1,) bar lines
    breaks: IntArray  # (S + 1,) indices into `lines`: system s holds the bars breaks[s]..breaks[s + 1]
    scale: float  # pixels per tick
    low: int  # lowest pitch shown
    high: int  # highest pitch shown; below `low` without pitched notes
    drums: IntArray  # drum keys used, ascending; the lowest, kick and snare, get the lowest rows
    top: float  # where the first system begins

    @property
    def starts(self) -> IntArray:
        """Ticks (S + 1,) at which the systems start and the last one ends."""
        return self.lines[self.breaks]

    @property
    def row(self) -> float:
        """Height of a semitone; whole or half pixels give crisp edges."""
        fitting = ROLL_HEIGHT / max(1, self.high - self.low + 1)
        return round(2 * min(MAX_ROW, max(MIN_ROW, fitting))) / 2

    @property
    def roll_height(self) -> float:
        return self.row * (self.high - self.low + 1)

    @property
    def drum_top(self) -> float:
        """Where the drum lane begins, from the top of the system's roll."""
        return self.roll_height + 6 if self.roll_height and len(self.drums) else self.roll_height

    @property
    def height(self) -> float:
        """Height of a system without the space around it."""
        return self.drum_top + DRUM_ROW * len(self.drums)

    def system_top(self, system: int) -> float:
        """Top of a system's roll."""
        return self.top + 18 + system * (self.height + 36)

    def pitch_top(self, pitch: int) -> float:
        """Upper edge of a pitch's row, from the top of the system's roll."""
        return (self.high - pitch) * self.row


def render_svg(score: Score, title: str = "") -> str:
    """Piano roll of `score` as the text of an SVG file, under the heading `title`.

    Every note is one <rect>; where it goes on into a further system, a <path> continues it. Bars are
    numbered from 1 as in `bar_lines`; music without a metre shows the time at each system instead.
    """
    heading = _clean(title)
    if not len(score):
        return _document(heading, 150, [*_header(heading, "empty score"), _no_notes()])
    styles = _styles(score.instruments)
    legend, top = _legend(styles, 92.0 if heading else 60.0)
    layout = _layout(score, top + 6)
    body = [*_header(heading, _facts(score, layout)), *legend, *_systems(score, layout, styles)]
    return _document(heading, layout.system_top(len(layout.breaks) - 1) - 4, body)


def _document(heading: str, height: float, body: list[str]) -> str:
    label = _escape(f"Piano roll: {heading}" if heading else "Piano roll")
    size = f'width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}"'
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}" '
        f'font-family="Helvetica, Arial, sans-serif" fill="{INK}">'
    )
    paper = f'<path fill="#fff" d="M0 0h{WIDTH}v{height:.0f}H0z"/>'
    return "\n".join([opening, f"<title>{label}</title>", paper, *body, "</svg>\n"])


def _clean(text: str) -> str:
    """One line of characters that XML 1.0 allows; titles out of MIDI files hold all sorts."""
    text = re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text)
    return " ".join(text.split())


def _escape(text: str) -> str:
    return escape(text, quote=True)


def _number(value: float) -> str:
    """A coordinate to a tenth of a pixel, in as few characters as possible."""
    return f"{value:.1f}".removesuffix(".0")


def _text(x: float, y: float, text: str, attributes: str = "") -> str:
    return f'<text x="{_number(x)}" y="{_number(y)}"{attributes}>{_escape(text)}</text>'


def _box(x: float, y: float, width: float, height: float) -> str:
    """Path data of a rectangle; <rect> is kept for notes, so that a picture's notes can be counted."""
    return f"M{_number(x)} {_number(y)}h{_number(width)}v{_number(height)}h{_number(-width)}z"


def _no_notes() -> str:
    return _text(WIDTH / 2, 110, "no notes", f' text-anchor="middle" font-size="16" fill="{MUTED}"')


# --- header -------------------------------------------------------------------------------------


def _header(heading: str, facts: str) -> list[str]:
    shown = heading if len(heading) <= 90 else heading[:89].rstrip() + "…"
    titles = [_text(LEFT, 42, shown, ' font-size="22" font-weight="bold"')] if heading else []
    return [*titles, _text(LEFT, 64 if heading else 34, facts, f' font-size="13" fill="{MUTED}"')]


def _facts(score: Score, layout: _Layout) -> str:
    bars = len(layout.lines) - 1
    seconds = max(1, round(float(seconds_at(score, score.end))))
    facts = [
        _tempo(score),
        _metre(score),
        *([] if score.is_free else [_count(bars, "bar")]),
        _count(len(score), "note"),
        f"{seconds // 60}:{seconds % 60:02d} min",
    ]
    return " · ".join(facts)


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _tempo(score: Score) -> str:
    """The tempo, or the range of tempi that hold somewhere before the end."""
    tempi = score.tempi[score.tempi["tick"] < score.end]
    speeds = [round(float(qpm)) for qpm in tempi["qpm"]]
    if not speeds or tempi["tick"][0] > 0:
        speeds.append(round(DEFAULT_QPM))
    low, high = min(speeds), max(speeds)
    return f"♩ = {low}" if low == high else f"♩ = {low}\u2013{high}"


def _metre(score: Score) -> str:
    """The metre, or the first few of several."""
    metres = score.metres[score.metres["tick"] < score.end]
    names = [_metre_name(int(m["numerator"]), int(m["denominator"])) for m in metres]
    if not names or metres["tick"][0] > 0:
        names.insert(0, "4/4")
    distinct = list(dict.fromkeys(names))
    return ", ".join(distinct[:4]) + (", …" if len(distinct) > 4 else "")


def _metre_name(numerator: int, denominator: int) -> str:
    return f"{numerator}/{denominator}" if numerator else "free metre"


def _styles(instruments: list[int]) -> dict[int, _Style]:
    """Colours for instruments in ascending order; drum kits take greys of their own."""
    styles: dict[int, _Style] = {}
    for palette, group in (
        (PALETTE, [i for i in instruments if i < DRUM_KIT]),
        (DRUM_PALETTE, [i for i in instruments if i >= DRUM_KIT]),
    ):
        for index, instrument in enumerate(group):
            styles[instrument] = _Style(palette[index % len(palette)], index >= len(palette))
    return styles


def _legend(styles: dict[int, _Style], top: float) -> tuple[list[str], float]:
    """The instruments' names beside their colours, and the y below them."""
    parts = ['<g font-size="12">']
    x, y = LEFT, top
    for instrument, style in styles.items():
        name = instrument_name(instrument).replace("-", " ")
        width = 7 * len(name) + 40  # an estimate: the font is not known here
        if x > LEFT and x + width > WIDTH - RIGHT:
            x, y = LEFT, y + 20
        parts.append(f'<path {style.attributes()} d="{_box(x, y - 8, 14, 8)}"/>{_text(x + 20, y, name)}')
        x += width
    return [*parts, "</g>"], y + 10


# --- layout -------------------------------------------------------------------------------------


def _layout(score: Score, top: float) -> _Layout:
    lines = bar_lines(score, score.end)
    breaks = _breaks(lines, score.ticks_per_quarter)
    longest = int(np.diff(lines[breaks]).max())
    scale = min((WIDTH - LEFT - RIGHT) / longest, MAX_QUARTER / score.ticks_per_quarter)
    drums = score.notes["instrument"] >= DRUM_KIT
    low, high = _pitch_span(score.notes["pitch"][~drums].astype(np.int64))
    return _Layout(lines, breaks, scale, low, high, np.unique(score.notes["pitch"][drums]), top)


def _breaks(lines: IntArray, ticks_per_quarter: int) -> IntArray:
    """Indices (S + 1,) of the bar lines where systems break: whole bars, mostly a multiple of four."""
    bar = int(np.median(np.diff(lines)))
    bars = max(1, SYSTEM_QUARTERS * ticks_per_quarter // bar)
    budget = bar * (bars - bars % 4 if bars >= 4 else bars)
    budget = max(budget, -(-int(lines[-1]) // MAX_SYSTEMS))
    breaks = [0]
    while breaks[-1] < len(lines) - 1:
        fitting = int(np.searchsorted(lines, lines[breaks[-1]] + budget, side="right")) - 1
        breaks.append(max(fitting, breaks[-1] + 1))  # a bar longer than the budget stands alone
    return np.array(breaks, dtype=np.int64)


def _pitch_span(pitches: IntArray) -> tuple[int, int]:
    """Lowest and highest pitch to show: those used, a semitone around them, and at least an octave."""
    if not len(pitches):
        return 0, -1
    low, high = int(pitches.min()) - 1, int(pitches.max()) + 1
    missing = max(0, MIN_SEMITONES - (high - low + 1))
    low, high = low - missing // 2, high + missing - missing // 2
    shift = max(0, -low) - max(0, high - 127)  # back into 0..127 where the widening left it
    return max(0, low + shift), min(127, high + shift)


# --- systems ------------------------------------------------------------------------------------


def _systems(score: Score, layout: _Layout, styles: dict[int, _Style]) -> Iterator[str]:
    numerators, denominators = _metre_of_bars(score, layout.lines)
    notes = _painted(score, layout, styles)
    for system in range(len(layout.breaks) - 1):
        yield f'<g transform="translate({_number(LEFT)} {_number(layout.system_top(system))})">'
        yield from _background(layout, system)
        yield from _grid(score, layout, system, numerators, denominators)
        yield from notes[system]
        yield from _row_names(layout)
        yield from _bar_names(score, layout, system, numerators, denominators)
        yield "</g>"


def _metre_of_bars(score: Score, lines: IntArray) -> tuple[IntArray, IntArray]:
    """Numerator and denominator (B,) of every bar."""
    index = np.searchsorted(score.metres["tick"], lines[:-1], side="right")
    numerators = np.concatenate([[4], score.metres["numerator"]])
    denominators = np.concatenate([[4], score.metres["denominator"]])
    return numerators[index], denominators[index]


def _extent(layout: _Layout, system: int) -> float:
    """Width of a system in pixels."""
    return float((layout.starts[system + 1] - layout.starts[system]) * layout.scale)


def _background(layout: _Layout, system: int) -> Iterator[str]:
    """Rows of the black keys, lines between the octaves, the small keyboard, rows of the drums."""
    width, pitches = _extent(layout, system), range(layout.low, layout.high + 1)
    if pitches:
        blacks = [layout.pitch_top(p) for p in pitches if p % 12 in BLACK_KEYS]
        octaves = [layout.pitch_top(p) + layout.row for p in pitches if p % 12 == 0]
        yield f'<path fill="#f1f4f8" d="{"".join(_box(0, y, width, layout.row) for y in blacks)}"/>'
        lines = "".join(f"M{_number(-KEYBOARD)} {_number(y)}H{_number(width)}" for y in octaves)
        yield f'<path stroke="#b4bdca" stroke-width=".8" d="{lines}"/>'
        keys = "".join(_box(-KEYBOARD, y, KEYBOARD * 0.62, layout.row) for y in blacks)
        frame = _box(-KEYBOARD, 0, KEYBOARD, layout.roll_height)
        yield f'<path fill="#4b5563" d="{keys}"/><path fill="none" stroke="#9aa3b0" d="{frame}"/>'
    if len(layout.drums):
        tops = [layout.drum_top + DRUM_ROW * row for row in range(0, len(layout.drums), 2)]
        rows = "".join(_box(0, y, width, DRUM_ROW) for y in tops)
        yield f'<path fill="#f6f3ee" d="{rows}"/>'


def _grid(
    score: Score, layout: _Layout, system: int, numerators: IntArray, denominators: IntArray
) -> Iterator[str]:
    """Vertical lines at bars, and fainter ones at beats where there is room."""
    start, bars = int(layout.starts[system]), _shown_bars(layout, system, 6.0)
    beats: list[int] = []
    for bar in bars:
        beat = _beat_ticks(int(numerators[bar]), int(denominators[bar]), score.ticks_per_quarter)
        if beat * layout.scale >= 10:
            beats.extend(range(int(layout.lines[bar]) + beat, int(layout.lines[bar + 1]), beat))
    ends = [int(layout.lines[bar]) for bar in bars] + [int(layout.starts[system + 1])]
    for ticks, colour in ((beats, "#e3e7ed"), (ends, "#9aa3b0")):
        if ticks:
            data = "".join(_rule(layout, (tick - start) * layout.scale) for tick in ticks)
            yield f'<path stroke="{colour}" stroke-width=".8" d="{data}"/>'


def _rule(layout: _Layout, x: float) -> str:
    """Path data of a vertical line through the roll and through the drum lane."""
    roll = f"M{_number(x)} 0v{_number(layout.roll_height)}" if layout.roll_height else ""
    if not len(layout.drums):
        return roll
    return f"{roll}M{_number(x)} {_number(layout.drum_top)}V{_number(layout.height)}"


def _beat_ticks(numerator: int, denominator: int, ticks_per_quarter: int) -> int:
    """Length of a beat: the metre's unit, three of them in compound metres, 0 in free time."""
    if numerator == 0:
        return 0
    compound = denominator >= 8 and numerator > 3 and numerator % 3 == 0
    return round(4 * ticks_per_quarter * (3 if compound else 1) / denominator)


def _shown_bars(layout: _Layout, system: int, room: float) -> range:
    """Every bar of a system, or every so many where bars are narrower than `room` pixels."""
    first, last = int(layout.breaks[system]), int(layout.breaks[system + 1])
    step = 1
    while _extent(layout, system) * step < room * (last - first):
        step *= 2
    return range(first, last, step)


def _row_names(layout: _Layout) -> Iterator[str]:
    """Names of the Cs and of the drums, left of the system."""
    yield f'<g font-size="9" text-anchor="end" fill="{MUTED}">'
    for pitch in range(layout.low, layout.high + 1):
        if pitch % 12 == 0:
            middle = layout.pitch_top(pitch) + layout.row / 2
            yield _text(-KEYBOARD - 5, middle + 3, pitch_name(pitch))
    for row, key in enumerate(layout.drums):
        yield _text(-6, layout.height - DRUM_ROW * (row + 0.5) + 3, _drum_name(int(key)))
    yield "</g>"


def _drum_name(key: int) -> str:
    """Short name of a drum key of the General MIDI kit, or the key's number."""
    index = key - FIRST_GM_DRUM
    return GM_DRUMS[index].replace("-", " ") if 0 <= index < len(GM_DRUMS) else f"key {key}"


def _bar_names(
    score: Score, layout: _Layout, system: int, numerators: IntArray, denominators: IntArray
) -> Iterator[str]:
    """Numbers of the bars and changes of metre above the system; in free time the time it starts."""
    start = int(layout.starts[system])
    yield f'<g font-size="9" fill="{MUTED}">'
    if score.is_free:
        seconds = int(seconds_at(score, start))
        yield _text(0, -5, f"{seconds // 60}:{seconds % 60:02d}")
    for bar in _shown_bars(layout, system, 26.0):
        x = (int(layout.lines[bar]) - start) * layout.scale
        metre = (int(numerators[bar]), int(denominators[bar]))
        if metre[0]:
            yield _text(x, -5, str(bar + 1))
        if bar and metre != (int(numerators[bar - 1]), int(denominators[bar - 1])):
            after_number = 6 * len(str(bar + 1)) + 3 if metre[0] else 0
            yield _text(x + after_number, -5, _metre_name(*metre), f' font-weight="bold" fill="{INK}"')
    yield "</g>"


# --- notes --------------------------------------------------------------------------------------


def _painted(score: Score, layout: _Layout, styles: dict[int, _Style]) -> list[list[str]]:
    """For every system its notes, in groups of one instrument and one level of velocity."""
    pieces = _pieces(score.notes, layout)
    order = np.lexsort((pieces.level, pieces.instrument, pieces.system))
    columns = zip(
        *(column[order].tolist() for column in (pieces.system, pieces.instrument, pieces.level)),
        *(column[order].tolist() for column in (pieces.x, pieces.y, pieces.width, pieces.height)),
        pieces.is_start[order].tolist(),
        strict=True,
    )
    systems: list[list[str]] = [[] for _ in range(len(layout.breaks) - 1)]
    for (system, instrument, level), group in groupby(columns, key=lambda piece: piece[:3]):
        opacity = f"{0.45 + 0.55 * (level + 1) / VELOCITY_LEVELS:.2f}".lstrip("0")
        shapes = "".join(_shape(*piece[3:]) for piece in group)
        systems[system].append(f'<g {styles[instrument].attributes()} opacity="{opacity}">{shapes}</g>')
    return systems


def _shape(x: float, y: float, width: float, height: float, is_start: bool) -> str:
    if not is_start:
        return f'<path d="{_box(x, y, width, height)}"/>'
    size = f'width="{_number(width)}" height="{_number(height)}"'
    return f'<rect x="{_number(x)}" y="{_number(y)}" {size}/>'


@dataclass(frozen=True)
class _Pieces:
    """Columns (P,) of the notes' parts, as notes that cross a system's end are cut there."""

    system: IntArray
    instrument: IntArray
    level: IntArray
    x: FloatArray
    y: FloatArray
    width: FloatArray
    height: FloatArray
    is_start: NDArray[np.bool_]


def _pieces(notes: NoteArray, layout: _Layout) -> _Pieces:
    starts, drum = layout.starts, notes["instrument"] >= DRUM_KIT
    onset = notes["onset"].astype(np.int64)
    end = onset + np.where(drum, 1, notes["duration"])  # a drum is a stroke, however long it rings
    first = np.searchsorted(starts, onset, side="right") - 1
    last = np.searchsorted(starts, end - 1, side="right") - 1
    parts = last - first + 1
    owner = np.repeat(np.arange(len(notes)), parts)
    nth = np.arange(len(owner)) - np.repeat(np.cumsum(parts) - parts, parts)
    system = first[owner] + nth
    left = np.maximum(onset[owner], starts[system])
    right = np.minimum(end[owner], starts[system + 1])
    width = np.maximum((right - left) * layout.scale - np.where(right == end[owner], GAP, 0.0), 1.4)
    y, height = _rows(notes, layout)
    return _Pieces(
        system=system,
        instrument=notes["instrument"][owner],
        level=np.clip(notes["velocity"][owner] * VELOCITY_LEVELS // 128, 0, VELOCITY_LEVELS - 1),
        x=(left - starts[system]) * layout.scale,
        y=y[owner],
        width=np.where(drum[owner], 2.4, width),
        height=height[owner],
        is_start=nth == 0,
    )


def _rows(notes: NoteArray, layout: _Layout) -> tuple[FloatArray, FloatArray]:
    """Upper edge and height (N,) of every note, from the top of its system's roll."""
    drum, pitch = notes["instrument"] >= DRUM_KIT, notes["pitch"]
    drum_y = layout.height - DRUM_ROW * (np.searchsorted(layout.drums, pitch) + 1) + 1
    rank, sharers = _unisons(notes)
    height = (layout.row - GAP) / sharers
    y = (layout.high - pitch) * layout.row + GAP / 2 + rank * height
    return np.where(drum, drum_y, y), np.where(drum, DRUM_ROW - 2, height)


def _unisons(notes: NoteArray) -> tuple[IntArray, IntArray]:
    """For every note (N,): its rank among the notes struck with it on its pitch, and their number.

    They share the row like stripes, because painted over each other only the last would show.
    """
    place = notes["onset"].astype(np.int64) * 128 + notes["pitch"]
    place[notes["instrument"] >= DRUM_KIT] = -1  # drums lie elsewhere; they share nothing with pitches
    _, group, counts = np.unique(place, return_inverse=True, return_counts=True)
    rank = np.empty(len(notes), dtype=np.int64)
    before = np.repeat(np.cumsum(counts) - counts, counts)
    rank[np.argsort(group, kind="stable")] = np.arange(len(notes)) - before
    return rank, counts[group]
