"""Standard MIDI File bytes, repaired so that a strict parser accepts them.

Files found in the wild are cut off, miscounted, wrapped or simply wrong, and a strict parser then
refuses them or, worse, reads them differently from what was meant. `repair` reads such bytes as a
forgiving player would and writes them anew: format 1, a header of six bytes, exact counts and
lengths, a status byte in every event, data bytes up to 127, an end-of-track in every track.

Kept are notes, control changes, program changes, pitch bends, track names, tempi, time signatures
and key signatures. Everything else (other text, sysex, aftertouch) says nothing about the score.

Two rules decide what happens to damage. An event that cannot be read is left out, and reading goes
on behind it. But where the *time* of all that follows is lost, the rest of that track is dropped.

Sources: "The Complete MIDI 1.0 Detailed Specification" (MIDI Association), for messages; "Standard
MIDI Files 1.0" (RP-001), for chunks, delta times and meta events; RP-029, for RMID wrappers.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cadenza.errors import MidiError

MAX_TICK = 2**30  # later events are moved here, so that sums of a few times still fit in 32 bits
MAX_DELTA = 0x0FFFFFFF  # RP-001: the largest variable-length quantity, four bytes of seven bits
MAX_TRACKS = 0xFFFF  # the header counts tracks in 16 bits
MAX_NAME = 255  # bytes kept of a track name
MAX_VETTED = 2**22  # bytes; vetting takes a dozen times the size of the file in memory

NOTE_OFF, NOTE_ON, CONTROL_CHANGE, PROGRAM_CHANGE, PITCH_BEND = 0x80, 0x90, 0xB0, 0xC0, 0xE0
SYSEX, ESCAPE, META = 0xF0, 0xF7, 0xFF
SYSTEM_DATA_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1}  # the other system messages have none
TRACK_NAME, END_OF_TRACK, TEMPO, TIME_SIGNATURE, KEY_SIGNATURE = 0x03, 0x2F, 0x51, 0x58, 0x59

DEFAULT_TEMPO = 500_000  # microseconds per quarter note, which is 120 quarters a minute
_COMMON_TIME = bytes((META, TIME_SIGNATURE, 4, 4, 2, 24, 8))
_END = bytes((META, END_OF_TRACK, 0))
_NOTHING = bytes((META, 0x01, 0))  # an empty text event: lets time pass and does nothing else
_Bytes = npt.NDArray[np.uint8]
_Places = npt.NDArray[np.int64]
_CHUNK_NAME = re.compile(rb"[ -~]{4}")
_STATUS_BYTE = re.compile(rb"[\x80-\xff]")


def repair(data: bytes) -> bytes:
    """A clean SMF with every readable event of `data`; raises MidiError if it is not readable as MIDI.

    The events kept of a healthy file come back as they are, and repairing twice gives the same
    events as repairing once. The time and memory taken are proportional to the size of `data`.
    """
    header = _read_header(data)
    tracks = _read_tracks(data, header)
    if not tracks and header.declared_tracks:
        raise MidiError("the file has a MIDI header but no track; export or download it again")
    if any(track.damaged for track in tracks) and not any(track.has_notes for track in tracks):
        raise MidiError("the tracks are damaged and hold no readable note; export or download the file again")
    return _write(header.timing.ticks_per_quarter, [track.body for track in tracks if track.body])


# Header: what the file is, where its chunks begin and how it counts time


@dataclass(frozen=True)
class _Timing:
    """How the ticks of a file become metrical ones."""

    ticks_per_quarter: int
    scale: int = 1  # ticks written for each tick read
    tempo: int | None = None  # replaces every tempo in the file, where its ticks count seconds


@dataclass(frozen=True)
class _Header:
    sequential: bool  # format 2: the tracks are sequences of their own, not voices of one
    declared_tracks: int
    timing: _Timing
    chunks: int  # where the first chunk behind the header starts


_SIGNATURES = (
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"PK\x03\x04", "a zip archive (such as .zip or .mxl); unpack it first"),
    (b"SMF2CLIP", "a MIDI 2.0 clip; export it as a Standard MIDI File (.mid)"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the real file with 'git lfs pull'"),
    (b"%PDF", "a PDF document; export the score as MIDI instead"),
    (b"ID3", "an MP3 recording; MIDI is needed, not audio"),
    (b"OggS", "an Ogg recording; MIDI is needed, not audio"),
    (b"fLaC", "a FLAC recording; MIDI is needed, not audio"),
    (b"<?xml", "an XML document (such as MusicXML); export the score as MIDI instead"),
    (b"<", "a web page; download the MIDI file itself"),
)


def _looks_like(data: bytes) -> str | None:
    """What `data` obviously is instead of MIDI, and what to do about it."""
    if data[:4] in (b"RIFF", b"RIFX") and data[8:12] != b"RMID":
        kind = "a WAV recording" if data[8:12] == b"WAVE" else "a RIFF file without MIDI"
        return f"{kind}; MIDI is needed"
    text = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    return next((meaning for signature, meaning in _SIGNATURES if text.startswith(signature)), None)


def _is_text(data: bytes) -> bool:
    return all(32 <= byte < 127 or byte in b"\t\r\n" for byte in data[:64])


def _find_header(data: bytes) -> int:
    """Where the MThd chunk starts: at 0, or behind a wrapper (RMID, MacBinary) or garbage."""
    if not data:
        raise MidiError("the file is empty; export or download it again")
    if data.startswith(b"MThd"):
        return 0
    if (other := _looks_like(data)) is not None:
        raise MidiError(f"this is not MIDI but looks like {other}")
    # Behind garbage the letters alone could be chance, so the upper bytes of the length must fit too.
    if (start := data.find(b"MThd\x00\x00\x00")) >= 0:
        return start
    kind = "looks like plain text" if _is_text(data) else "has no MThd header"
    raise MidiError(f"this is not MIDI: it {kind}; choose a Standard MIDI File (.mid)")


def _read_header(data: bytes) -> _Header:
    start = _find_header(data)
    if len(data) < start + 14:
        raise MidiError("the MIDI header is cut off; export or download the file again")
    length, smf_format, tracks, division = (
        int.from_bytes(data[start + a : start + b]) for a, b in ((4, 8), (8, 10), (10, 12), (12, 14))
    )
    # RP-001 lets later versions make the header longer; a length that leads nowhere is ignored.
    chunks = start + 8 + length
    if length < 6 or not _is_boundary(data, chunks):
        chunks = start + 14
    return _Header(smf_format == 2, tracks, _read_division(division), chunks)


def _read_division(division: int) -> _Timing:
    """Ticks per quarter note or, with the top bit set, SMPTE frames a second and ticks per frame."""
    if not division & 0x8000:
        if division == 0:
            raise MidiError("the header says 0 ticks per quarter note; export the file again")
        return _Timing(division)
    frames, ticks_per_frame = 256 - (division >> 8), division & 0xFF
    if frames not in (24, 25, 29, 30) or ticks_per_frame == 0:
        raise MidiError(f"the header has an impossible division of {division:#06x}; export the file again")
    # 29 stands for "30 drop frame", which is 30 frames in 1.001 seconds.
    tempo = DEFAULT_TEMPO * 1001 // 1000 if frames == 29 else DEFAULT_TEMPO
    ticks_per_second = (30 if frames == 29 else frames) * ticks_per_frame
    scale = 1 + ticks_per_second % 2  # half a second, one quarter, must be a whole number of ticks
    return _Timing(ticks_per_second * scale // 2, scale, tempo)


# Chunks: where the tracks are, whatever the counts and lengths say


def _is_boundary(data: bytes, position: int) -> bool:
    """Whether a chunk starts, or the file ends, at `position`."""
    if position == len(data) or data.startswith(b"MTrk", position):
        return True
    return _CHUNK_NAME.match(data, position) is not None and _chunk_end(data, position) <= len(data)


def _chunk_end(data: bytes, position: int) -> int:
    """Where the chunk at `position` ends by its own account."""
    return position + 8 + int.from_bytes(data[position + 4 : position + 8])


def _next_track(data: bytes, position: int) -> int:
    """Where the next MTrk chunk starts, at or after `position`; -1 if there is none.

    RP-001: "alien" chunks are skipped. A second MThd starts another file, glued on by accident.
    """
    while not data.startswith(b"MTrk", position):
        end = _chunk_end(data, position)
        if data.startswith(b"MThd", position) or position >= len(data):
            return -1
        if not _is_boundary(data, position) or not _is_boundary(data, end):
            return data.find(b"MTrk", position)
        position = end
    return position


def _track_end(data: bytes, position: int) -> int:
    """Where the track at `position` ends at the latest.

    Its declared length counts only if something follows that makes sense; writers that crash
    leave 0 or 2^32-1 there, and some forget to count the end-of-track.
    """
    declared = _chunk_end(data, position)
    if _is_boundary(data, declared):
        return declared
    following = data.find(b"MTrk", position + 4)
    return following if following >= 0 else len(data)


def _read_tracks(data: bytes, header: _Header) -> list[_Track]:
    """All tracks of the file; the sequences of a format 2 file are placed one after another."""
    tracks: list[_Track] = []
    start = 0
    position = _next_track(data, header.chunks)
    while 0 <= position < len(data) and len(tracks) < MAX_TRACKS:
        track = _Track(header.timing, start)
        end = _track_end(data, position)
        stopped = _TrackReader(data, position + 8, end, track).read()
        track.close(first=not tracks)
        tracks.append(track)
        if header.sequential:
            start = track.now
        # Some tracks are declared to reach over the ones behind them: go on at the end-of-track.
        position = _next_track(data, stopped if _is_boundary(data, stopped) else end)
    return tracks


# Writing


def _quantity(value: int) -> bytes:
    """A variable-length quantity: seven bits a byte, the high bit set in all but the last."""
    if value < 0x80:
        return bytes((value,))
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))


def _delta_time(ticks: int) -> bytes:
    """A delta time, after events that do nothing where one quantity cannot hold it."""
    waits, rest = divmod(ticks, MAX_DELTA)
    return (_quantity(MAX_DELTA) + _NOTHING) * waits + _quantity(rest)


def _meta(kind: int, payload: bytes) -> bytes:
    return bytes((META, kind)) + _quantity(len(payload)) + payload


class _Track:
    """The clean events of one track, on the way to being written."""

    def __init__(self, timing: _Timing, start: int) -> None:
        self.timing = timing
        self.start = start  # tick at which the track begins: not 0 in a later sequence of format 2
        self.now = start  # tick of the event being read
        self.written = start  # tick of the last event in `body`
        self.body = bytearray()
        self.sounding: Counter[int] = Counter()  # channel * 128 + key -> note-ons not yet ended
        self.last_onset = -1
        self.initial: set[int] = set()  # kinds of meta event at the very start
        self.damaged = False  # something in it could not be read

    @property
    def has_notes(self) -> bool:
        return self.last_onset >= 0

    def advance(self, ticks: int) -> None:
        self.now = min(self.now + ticks * self.timing.scale, MAX_TICK)

    def add(self, event: bytes) -> None:
        delta = self.now - self.written
        if delta < 0x80:  # nearly always
            self.body.append(delta)
        else:
            self.body += _delta_time(delta)
        self.body += event
        self.written = self.now

    def add_meta(self, kind: int, payload: bytes) -> None:
        if self.now == self.start:
            self.initial.add(kind)
        self.add(_meta(kind, payload))

    def add_note(self, status: int, key: int, velocity: int) -> None:
        voice = (status & 0x0F) << 7 | key
        if status >= NOTE_ON and velocity:
            self.sounding[voice] += 1
            self.last_onset = self.now
        elif self.sounding[voice]:
            self.sounding[voice] -= 1
        self.add(bytes((status, key, velocity)))

    def close(self, first: bool) -> None:
        """End the track; a track without events stays empty, and is not written."""
        self._end_notes()
        preamble = self._preamble(first)
        if self.body or (first and self.timing.tempo):
            self.add(_END)
            self.body = preamble + self.body

    def _end_notes(self) -> None:
        """Give notes without note-off an end, since readers drop them otherwise: the track's."""
        hanging = [voice for voice, count in self.sounding.items() for _ in range(count)]
        if hanging and self.now == self.last_onset:
            self.advance(self.timing.ticks_per_quarter)  # cut off on an onset: let it sound a quarter
        for voice in hanging:
            self.add(bytes((NOTE_OFF | voice >> 7, voice & 0x7F, 0)))

    def _preamble(self, first: bool) -> bytearray:
        """What comes before the track's own events: its start, and the tempo and metre valid there.

        A sequence of a format 2 file begins with the defaults, not with what held in the one before.
        """
        out = bytearray(_delta_time(self.start) + _NOTHING if self.start else b"")
        restart = self.start > 0
        if (restart and TEMPO not in self.initial) or (first and self.timing.tempo):
            out += b"\0" + _meta(TEMPO, (self.timing.tempo or DEFAULT_TEMPO).to_bytes(3))
        if restart and TIME_SIGNATURE not in self.initial:
            out += b"\0" + _COMMON_TIME
        return out


