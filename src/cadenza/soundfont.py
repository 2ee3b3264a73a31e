"""Sampled instruments: the bundled soundfont, and smaller ones cut from it with the instruments of a piece alone.

A soundfont is a RIFF file of three lists: what it is (INFO), the samples (sdta), and tables that lead from a preset
over its zones to instruments, from these over theirs to samples (pdta). Sources: SoundFont 2.04 (E-mu 2006); SF3, its
extension by MuseScore, in which every sample is an Ogg Vorbis stream, found by bytes instead of frames.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cadenza.errors import InputError
from cadenza.score import DRUM_KIT

Table = NDArray[Any]

_HEADER = [("name", "S20"), ("program", "<u2"), ("bank", "<u2"), ("bag", "<u2")]
_SAMPLE = [("name", "S20"), ("start", "<u4"), ("end", "<u4"), ("loop_start", "<u4"), ("loop_end", "<u4")]
RECORDS = {  # of the tables, in the order in which the specification wants them; each ends in one that ends it
    "phdr": np.dtype([*_HEADER, ("library", "<u4"), ("genre", "<u4"), ("morphology", "<u4")]),
    "pbag": np.dtype([("gen", "<u2"), ("mod", "<u2")]),
    "pmod": np.dtype("V10"),
    "pgen": np.dtype([("operator", "<u2"), ("amount", "<u2")]),
    "inst": np.dtype([("name", "S20"), ("bag", "<u2")]),
    "ibag": np.dtype([("gen", "<u2"), ("mod", "<u2")]),
    "imod": np.dtype("V10"),
    "igen": np.dtype([("operator", "<u2"), ("amount", "<u2")]),
    "shdr": np.dtype(
        [*_SAMPLE, ("rate", "<u4"), ("key", "u1"), ("correction", "i1"), ("link", "<u2"), ("type", "<u2")]
    ),
}
INSTRUMENT, SAMPLE_ID = 41, 53  # generators that lead on
MONO, VORBIS = 0x01, 0x10  # flag of a sample's type
DRUM_BANK = 128
SILENCE = 46  # frames after each sample, as the specification wants them
Decode = Callable[[bytes], NDArray[np.int16]]  # frames of an Ogg Vorbis stream


@dataclass(frozen=True)
class Soundfont:
    """A soundfont in memory: its INFO list as it is, the samples' bytes, and the tables."""

    info: bytes
    samples: memoryview
    tables: dict[str, Table]

    @classmethod
    def read(cls, content: bytes) -> Soundfont:
        """Parse an SF3 file; raises InputError if it is none."""
        try:
            whole = memoryview(content)
            lists = {bytes(body[:4]): body[4:] for name, body in _chunks(whole[12:]) if name == b"LIST"}
            tables = {name.decode(): body for name, body in _chunks(lists[b"pdta"])}
            parsed = {name: np.frombuffer(tables[name], kind) for name, kind in RECORDS.items()}
            samples = dict(_chunks(lists[b"sdta"]))[b"smpl"]
        except (KeyError, ValueError, struct.error) as error:
            raise InputError("the soundfont is damaged; restore the file.") from error
        if (
            bytes(whole[:4]) != b"RIFF"
            or bytes(whole[8:12]) != b"sfbk"
            or not (parsed["shdr"]["type"][:-1] & VORBIS).all()
        ):
            raise InputError("the soundfont is no SF3 file; restore it.")
        return cls(bytes(lists[b"INFO"]), samples, parsed)

    def cut(self, instruments: Collection[int], decode: Decode | None = None) -> bytes:
        """An SF3 file with these instruments alone: 0..127 General MIDI programs, 128 + program drum kits.

        A kit that there is none of sounds like the standard one, under its own number. With `decode` it is an SF2 file:
        samples are 16-bit numbers, for synthesisers that know no Vorbis.
        """
        wanted = [self._preset(instrument) for instrument in sorted(set(instruments))]
        presets = self._part("p", [number for number, _, _ in wanted], INSTRUMENT)
        inner = self._part("i", presets.leads_to, SAMPLE_ID)
        headers = presets.headers
        for row, (_, bank, program) in enumerate(wanted):
            headers["bank"][row], headers["program"][row] = bank, program
        samples, content = self._samples(inner.leads_to)
        if decode is not None:
            samples, content = _decoded(samples, content, decode)
        tables = {"phdr": headers, **presets.tables, "inst": inner.headers, **inner.tables, "shdr": samples}
        body = b"".join(_chunk(name, tables[name].tobytes()) for name in RECORDS)
        lists = (b"INFO" + self.info, b"sdta" + _chunk("smpl", content), b"pdta" + body)
        return _chunk("RIFF", b"sfbk" + b"".join(_chunk("LIST", each) for each in lists))

    def _preset(self, instrument: int) -> tuple[int, int, int]:
        """Row of the preset that plays an instrument, and under which bank and program."""
        bank, program = (0, instrument) if instrument < DRUM_KIT else (DRUM_BANK, instrument - DRUM_KIT)
        headers = self.tables["phdr"][:-1]
        # Files name kits that no soundfont has; the usual one stands in for them.
        choices = (program, 0) if instrument >= DRUM_KIT else (program,)
        for choice in choices:
            found = np.flatnonzero((headers["bank"] == bank) & (headers["program"] == choice))
            if len(found):
                return int(found[0]), bank, program
        raise InputError(f"the soundfont has no instrument {instrument}.")

    def _part(self, kind: str, rows: list[int], leading: int) -> _Part:
        """Of presets ("p") or instruments ("i"), these rows with their zones; `leading` is the generator that leads on."""
        header, bag, mod, gen = (self.tables[name] for name in _NAMES[kind])
        headers, bags, mods, gens = [], [], [], []
        n_bags = n_mods = n_gens = 0
        for row in rows:
            headers.append(header[row : row + 1].copy())
            headers[-1]["bag"] = n_bags
            for zone in range(int(header["bag"][row]), int(header["bag"][row + 1])):
                own_gens = gen[int(bag["gen"][zone]) : int(bag["gen"][zone + 1])]
                own_mods = mod[int(bag["mod"][zone]) : int(bag["mod"][zone + 1])]
                bags.append(np.array([(n_gens, n_mods)], bag.dtype))
                gens.append(own_gens)
                mods.append(own_mods)
                n_bags, n_gens, n_mods = n_bags + 1, n_gens + len(own_gens), n_mods + len(own_mods)
        last = header[-1:].copy()
        last["bag"] = n_bags
        all_gens = np.concatenate([*gens, gen[-1:]])
        leads = np.flatnonzero(all_gens["operator"][:-1] == leading)
        leads_to = sorted({int(amount) for amount in all_gens["amount"][leads]})
        all_gens["amount"][leads] = np.searchsorted(leads_to, all_gens["amount"][leads])
        end = np.array([(n_gens, n_mods)], bag.dtype)
        names = _NAMES[kind][1:]
        tables = dict(
            zip(
                names,
                (np.concatenate([*bags, end]), np.concatenate([*mods, mod[-1:]]), all_gens),
                strict=True,
            )
        )
        return _Part(np.concatenate([*headers, last]), tables, leads_to)

    def _samples(self, rows: list[int]) -> tuple[Table, bytes]:
        headers = self.tables["shdr"][[*rows, -1]].copy()
        parts, place = [], 0
        for header in headers[:-1]:
            part = self.samples[int(header["start"]) : int(header["end"])]
            header["start"], header["end"], header["link"] = place, place + len(part), 0
            header["type"] = MONO | VORBIS  # the other side of a stereo pair need not be there
            parts.append(part)
            place += len(part)
        return headers, b"".join(parts)


