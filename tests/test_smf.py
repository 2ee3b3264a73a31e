"""Laws of cadenza.smf: what `repair` mends, leaves out and refuses, and which files can do without it."""

from __future__ import annotations

import gzip
import random
import time
from typing import Any

import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st

from cadenza.errors import MidiError
from cadenza.smf import MAX_DELTA, MAX_NAME, MAX_TICK, needs_repair, repair
from smf_bytes import EOT, at, chunk, header, meta, note, read_strictly, smf, track, vlq

Events = list[tuple[int, bytes]]
NOTHING = b"\xff\x01\x00"
TEMPO_60 = b"\xff\x51\x03\x0f\x42\x40"
TEMPO_120 = b"\xff\x51\x03\x07\xa1\x20"
METRE_3_4 = b"\xff\x58\x04\x03\x02\x18\x08"
METRE_4_4 = b"\xff\x58\x04\x04\x02\x18\x08"
SCALE = track(*(note(key) for key in (60, 62, 64, 65, 67, 69, 71, 72)))


def tracks_of(data: bytes) -> list[Events]:
    """Events of the repaired tracks, read strictly, without those that only let time pass."""
    _, tracks = read_strictly(repair(data))
    return [[(tick, event) for tick, event in events if event != NOTHING] for events in tracks]


def events_of(*events: bytes, end: bytes = EOT, division: int = 96) -> Events:
    """Events of one repaired track."""
    (result,) = tracks_of(smf(track(*events, end=end), division=division))
    return result


def notes_of(data: bytes) -> int:
    """Number of notes that the strict parser behind us finds."""
    score: Any = symusic.Score.from_midi(repair(data))
    return sum(len(part.notes) for part in score.tracks)


def complaint(data: bytes) -> str:
    with pytest.raises(MidiError) as caught:
        repair(data)
    return str(caught.value)


NOTE = [(0, b"\x90\x3c\x50"), (96, b"\x80\x3c\x00")]


class TestSound:
    def test_every_kept_event_comes_back_as_it_was(self) -> None:
        events = [
            meta(0x03, b"Piano"), b"\x00" + TEMPO_60, b"\x00" + METRE_3_4, meta(0x59, b"\xfd\x01"),
            at(0, 0xC3, 19), at(0, 0xB3, 64, 127), at(5, 0xE3, 1, 65), note(), at(0, 0x83, 9, 64),
        ]  # fmt: skip
        assert [event for _, event in events_of(*events)] == [
            b"\xff\x03\x05Piano", TEMPO_60, METRE_3_4, b"\xff\x59\x02\xfd\x01",
            b"\xc3\x13", b"\xb3\x40\x7f", b"\xe3\x01\x41", *(event for _, event in NOTE), b"\x83\x09\x40",
        ]  # fmt: skip

    def test_text_sysex_and_aftertouch_are_dropped_but_not_their_time(self) -> None:
        noise = [meta(1, b"la", 1), at(2, 0xF0, 2, 1, 0xF7), at(3, 0xA0, 60, 1), at(4, 0xD0, 9)]
        assert events_of(*noise, note()) == [(tick + 10, event) for tick, event in NOTE]

    def test_running_status_is_expanded(self) -> None:
        assert events_of(at(0, 0x90, 60, 80), at(96, 60, 0)) == [NOTE[0], (96, b"\x90\x3c\x00")]

    def test_repairing_twice_gives_the_same_events(self) -> None:
        once = repair(smf(SCALE, track(note(40, MAX_DELTA), note(41, MAX_DELTA)), smf_format=2))
        assert read_strictly(repair(once))[0] == read_strictly(once)[0]
        assert tracks_of(once) == tracks_of(repair(once))

    @pytest.mark.parametrize("division", [1, 96, 480, 32767])
    def test_division_is_kept(self, division: int) -> None:
        assert read_strictly(repair(smf(SCALE, division=division)))[0] == division

    def test_a_file_that_declares_no_tracks_is_empty(self) -> None:
        assert tracks_of(header(0)) == [[]]