def _write(ticks_per_quarter: int, bodies: list[bytearray]) -> bytes:
    bodies = bodies or [bytearray(b"\0" + _END)]
    out = bytearray(b"MThd" + (6).to_bytes(4) + (1).to_bytes(2))
    out += len(bodies).to_bytes(2) + ticks_per_quarter.to_bytes(2)
    for body in bodies:
        out += b"MTrk" + len(body).to_bytes(4) + body
    return bytes(out)


# Vetting: which files can do without repair


def _sized(content: bytes, last: bytes, sizes: range) -> bytes:
    """Pattern of a length and as many bytes, all of them `content` but the `last`.

    A regular expression cannot count, so each length is an alternative of its own.
    """
    lengths = ((re.escape(_quantity(size)), size - len(last)) for size in sizes)
    return b"|".join(b"%b%b{%d}%b" % (length, content, rest, re.escape(last)) for length, rest in lengths)


@functools.cache  # compiled when the first file comes, since it takes some 20 ms
def _event_pattern() -> re.Pattern[bytes]:
    """One event with its delta time, as symusic reads it right.

    No alternative matches where another does, none can match in two ways or over more than some 300
    bytes, and nothing is tried twice: the time taken is linear even on hostile input.
    """
    data, text = rb"[\x00-\x7f]", _sized(rb".", b"", range(256))
    channel = rb"%b{2}|[\x80-\xbf\xe0-\xef]%b{2}|[\xc0-\xdf]%b" % (data, data, data)
    metas = (
        rb"\x51\x03(?!\0\0\0).{3}",
        rb"\x58\x04[^\0][\0-\x06].{2}",
        rb"\x59\x02[\xf9-\xff\0-\x07][\0\x01]",
        rb"\x2f\0(?>MTrk.{4}|\Z)",  # the end-of-track, and the head of the next track
        rb"[\x00-\x2e\x30-\x50\x52-\x57\x5a-\x7f](?>%b)" % text,
    )
    sysex = rb"\xf0(?>%b)" % _sized(data, b"\xf7", range(1, 128))
    delta = rb"[\x80-\xff]{0,3}+" + data
    event = rb"%b(?>%b|\xff(?>%b)|%b)" % (delta, channel, b"|".join(metas), sysex)
    return re.compile(event, re.DOTALL)


