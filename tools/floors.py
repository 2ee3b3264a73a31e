"""Prints the lowest versions that `pyproject.toml` allows, as constraints for pip.

    python tools/floors.py > floors.txt && pip install --constraint floors.txt '.[train,web,audio]'

The tests pass with them as with the newest.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

EXTRAS = ("train", "web", "audio")


def floors(project: Path) -> list[str]:
    """Lines such as "numpy==1.26" for every dependency of those who use the package."""
    known = tomllib.loads(project.read_text())["project"]
    wanted = [
        *known["dependencies"],
        *(each for extra in EXTRAS for each in known["optional-dependencies"][extra]),
    ]
    pairs = [re.fullmatch(r"([\w-]+)>=([\d.]+)", each) for each in wanted]
    assert all(pairs), "every dependency has a floor"
    return [f"{pair[1]}=={pair[2]}" for pair in pairs if pair]


if __name__ == "__main__":
    print("\n".join(floors(Path(__file__).parents[1] / "pyproject.toml")))