class TestContainer:
    @pytest.mark.parametrize(
        "data",
        [
            chunk(b"MThd", b"\0\1\0\1\0\x60more") + SCALE,
            b"MThd\xff\xff\xff\xff\0\1\0\1\0\x60" + SCALE,
            b"RIFF\0\0\0\0RMIDdata\0\0\0\0" + smf(SCALE),
            bytes(128) + smf(SCALE) + bytes(99),
            header(1) + chunk(b"XFIH", b"alien") + SCALE,
            header(1) + chunk(b"XFIH", b"alien", 2**31) + SCALE,
            header(1) + b"garbage\0\xff" + SCALE,
            header(5) + SCALE,
            header(0) + SCALE,
            smf(SCALE) + b"MTr",
            smf(SCALE) + b"\0\x90\x3c\x50" * 9,
            smf(SCALE) + smf(SCALE),
        ],
        ids=lambda data: data[:20].hex(),
    )
    def test_the_one_track_is_found(self, data: bytes) -> None:
        assert tracks_of(data) == tracks_of(smf(SCALE))

    @pytest.mark.parametrize("smf_format", [0, 1, 7])
    @pytest.mark.parametrize("declared", [0, 1, 2, 3, 65535])
    def test_all_tracks_are_kept_whatever_is_declared(self, smf_format: int, declared: int) -> None:
        assert len(tracks_of(header(declared, smf_format) + SCALE + SCALE)) == 2

    @pytest.mark.parametrize("length", [0, 1, 5, 20, 60, 61, 500, 2**32 - 1])
    def test_track_length_may_be_wrong(self, length: int) -> None:
        wrong = chunk(b"MTrk", SCALE[8:], length)
        assert tracks_of(header(2) + wrong + SCALE) == tracks_of(smf(SCALE, SCALE))

    def test_track_length_may_reach_over_the_next_track(self) -> None:
        wrong = chunk(b"MTrk", SCALE[8:], len(SCALE) * 2 - 8)
        assert len(tracks_of(header(2) + wrong + SCALE)) == 2

    @pytest.mark.parametrize("cut", [1, 2, 3, 4])
    def test_missing_end_of_track(self, cut: int) -> None:
        assert notes_of(smf(SCALE)[:-cut]) == 8
        assert events_of(note(), end=b"") == NOTE

    def test_cut_track_keeps_what_was_read(self) -> None:
        data = smf(SCALE, SCALE)
        counts = [notes_of(data[:size]) for size in range(14 + len(SCALE) + 8 + 4, len(data))]
        assert counts == sorted(counts) and counts[0] == 9 and counts[-1] == 16

    def test_data_after_the_end_of_track_is_dropped(self) -> None:
        assert events_of(note(), EOT, note(72)) == NOTE

    def test_empty_tracks_are_left_out(self) -> None:
        assert len(tracks_of(smf(track(), SCALE, track()))) == 1


class TestTime:
    def test_format_2_places_sequences_one_after_another(self) -> None:
        silence = at(4, 0xFF, 0x2F, 0)
        data = smf(track(b"\0" + TEMPO_60, note(), end=silence), track(note()), smf_format=2)
        assert tracks_of(data) == [
            [(0, TEMPO_60), *NOTE],
            [(100, TEMPO_120), (100, METRE_4_4), *((tick + 100, event) for tick, event in NOTE)],
        ]

    def test_format_2_sequence_keeps_its_own_tempo_and_metre(self) -> None:
        own = track(b"\0" + TEMPO_60, b"\0" + METRE_3_4, note())
        later = tracks_of(smf(SCALE, own, smf_format=2))[1]
        assert later[:2] == [(768, TEMPO_60), (768, METRE_3_4)]

    @pytest.mark.parametrize(
        ("frames", "ticks", "quarter", "scale"),
        [(25, 40, 500, 1), (24, 4, 48, 1), (30, 80, 1200, 1), (25, 1, 25, 2), (25, 255, 6375, 2)],
    )
    def test_smpte_time_becomes_metrical(self, frames: int, ticks: int, quarter: int, scale: int) -> None:
        data = smf(track(b"\0" + TEMPO_60, note()), division=(256 - frames) << 8 | ticks)
        ticks_per_quarter, (events,) = read_strictly(repair(data))
        assert ticks_per_quarter == quarter
        assert events == [(0, TEMPO_120), *((tick * scale, event) for tick, event in NOTE)]

    def test_smpte_drop_frame_is_a_thousandth_slower(self) -> None:
        ticks_per_quarter, (events,) = read_strictly(repair(smf(SCALE, division=(256 - 29) << 8 | 4)))
        assert ticks_per_quarter == 60
        assert events[0] == (0, b"\xff\x51\x03" + (500_500).to_bytes(3))

    def test_times_stop_at_the_limit(self) -> None:
        events = events_of(*(note(60, MAX_DELTA) for _ in range(9)))
        assert events[3][0] == 2 * MAX_DELTA and events[-1][0] == MAX_TICK

    def test_long_waits_survive_the_loss_of_what_was_between(self) -> None:
        events = events_of(meta(1, b"a", MAX_DELTA), meta(1, b"b", MAX_DELTA), note(60, 96, 5))
        assert events[0][0] == 2 * MAX_DELTA + 5

    def test_padded_delta_time_is_read(self) -> None:
        assert events_of(b"\x80\x80\x80\x80\x80\x05\x90\x3c\x50" + at(96, 0x80, 60, 0))[0][0] == 5

    def test_oversized_delta_time_ends_its_track(self) -> None:
        assert events_of(note(), b"\xff\xff\xff\xff\x7f\x90\x40\x50") == NOTE
        assert "damaged" in complaint(smf(track(b"\xff\xff\xff\xff\x7f", note()[1:])))