def needs_repair(data: bytes) -> bool:
    """False only if symusic reads the same notes, pedals, tempi and metres in `data` as in `repair(data)`.

    True means "perhaps": rare but legal things, such as long texts, are left to `repair` as well. Costs
    a tenth of it, since the events are cut in C and looked at all at once.
    """
    bodies = _track_bodies(data) if len(data) <= MAX_VETTED else []
    if not bodies:
        return True
    sizes = np.fromiter(map(len, _event_pattern().findall(data, bodies[0])), np.int64)
    if sizes.sum() != len(data) - bodies[0]:
        return True  # something between the events could not be read
    stops = np.cumsum(sizes) + bodies[0]
    return _events_need_repair(np.frombuffer(data, np.uint8), stops - sizes, stops, [*bodies[1:], len(data)])


def _track_bodies(data: bytes) -> list[int]:
    """Where the events of every track start; nothing if header, counts or lengths are not exact."""
    if data[:9] != b"MThd\0\0\0\6\0" or data[9:10] not in (b"\0", b"\1"):  # formats 0 and 1
        return []
    if not 0 < int.from_bytes(data[12:14]) < 0x8000:
        return []
    bodies, position = [], 14
    while data.startswith(b"MTrk", position) and position + 8 <= len(data):
        bodies.append(position + 8)
        position = _chunk_end(data, position)
    exact = position == len(data) and len(bodies) == int.from_bytes(data[10:12])
    return bodies if exact else []


