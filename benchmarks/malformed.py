"""What becomes of files that are damaged, odd or no MIDI at all, beside what becomes of them according to the table.

    python -m benchmarks.malformed FOLDER [--write]

Reads every file below the folder and compares verdict, reason and number of notes with `malformed.json` beside this file,
which --write makes anew; a `manifest.json` in the folder that tells what a good reader does is heeded, too. Prints
what differs, and exits with 1 if anything does.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from cadenza.corpus import examine
from cadenza.files import write_atomic

TABLE = Path(__file__).with_suffix(".json")
REFUSED = ("unreadable", "not MIDI", "empty")
Row = dict[str, Any]


def verdict_on(path: Path) -> Row:
    """What is said of a file."""
    facts = examine(path).facts
    found = {"verdict": facts["verdict"], "reason": facts["reason"]}
    return found | ({"notes": facts["facts"]["notes"]} if facts.get("facts") else {})


def is_as_expected(row: Row, wanted: Row) -> bool:
    """Whether a verdict is what a manifest calls for: to parse, repair, reject or find no note, or one of them."""
    refused, notes = row["verdict"] in REFUSED, row.get("notes", 0)
    allowed = wanted["expect"].split("_or_")
    if refused:
        return bool({"reject", "no_crash"} & set(allowed)) or (
            "empty" in allowed and row["verdict"] != "not MIDI"
        )
    counts = [int(word) for word in str(wanted.get("notes", "")).split() if word.isdigit()]
    if "empty" in allowed and not notes:
        return True
    return "no_crash" in allowed or (
        bool({"parse", "repair"} & set(allowed)) and (not counts or notes in counts)
    )


def main() -> int:
    """Compare, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    paths = sorted(path for path in arguments.folder.rglob("*") if path.is_file())
    start = time.process_time()
    found = {str(path.relative_to(arguments.folder)): verdict_on(path) for path in paths}
    seconds = time.process_time() - start
    if arguments.write:
        write_atomic(TABLE, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    known = json.loads(TABLE.read_text())
    differing = [name for name in sorted({*found, *known}) if found.get(name) != known.get(name)]
    for name in differing:
        print(f"{name}: {found.get(name)}, in the table {known.get(name)}")
    unexpected = []
    for manifest in arguments.folder.rglob("manifest.json"):
        for name, wanted in json.loads(manifest.read_text()).items():
            row = found[str((manifest.parent / name).relative_to(arguments.folder))]
            if not is_as_expected(row, wanted):
                unexpected.append(name)
                print(f"{name}: {row}, expected {wanted}")
    verdicts = Counter(row["verdict"] for row in found.values())
    result = {
        "files": len(found),
        "verdicts": dict(verdicts.most_common()),
        "differ": len(differing),
        "unexpected": len(unexpected),
        "seconds": round(seconds, 2),
    }
    print(json.dumps(result))
    return 1 if differing or unexpected else 0


if __name__ == "__main__":
    raise SystemExit(main())
