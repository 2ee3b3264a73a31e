"""Small builders of Standard MIDI File bytes, sound or broken on purpose, and a strict reader of them."""

from __future__ import annotations

EOT = b"\x00\xff\x2f\x00"


def vlq(value: int) -> bytes:
    """Variable-length quantity."""
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(value & 0x7F | 0x80)
    return bytes(reversed(out))


def at(delta: int, *event: int) -> bytes:
    """An event `delta` ticks after the one before."""
    return vlq(delta) + bytes(event)


def meta(kind: int, payload: bytes, delta: int = 0) -> bytes:
    return vlq(delta) + bytes((0xFF, kind)) + vlq(len(payload)) + payload


def note(key: int = 60, length: int = 96, delta: int = 0) -> bytes:
    return at(delta, 0x90, key, 80) + at(length, 0x80, key, 0)


def chunk(name: bytes, body: bytes, length: int | None = None) -> bytes:
    """A chunk; `length` overrides the true one."""
    return name + (len(body) if length is None else length).to_bytes(4) + body


def track(*events: bytes, end: bytes = EOT) -> bytes:
    return chunk(b"MTrk", b"".join(events) + end)


def header(tracks: int, smf_format: int = 1, division: int = 96, extra: bytes = b"") -> bytes:
    return chunk(b"MThd", smf_format.to_bytes(2) + tracks.to_bytes(2) + division.to_bytes(2) + extra)


def smf(*tracks: bytes, smf_format: int = 1, division: int = 96) -> bytes:
    return header(len(tracks), smf_format, division) + b"".join(tracks)


def read_strictly(data: bytes) -> tuple[int, list[list[tuple[int, bytes]]]]:
    """Ticks per quarter and the (tick, event) pairs of every track; fails on anything irregular."""
    assert data[:10] == b"MThd\x00\x00\x00\x06\x00\x01"
    tracks, position = [], 14
    while position < len(data):
        assert data[position : position + 4] == b"MTrk"
        end = position + 8 + int.from_bytes(data[position + 4 : position + 8])
        assert end <= len(data)
        tracks.append(_read_events(data[position + 8 : end]))
        position = end
    assert len(tracks) == int.from_bytes(data[10:12])
    return int.from_bytes(data[12:14]), tracks


def _read_events(body: bytes) -> list[tuple[int, bytes]]:
    events, position, tick = [], 0, 0
    while position < len(body):
        delta, position = _read_vlq(body, position)
        size = _event_size(body, position)
        event = body[position : position + size]
        assert len(event) == size
        assert event[0] == 0xFF or max(event[1:]) <= 127
        tick, position = tick + delta, position + size
        events.append((tick, event))
    assert [event for _, event in events].index(b"\xff\x2f\x00") == len(events) - 1
    return events[:-1]


def _read_vlq(body: bytes, position: int) -> tuple[int, int]:
    value = 0
    for used in range(1, 5):
        byte = body[position + used - 1]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, position + used
    raise AssertionError("a variable-length quantity of more than four bytes")


def _event_size(body: bytes, position: int) -> int:
    status = body[position]
    if status == 0xFF:
        length, start = _read_vlq(body, position + 2)
        return start + length - position
    assert 0x80 <= status < 0xF0, f"status {status:#x}"
    return 2 if status & 0xF0 in (0xC0, 0xD0) else 3