def _events_need_repair(data: _Bytes, starts: _Places, stops: _Places, track_ends: list[int]) -> bool:
    """Whether well-formed events, which reach from `starts` to `stops`, make an ill-formed file."""
    heads, ticks = _delta_times(data, starts)
    if ticks > MAX_TICK:
        return True
    first = data[heads]  # of each event: its status or, where that is running, data
    is_meta = first == META
    is_end = is_meta & (data[np.minimum(heads + 1, len(data) - 1)] == END_OF_TRACK)
    if not np.array_equal(stops[is_end], track_ends):
        return True
    # A meta event leaves running status alone. Behind a sysex symusic trips over it, and no track
    # inherits it; running messages of one byte do not have the length that was assumed.
    running = first < 0x80
    sets_status = ~(running | is_meta) | is_end
    status = first[np.maximum.accumulate(np.where(sets_status, np.arange(len(first)), 0))]
    if np.any(running & ((status < 0x80) | (status >= SYSEX) | (status & 0xE0 == PROGRAM_CHANGE))):
        return True
    (notes,) = np.nonzero((status & 0xE0 == NOTE_OFF) & ~is_meta)
    keys = heads[notes] + ~running[notes]
    starts_note = (status[notes] >= NOTE_ON) & (data[keys + 1] > 0)
    track = np.cumsum(is_end)[notes]
    voices = (track << 11) | (status[notes] & 0x0F).astype(np.int64) << 7 | data[keys]
    return _any_hanging(voices, np.where(starts_note, 1, -1))


