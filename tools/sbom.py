"""Prints what an installation is made of: its packages and those in the page, with versions and licences (CycloneDX 1.6).

pip install '.[train,web,audio]' && python tools/sbom.py > sbom.json
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
EXTRAS = ("train", "web", "audio")
Component = dict[str, Any]


def installed(name: str = "cadenza", extras: tuple[str, ...] = EXTRAS) -> dict[str, Distribution]:
    """All packages that this one needs with these extras, itself left out."""
    found: dict[str, Distribution] = {}
    asked = [(name, extras)]
    while asked:
        own, wanted = asked.pop()
        for line in distribution(own).requires or []:
            need = Requirement(line)
            if need.marker and not any(need.marker.evaluate({"extra": extra}) for extra in (*wanted, "")):
                continue
            try:
                package = distribution(need.name)
            except PackageNotFoundError:  # for another system
                continue
            if package.name not in found:
                found[package.name] = package
                asked.append((package.name, tuple(need.extras)))
    return dict(sorted(found.items()))


def licence_of(package: Distribution) -> str:
    """As its metadata tell it: an SPDX expression, classifiers, or whatever stands for a licence."""
    told = package.metadata
    if expression := told.get("License-Expression"):
        return expression
    classifiers = [
        each.split(" :: ")[-1] for each in told.get_all("Classifier") or [] if "License ::" in each
    ]
    return " and ".join(classifiers) or (told.get("License") or "unknown").splitlines()[0]


def in_page(lock: Path = ROOT / "page" / "package-lock.json") -> Iterator[tuple[str, str, str]]:
    """Name, version and licence of the packages from which the page is built, without what only builds it."""
    for path, facts in json.loads(lock.read_text())["packages"].items():
        if path and not facts.get("dev"):
            yield re.sub(r".*node_modules/", "", path), facts["version"], facts.get("license", "unknown")


def _component(name: str, version: str, licence: str, kind: str) -> Component:
    return {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:{kind}/{name}@{version}",
        "licenses": [{"license": {"name": licence}}],
    }


def main() -> None:
    """Print it."""
    packages = [_component(p.name, p.version, licence_of(p), "pypi") for p in installed().values()]
    page = [_component(*each, "npm") for each in in_page()]
    own = distribution("cadenza")
    print(
        json.dumps(
            {
                "bomFormat": "CycloneDX",
                "specVersion": "1.6",
                "metadata": {"component": {"type": "application", "name": own.name, "version": own.version}},
                "components": [*packages, *page],
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
