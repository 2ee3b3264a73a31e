"""How a folder of very many files is read: first, again, and after a few of them have changed.

    python -m benchmarks.library FOLDER --files 100000

The files are those of the folder, transposed and at other tempi until there are enough of them, made anew
in a temporary folder. Memory is the greatest resident size of the process, scores mapped from disk included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from cadenza import scan
from cadenza.midi import midi_bytes
from cadenza.score import transpose

CHILD = """
import json, resource, sys, time
from pathlib import Path
from cadenza.corpus import scan
from cadenza.library import Library
start = time.perf_counter()
corpus = scan(sys.argv[1], library=Library(Path(sys.argv[2])), workers=0)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"pieces": len(corpus.pieces), "seconds": round(seconds, 1), "peak_mib": round(peak)}))
"""


def write_files(folder: Path, out: Path, count: int) -> int:
    """Write `count` variations of the folder's pieces; returns how many notes they have."""
    pieces = scan(folder, workers=0).pieces
    notes = 0
    for n in range(count):
        score = pieces[n % len(pieces)].score
        octave, shift = divmod(n // len(pieces), 12)
        tempi = score.tempi.copy()
        tempi["qpm"] *= 1 + octave / 100
        varied = transpose(replace(score, tempi=tempi), shift - 6)
        strokes = varied.notes[octave:]  # without its first notes it is another piece
        path = out / f"{n // 1000:03d}" / f"{n:06d}.mid"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(midi_bytes(replace(varied, notes=strokes)))
        notes += len(strokes)
    return notes


def main() -> None:
    """See the file's head."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        files, library = Path(scratch) / "files", Path(scratch) / "library"
        files.mkdir()
        start = time.perf_counter()
        notes = write_files(arguments.folder, files, arguments.files)
        print(f"{arguments.files:,} files of {notes:,} notes written in {time.perf_counter() - start:,.0f} s")
        results = {"files": arguments.files, "notes": notes}
        for name in ("first", "again", "one in a thousand changed"):
            if name.startswith("one"):
                for path in list(files.rglob("*.mid"))[::1000]:
                    path.touch()
            output = subprocess.run(
                [sys.executable, "-c", CHILD, files, library], capture_output=True, text=True, check=True
            ).stdout
            results[name] = json.loads(output)
            print(f"{name}: {output.strip()}", flush=True)
        stored = sum(path.stat().st_size for path in library.iterdir())
        results["library_mib"] = round(stored / 2**20)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
