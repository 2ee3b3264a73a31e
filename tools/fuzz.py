"""Feeds what reads strangers' bytes with inputs that reach ever more of its code (atheris, which is libFuzzer for Python).

    pip install '.[train,web,fuzz]'
    python tools/fuzz.py midi|zip|graph|index [libFuzzer's options, such as -max_total_time=600]

Whatever is no `CadenzaError` is a finding, and is kept in the working folder as crash-*; those that were mended lie in
tests/found, where a test reads them again.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["cadenza"]):
    from cadenza.corpus import examine
    from cadenza.errors import CadenzaError
    from cadenza.graph_rules import check_graph
    from cadenza.model_folder import INDEX, bundled_corpus, bundled_model
    from cadenza.originality import Index
    from cadenza.web.uploads import unpacked

N_SEEDS = 100


def fuzz_midi(data: bytes, file: Path) -> None:
    """A file of a folder."""
    file.write_bytes(data)
    examine(file)


def fuzz_zip(data: bytes, _: Path) -> None:
    """A zip that is brought to the studio."""
    for _ in unpacked("music.zip", io.BytesIO(data)):
        pass


def fuzz_graph(data: bytes, _: Path) -> None:
    """A graph of a model."""
    try:
        check_graph(data)
    except ValueError:
        return


def fuzz_index(data: bytes, file: Path) -> None:
    """What a model knows of the pieces it learned from."""
    file.write_bytes(data)
    Index.load(file)


TARGETS: dict[str, Callable[[bytes, Path], None]] = {
    "midi": fuzz_midi,
    "zip": fuzz_zip,
    "graph": fuzz_graph,
    "index": fuzz_index,
}


def seeds(target: str) -> list[bytes]:
    """Inputs to begin with: small and healthy."""
    pieces = sorted(bundled_corpus().rglob("*.mid"), key=lambda path: path.stat().st_size)[:N_SEEDS]
    if target == "midi":
        return [path.read_bytes() for path in pieces]
    if target == "zip":
        import zipfile

        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in pieces[:3]:
                archive.write(path, path.name)
        return [packed.getvalue()]
    if target == "graph":
        return [min((bundled_model() / "graph-int8").iterdir(), key=lambda p: p.stat().st_size).read_bytes()]
    return [(bundled_model() / INDEX).read_bytes()[:20_000]]


def main() -> None:
    """Fuzz one target until libFuzzer ends."""
    target = sys.argv[1] if len(sys.argv) > 1 else ""
    if target not in TARGETS:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "seeds"
        start.mkdir()
        for number, data in enumerate(seeds(target)):
            (start / str(number)).write_bytes(data)
        file = Path(folder) / ("case.mid" if target == "midi" else "case")

        def one(data: bytes) -> None:
            try:
                TARGETS[target](data, file)
            except CadenzaError:
                return

        atheris.Setup([sys.argv[0], *sys.argv[2:], str(start)], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