def _delta_times(data: _Bytes, starts: _Places) -> tuple[_Places, int]:
    """Where the events behind the delta times at `starts` begin, and the sum of those times."""
    heads = starts + 1
    byte = data[starts]
    ticks = int((byte & 0x7F).sum(dtype=np.int64))
    (longer,) = np.nonzero(byte >= 0x80)
    value = (byte[longer] & 0x7F).astype(np.int64)
    while len(longer):
        byte = data[heads[longer]]
        ticks += int((value * 0x7F + (byte & 0x7F)).sum())  # value << 7 | byte, less the value counted
        value = value << 7 | byte & 0x7F
        heads[longer] += 1
        longer, value = longer[byte >= 0x80], value[byte >= 0x80]
    return heads, ticks


def _any_hanging(voices: _Places, changes: _Places) -> bool:
    """Whether a voice has a note-on (change 1) that no later note-off (change -1) of it ends.

    That is so where, from some event of the voice on, there are more note-ons than note-offs.
    """
    if not len(voices):
        return False
    if voices[-1] < 2**16:  # up to 32 tracks: many times faster to sort
        order = np.argsort(voices.astype(np.uint16), kind="stable")
    else:
        order = np.argsort(voices, kind="stable")
    (firsts,) = np.nonzero(np.diff(voices[order], prepend=-1))
    surplus = np.cumsum(changes[order][::-1])[::-1]  # from here on, this voice and all behind it
    behind = np.append(surplus[firsts[1:]], 0)
    return bool(np.any(np.maximum.reduceat(surplus, firsts) > behind))


# Reading the events of a track