def _decoded(headers: Table, content: bytes, decode: Decode) -> tuple[Table, bytes]:
    """Samples as numbers: places count frames, those of loops from the start of all, and silence parts the samples."""
    headers, parts, place = headers.copy(), [], 0
    for header in headers[:-1]:
        frames = decode(content[int(header["start"]) : int(header["end"])])
        header["start"], header["end"] = place, place + len(frames)
        header["loop_start"] += place
        header["loop_end"] += place
        header["type"] &= ~np.uint16(VORBIS)
        parts.append(np.concatenate([frames, np.zeros(SILENCE, np.int16)]))
        place += len(parts[-1])
    return headers, np.concatenate(parts).astype("<i2").tobytes()


_NAMES = {
    kind: (header, f"{kind}bag", f"{kind}mod", f"{kind}gen")
    for kind, header in (("p", "phdr"), ("i", "inst"))
}


@dataclass(frozen=True)
class _Part:
    """Some headers, their zones, and the rows of the next table that these lead to."""

    headers: Table
    tables: dict[str, Table]
    leads_to: list[int]


def bundled_soundfont() -> Path:
    """The soundfont that ships with the package."""
    return Path(str(resources.files("cadenza") / "bundled" / "soundfont" / "FluidR3Mono_GM.sf3"))


@cache
def bundled() -> Soundfont:
    """The bundled soundfont, read once."""
    return Soundfont.read(bundled_soundfont().read_bytes())


def _chunks(body: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Names and contents of the chunks one after another; each begins at an even place."""
    place = 0
    while place + 8 <= len(body):
        size = struct.unpack_from("<I", body, place + 4)[0]
        if place + 8 + size > len(body):
            raise ValueError("a chunk is longer than what holds it")
        yield bytes(body[place : place + 4]), body[place + 8 : place + 8 + size]
        place += 8 + size + size % 2


def _chunk(name: str, content: bytes) -> bytes:
    return name.encode() + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