class TestEvents:
    @pytest.mark.parametrize(
        "noise",
        [
            meta(0x51, b"\0\0\0"),
            meta(0x51, b"\7\xa1"),
            meta(0x51, b"\0\7\xa1\x20"),
            meta(0x58, b"\0\2\x18\x08"),
            meta(0x58, b"\4\7\x18\x08"),
            meta(0x58, b"\4\2\x18"),
            meta(0x59, b"\x08\0"),
            meta(0x59, b"\xf8\0"),
            meta(0x59, b"\0\2"),
            meta(0x59, b"\0"),
            meta(0x03, b""),
            meta(0x2F, b"end"),
            meta(0x01, bytes(70_000)),
            at(0, 0xF1, 1), at(0, 0xF2, 1, 2), at(0, 0xF3, 1), *(at(0, s) for s in range(0xF4, 0xF7)),
            *(at(0, s) for s in range(0xF8, 0xFF)),
            at(0, 0xF0, 3, 1, 2, 3),
            at(0, 0xF0, 0x7E, 0x7F, 9, 1, 0xF7),
            at(0, 0xF0, 2, 1, 2) + at(0, 0xF7, 2, 1, 0xF7),
            at(0, 0x90, 0xBC, 80),
            at(0, 0xB0, 0xBC, 80),
            at(0, 0xC0, 0xBC),
            at(0, 0xE0, 0, 0xBC),
        ],
        ids=lambda noise: noise[:8].hex(),
    )  # fmt: skip
    def test_what_means_nothing_is_left_out(self, noise: bytes) -> None:
        assert events_of(noise, note()) == NOTE
        assert events_of(at(0, 0x90, 60, 80), noise, at(96, 0x80, 60, 0)) == NOTE

    @pytest.mark.parametrize("between", [meta(1, b"x"), at(0, 0xF0, 2, 1, 0xF7), at(0, 0xF8)])
    def test_running_status_survives_meta_sysex_and_real_time(self, between: bytes) -> None:
        assert events_of(at(0, 0x90, 60, 80), between, at(96, 60, 0)) == [NOTE[0], (96, b"\x90\x3c\x00")]

    def test_values_too_high_are_clamped_where_the_event_is_clear(self) -> None:
        events = events_of(at(0, 0x90, 60, 200), at(0, 0xB0, 7, 168), at(96, 0x80, 60, 255))
        assert [event for _, event in events] == [b"\x90\x3c\x7f", b"\xb0\x07\x7f", b"\x80\x3c\x7f"]

    def test_data_before_any_status_is_skipped(self) -> None:
        assert events_of(at(0, 60, 80), note()) == NOTE

    @pytest.mark.parametrize("broken", [b"\0\xff\1\xff\xff\xff\x7fabc", b"\0\xff\3\x7fabc", b"\0\xf0\x7fabc"])
    def test_event_longer_than_the_track_does_not_take_it_along(self, broken: bytes) -> None:
        assert events_of(broken, note()) == NOTE

    def test_track_name_is_shortened(self) -> None:
        assert events_of(meta(3, b"n" * 999)) == [(0, b"\xff\x03" + vlq(MAX_NAME) + b"n" * MAX_NAME)]

    def test_hanging_notes_end_with_the_track(self) -> None:
        ons = at(0, 0x93, 60, 80) + at(5, 0x93, 60, 80) + at(0, 0x94, 61, 80) + at(5, 0x93, 60, 0)
        ended = events_of(ons, end=at(90, 0xFF, 0x2F, 0))[4:]
        assert ended == [(100, b"\x83\x3c\x00"), (100, b"\x84\x3d\x00")]

    def test_hanging_note_at_the_very_end_sounds_a_quarter(self) -> None:
        assert events_of(at(9, 0x90, 60, 80), division=48)[-1] == (57, b"\x80\x3c\x00")