class _TrackReader:
    """Reads events from `position` to `end`, and puts those worth keeping into `track`."""

    def __init__(self, data: bytes, position: int, end: int, track: _Track) -> None:
        self.data = data
        self.position = position
        self.end = end
        self.track = track
        self.running_status = 0  # 0: none yet

    def read(self) -> int:
        """Read up to the end-of-track or wherever the track breaks off; returns that position."""
        while self.position < self.end and self._read_delta_time() and self._read_event():
            pass
        return min(self.position, self.end)

    def _read_quantity(self) -> int:
        """A variable-length quantity; one out of range, or cut off, is more than MAX_DELTA.

        More than four bytes are fine as long as the value is: some writers pad with zeros.
        """
        value = 0
        while self.position < self.end:
            byte = self.data[self.position]
            self.position += 1
            if value <= MAX_DELTA:  # beyond, a longer and longer integer would cost quadratic time
                value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value
        return MAX_DELTA + 1

    def _read_delta_time(self) -> bool:
        """Move on in time; False if the time of everything that follows is lost."""
        ticks = self.data[self.position]
        if ticks < 0x80:  # the usual case, kept quick
            self.position += 1
        else:
            ticks = self._read_quantity()
        if ticks > MAX_DELTA:
            self.track.damaged = True
            return False
        self.track.advance(ticks)
        return self.position < self.end

    def _read_event(self) -> bool:
        """Read one event; False at the end of the track."""
        status = self.data[self.position]
        if status >= 0xF0:
            self.position += 1
            return self._read_system_event(status)
        if status >= 0x80:
            self.position += 1
            self.running_status = status
        # RP-001: sysex and meta events end running status. Many writers do not know, so it stays.
        if self.running_status:
            self._read_channel_message(self.running_status)
        else:
            self._resynchronise()
        return True

    def _resynchronise(self) -> None:
        """Skip what cannot be read: go on at the next byte that looks like a status.

        The byte before it is taken for its delta time, or for the last byte of that.
        """
        self.track.damaged = True
        found = _STATUS_BYTE.search(self.data, self.position, self.end)
        self.position = max(found.start() - 1, self.position) if found else self.end

    def _read_channel_message(self, status: int) -> None:
        """Read the data bytes of a message; a high bit in one spoils the message, not its length."""
        kind = status & 0xF0
        size = 1 if kind in (PROGRAM_CHANGE, 0xD0) else 2
        message = self.data[self.position : self.position + size]
        self.position += size
        if self.position > self.end or message[0] > 127 or (kind == PITCH_BEND and message[1] > 127):
            self.track.damaged = True
        elif kind in (NOTE_OFF, NOTE_ON):
            self.track.add_note(status, message[0], min(message[1], 127))
        elif kind == CONTROL_CHANGE:
            self.track.add(bytes((status, message[0], min(message[1], 127))))
        elif kind in (PROGRAM_CHANGE, PITCH_BEND):
            self.track.add(bytes((status,)) + message)

    def _read_system_event(self, status: int) -> bool:
        """Read past a status from 0xF0; False at the end-of-track."""
        if status == META and self.position < self.end and self.data[self.position] < 0x80:
            return self._read_meta_event()
        if status in (SYSEX, ESCAPE):
            self._skip_sysex()
        else:  # not allowed in a file; its data bytes, as on a cable, belong to it
            for _ in range(SYSTEM_DATA_BYTES.get(status, 0)):
                if self.position < self.end and self.data[self.position] < 0x80:
                    self.position += 1
        return True

    def _skip_sysex(self) -> None:
        """Skip a sysex by its length or, if it was copied from a cable without one, up to its 0xF7."""
        start = self.position
        size = self._read_quantity()
        stop = self.position + size
        if stop <= self.end and self.data[stop - 1] == ESCAPE:
            self.position = stop
            return
        next_status = _STATUS_BYTE.search(self.data, start, self.end)
        if next_status and next_status[0][0] == ESCAPE and next_status.start() < stop:
            self.position = next_status.end()
        elif stop <= self.end:
            self.position = stop
        else:
            self._resynchronise()

    def _read_meta_event(self) -> bool:
        kind = self.data[self.position]
        self.position += 1
        size = self._read_quantity()
        if self.position + size > self.end:
            self._resynchronise()
            return True
        payload = self.data[self.position : self.position + min(size, MAX_NAME)]
        self.position += size
        if kind == TEMPO and self.track.timing.tempo:
            return True  # the ticks count seconds: a tempo has no say
        if _is_valid_meta(kind, payload, size):
            self.track.add_meta(kind, payload)
        return not (kind == END_OF_TRACK and size == 0)


def _is_valid_meta(kind: int, payload: bytes, size: int) -> bool:
    """Whether a meta event is one to keep, and means something."""
    if kind == TRACK_NAME:
        return size > 0
    if kind == TEMPO:
        return size == 3 and any(payload)
    if kind == TIME_SIGNATURE:  # numerator, denominator as a power of two up to 64, two for the click
        return size == 4 and payload[0] > 0 and payload[1] <= 6
    if kind == KEY_SIGNATURE:  # flats (negative) or sharps, major or minor
        return size == 2 and -7 <= int.from_bytes(payload[:1], signed=True) <= 7 and payload[1] <= 1
    return False