class TestRefusal:
    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"", "empty"),
            (b"M", "plain text"),
            (b"Hello, world", "plain text"),
            (b"\x01\x02\x03\x04", "no MThd"),
            (b"\n<!DOCTYPE html><html>", "web page"),
            (b"\xef\xbb\xbf<?xml version='1.0'?>", "XML"),
            (gzip.compress(smf(SCALE)), "gzip"),
            (b"PK\x03\x04" + smf(SCALE), "zip"),
            (b"RIFF\x24\0\0\0WAVEfmt ", "WAV"),
            (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
            (b"SMF2CLIP\0\0\0\0", "MIDI 2.0"),
            (b"MThd\0\0\0\6\0\1", "cut off"),
            (header(1), "no track"),
            (header(65535), "no track"),
            (header(1) + chunk(b"XTrk", EOT), "no track"),
            (smf(SCALE, division=0), "0 ticks"),
            (smf(SCALE, division=0xFFFF), "impossible division of 0xffff"),
            (smf(SCALE, division=0xE700), "impossible division"),
            (smf(track(b"\0\xff\1\xff\xff\xff\x7fabc", end=b"")), "damaged"),
        ],
    )
    def test_one_sentence_says_what_is_wrong(self, data: bytes, words: str) -> None:
        message = complaint(data)
        assert words in message and ";" in message and "\n" not in message


class TestRobustness:
    def survives(self, data: bytes) -> None:
        try:
            repaired = repair(data)
        except MidiError:
            return
        read_strictly(repaired)
        symusic.Score.from_midi(repaired)

    def test_mutations_of_sound_files(self) -> None:
        rng = random.Random(1)
        rich = track(meta(3, b"Piano"), b"\0" + TEMPO_60, b"\0" + METRE_3_4, at(0, 0xF0, 2, 1, 0xF7), note())
        originals = [smf(SCALE), smf(rich, SCALE), smf(rich, rich, smf_format=2), smf(rich, division=0xE728)]
        for _ in range(2000):
            data = bytearray(rng.choice(originals))
            for _ in range(rng.choice((1, 2, 8))):
                place = rng.randrange(len(data))
                data[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(3)) or b"\xff"
            self.survives(bytes(data[: rng.choice((len(data), rng.randrange(1, len(data))))]))

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=200))
    def test_any_bytes_as_track(self, body: bytes) -> None:
        self.survives(smf(track(body)))

    @pytest.mark.parametrize(
        "unit",
        [
            b"\xff",
            b"\x80",
            b"\0",
            b"\0\xf0\0",
            b"\0\xff\1\xff",
            b"MTrk",
            b"MTrk\xff\xff\xff\xff",
            b"abcd\0\0\0\0",
        ],
    )
    def test_time_is_linear_in_the_size(self, unit: bytes) -> None:
        start = time.perf_counter()
        self.survives(smf(track()) + b"MTrk" + unit * (60_000 // len(unit)))
        assert time.perf_counter() - start < 2  # quadratic time would be a minute


RICH = track(
    meta(3, b"Piano"), at(0, 0xF0, 5, 0x7E, 0x7F, 9, 1, 0xF7), b"\x00" + TEMPO_60, b"\x00" + METRE_3_4,
    meta(0x59, b"\xfd\x01"), meta(5, b"la" * 99), meta(0x7F, b"\0\x2f"), at(0, 0xC3, 19),
    at(0, 0xB3, 64, 127), at(300, 0x93, 60, 80), meta(6, b"running on"), at(70_000, 60, 0), at(0, 0xD3, 9),
    at(0, 0xE3, 1, 65), note(), at(0, 0xB3, 64, 0),
)  # fmt: skip


def heard_in(data: bytes) -> list[list[Any]]:
    """All that the strict parser makes of `data` that matters to us."""
    score: Any = symusic.Score.from_midi(data)
    return [
        [
            (part.program, part.is_drum, list(part.notes), list(part.pedals))
            for part in score.tracks
            if part.notes
        ],
        list(score.tempos),
        list(score.time_signatures),
    ]


class TestVetting:
    @pytest.mark.parametrize(
        "data",
        [
            smf(SCALE),
            smf(RICH, SCALE),
            smf(SCALE, smf_format=0),
            smf(track(), SCALE, track()),
            smf(track()),
            smf(*[SCALE] * 40),
            smf(
                track(
                    at(0, 0x80, 60, 0), at(0, 0x90, 60, 80), at(5, 0x90, 60, 80), at(5, 60, 0), at(5, 60, 0)
                )
            ),
        ],
        ids=lambda data: f"{len(data)} bytes",
    )
    def test_healthy_files_need_no_repair(self, data: bytes) -> None:
        assert not needs_repair(data)
        assert heard_in(data) == heard_in(repair(data))

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"MThd",
            header(0),
            header(2) + SCALE,
            header(0) + SCALE,
            header(1, extra=b"more") + SCALE,
            b"\0" + smf(SCALE),
            smf(SCALE) + b"\0",
            smf(SCALE) + smf(SCALE),
            smf(SCALE)[:-1],
            smf(SCALE)[:-4],
            smf(SCALE, smf_format=2),
            smf(SCALE, division=0),
            smf(SCALE, division=0xE728),
            header(1) + chunk(b"MTrk", SCALE[8:], len(SCALE) - 9),
            header(1) + chunk(b"MTrk", SCALE[8:], len(SCALE)),
            header(2) + chunk(b"MTrk", SCALE[8:], 2 * len(SCALE) - 8) + SCALE,
        ],
        ids=lambda data: f"{data[:16].hex()}, {len(data)} bytes",
    )
    def test_damaged_containers_need_repair(self, data: bytes) -> None:
        assert needs_repair(data)

    @pytest.mark.parametrize(
        "damage",
        [
            EOT,
            at(0, 0x90, 62, 80),
            at(0, 0x80, 62, 0) + at(0, 0x90, 62, 80),
            at(0, 0x90, 62, 80) + at(5, 0x91, 62, 0),
            at(0, 0x90, 62, 200),
            at(0, 0xB0, 0xBC, 80),
            at(0, 0xC0, 0xBC),
            at(0, 0xF8),
            at(0, 0xF0, 2, 1, 0xF7) + at(0, 60, 0),
            at(0, 0xF0, 2, 1, 2),
            at(0, 0xF0, 2, 1, 2) + at(0, 0xF7, 2, 1, 0xF7),
            at(0, 0xF0, 0x7E, 0x7F, 9, 1, 0xF7),
            at(0, 0xC0, 9) + at(0, 9),
            b"\x80\x80\x80\x80\x05\x90\x3c\x00",
            note(60, MAX_DELTA) * 5,
            meta(0x51, b"\0\0\0"),
            meta(0x51, b"\7\xa1"),
            meta(0x58, b"\0\2\x18\x08"),
            meta(0x58, b"\4\7\x18\x08"),
            meta(0x58, b"\4\2\x18"),
            meta(0x59, b"\x08\0"),
            meta(0x59, b"\0\2"),
            meta(0x2F, b"end"),
            b"\0\xff\1\xff\xff\xff\x7fabc",
            b"\0\xff\3\x7fabc",
        ],
        ids=lambda damage: damage[:10].hex(),
    )
    def test_damaged_events_need_repair(self, damage: bytes) -> None:
        assert needs_repair(smf(track(note(), damage, note())))
        assert needs_repair(smf(*[SCALE] * 40, track(note(), damage)))

    def test_running_status_is_not_inherited_from_another_track(self) -> None:
        assert needs_repair(smf(SCALE, track(at(0, 60, 80), at(5, 60, 0))))

    def test_a_note_does_not_end_in_another_track(self) -> None:
        assert needs_repair(smf(track(at(0, 0x90, 60, 80)), track(at(5, 0x90, 60, 0))))

    def test_what_passes_among_mutations_is_read_right(self) -> None:
        rng = random.Random(2)
        passed = 0
        for _ in range(1500):
            data = bytearray(smf(RICH, SCALE))
            for _ in range(rng.choice((1, 1, 3))):
                place = rng.randrange(len(data))
                data[place] = rng.choice((rng.randrange(256), data[place] ^ 1 << rng.randrange(8)))
            if not needs_repair(bytes(data)):
                passed += 1
                assert heard_in(bytes(data)) == heard_in(repair(bytes(data))), data.hex()
        assert passed > 100  # or else nothing was shown

    @pytest.mark.parametrize(
        "unit", [b"\xff", b"\x80", b"\0", b"\0\xf0\x7f", b"\0\xff\1\x81\x7f", b"\xff\1\xff"]
    )
    def test_vetting_takes_linear_time(self, unit: bytes) -> None:
        data = smf(track(unit * (300_000 // len(unit))))
        start = time.perf_counter()
        needs_repair(data)
        assert time.perf_counter() - start < 2  # quadratic time would be many minutes
