"""A model on disk: which files it is made of, and reading them without torch.

config.json          format version, network, how it was trained and on what
representation.json  how music becomes events, and what the corpus uses
model.safetensors    the weights
originality.safetensors      hashes of the pieces that were learned from (see `originality`), if wanted
graph-fp32/, graph-int8/   the graphs that composing runs (see `graph`)
SHA256SUMS           checksums of all the above, in the format of sha256sum; each file is checked when it is read
training-log.jsonl, loss.svg, README.md
training-state.safetensors   only while training can be resumed; -before: the one before it, until the run is over
unfinished/          a model that is being written, until it takes the place of the one before
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from cadenza.character import Character
from cadenza.dataset import Representation
from cadenza.errors import InputError, ModelError
from cadenza.events import NoteEvents
from cadenza.files import not_written, sync_folder, write_atomic
from cadenza.originality import Baseline, Index
from cadenza.repertoire import Repertoire
from cadenza.runtime import GraphModel
from cadenza.sampling import SamplingOptions
from cadenza.score import GM_INSTRUMENTS
from cadenza.tokens import NotesAndChords, checked_name

FORMAT_VERSION = 11
CONFIG, REPRESENTATION, WEIGHTS = "config.json", "representation.json", "model.safetensors"
INDEX, SUMS = "originality.safetensors", "SHA256SUMS"
LOG, CURVE, CARD, STATE = "training-log.jsonl", "loss.svg", "README.md", "training-state.safetensors"
STATE_BEFORE = "training-state-before.safetensors"
UNFINISHED, PRECISIONS = "unfinished", ("fp32", "int8")
_SUM = re.compile(r"([0-9a-f]{64})  ([\w./-]+)\n")
_MOST_SUMS = 2**16  # bytes of checksums, far above those of any preset


def bundled_model() -> Path:
    """Folder of the model that ships with the package."""
    return Path(str(resources.files("cadenza") / "bundled" / "model"))


def bundled_corpus() -> Path:
    """Folder of the music that ships with the package."""
    return Path(str(resources.files("cadenza") / "bundled" / "corpus"))


def has_checkpoint(folder: Path) -> bool:
    """Whether training can be gone on with here."""
    return (folder / STATE).exists() or (folder / STATE_BEFORE).exists()


def replace_model(folder: Path, new: Path) -> None:
    """Put the files of a whole model in the place of the one in `folder`, beside which they lie (one file system).

    Raises InputError or StorageError if that fails, and then there is none.
    """
    try:
        (folder / CONFIG).unlink(missing_ok=True)  # until all files are of one model, it is none
        (folder / INDEX).unlink(missing_ok=True)
        for graphs in folder.glob("graph-*"):
            shutil.rmtree(graphs)
        for file in sorted(new.iterdir(), key=lambda file: file.name == CONFIG):
            file.replace(folder / file.name)
        sync_folder(folder)
    except OSError as error:
        raise not_written(folder, error) from error


def write_sums(folder: Path) -> None:
    """Write the checksums of all files that are there and are read; what `open` and others check from then on."""
    single = [path for name in (CONFIG, INDEX, REPRESENTATION, WEIGHTS) if (path := folder / name).exists()]
    paths = [*sorted(folder.glob("graph-*/*.onnx")), *single]
    lines = [f"{_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in paths]
    write_atomic(folder / SUMS, "".join(lines))


def _read_sums(path: Path) -> dict[str, str]:
    """Checksums by name; raises ModelError if they are missing or damaged."""
    try:
        text = _opened(path)[:_MOST_SUMS].decode("ascii")
    except UnicodeDecodeError as error:
        raise _damaged(path) from error
    found = {match[2]: match[1] for match in _SUM.finditer(text)}
    if not found or text != "".join(f"{digest}  {name}\n" for name, digest in found.items()):
        raise _damaged(path)
    return found


def _opened(path: Path) -> bytes:
    """What is in a file of a model; raises ModelError if it is none, such as a pipe, or cannot be read."""
    try:
        if path.is_file():
            return path.read_bytes()
    except OSError as error:
        raise _missing(path) from error
    raise _missing(path)


def _digest(path: Path) -> str:
    try:
        if not path.is_file():
            raise _missing(path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _missing(path) from error


def _missing(path: Path) -> ModelError:
    return ModelError(f"{path}: missing; this is not a model folder, or training has not finished.")


def _damaged(path: Path) -> ModelError:
    return ModelError(f"{path}: damaged or changed by hand; restore the file or train again.")


def representation_from(data: dict[str, Any]) -> Representation:
    """The representation that `to_dict` described."""
    kinds: dict[str, Any] = {"note-events": NoteEvents, "notes-and-chords": NotesAndChords}
    options = dict(data)
    kind = options.pop("type", None)
    if kind not in kinds:
        raise ModelError(f"unknown representation {kind!r}; update cadenza.")
    if kind == "notes-and-chords":
        options["vocabulary"] = tuple(map(checked_name, options["vocabulary"]))
    else:
        options["styles"] = tuple(map(str, options["styles"]))
    return kinds[kind](**options)


_WRONG_VALUES = (LookupError, TypeError, ValueError, AttributeError, OverflowError)


@dataclass(frozen=True)
class ModelFolder:
    """A trained model, opened; raises ModelError from `open` if it is not one."""

    path: Path
    config: dict[str, Any]
    representation: Representation
    repertoire: Repertoire | None
    character: Character
    styles: dict[str, Repertoire]  # what each style of the corpus uses
    sums: dict[str, str]  # SHA-256 of each of its files when it was written

    @classmethod
    def open(cls, path: str | Path) -> ModelFolder:
        """Read the JSON of a model folder and check that this version understands it."""
        path = Path(path)
        if not path.is_dir():
            raise ModelError(
                f"{path}: no such model folder; train one with: cadenza train FOLDER --out {path}"
            )
        config = _json(_opened(path / CONFIG), path / CONFIG)
        version = config.get("format_version")
        if version == FORMAT_VERSION or (path / SUMS).exists():  # which earlier formats lack
            sums = _read_sums(path / SUMS)
            _check(path, CONFIG, sums)
        if version != FORMAT_VERSION:
            raise ModelError(
                f"{path}: model format {version!r}, but this cadenza reads {FORMAT_VERSION}; update cadenza or retrain."
            )
        _check(path, REPRESENTATION, sums)
        data = _json(_opened(path / REPRESENTATION), path / REPRESENTATION)
        try:
            representation = representation_from(data["representation"])
            has_repertoire = isinstance(representation, NoteEvents)
            repertoire = Repertoire.from_dict(data["repertoire"]) if has_repertoire else None
            styles = {str(name): Repertoire.from_dict(part) for name, part in data["styles"].items()}
            character = Character.from_dict(data["character"])
            if set(character.styles) != set(styles):
                raise ValueError("styles and their repertoires disagree")
        except (*_WRONG_VALUES, InputError) as error:
            raise _damaged(path / REPRESENTATION) from error
        folder = cls(path, config, representation, repertoire, character, styles, sums)
        try:
            SamplingOptions(**folder.sampling)
            if not isinstance(config["graphs"], list) or not set(config["graphs"]) <= set(PRECISIONS):
                raise ValueError("unknown precisions")
            _ = folder.usual, folder.baseline, folder.is_mostly_pitched
        except (*_WRONG_VALUES, InputError) as error:
            raise _damaged(path / CONFIG) from error
        return folder

    @property
    def precisions(self) -> list[str]:
        """Precisions of the graphs there are, the one that composes first."""
        found = [name for name in self.config["graphs"] if (self.path / f"graph-{name}").is_dir()]
        if not found:
            raise ModelError(f"{self.path}: no graph-int8 or graph-fp32 folder; train the model again.")
        return found

    @property
    def sampling(self) -> dict[str, Any]:
        """The model's own sampling options."""
        return dict(self.config.get("sampling", {}))

    @property
    def usual(self) -> dict[str, tuple[float, float]]:
        """The usual range of every measure by which pieces are ranked (see `likeness`)."""
        return {name: (float(low), float(high)) for name, (low, high) in self.config["usual"].items()}

    @property
    def baseline(self) -> Baseline:
        """What pieces by people share with those learned from."""
        return Baseline.from_dict(self.config["originality"])

    @cached_property
    def is_mostly_pitched(self) -> bool:
        """Whether at least half of the pieces that were learned from have a pitched instrument in common."""
        corpus = self.config["corpus"]
        pitched = [count for name, count in corpus["instruments"].items() if name in GM_INSTRUMENTS]
        return 2 * max(pitched, default=0) >= corpus["pieces"]

    @cached_property
    def index(self) -> Index | None:
        """Of the pieces that were learned from, if the model has one."""
        return Index.load(self.checked(INDEX)) if (self.path / INDEX).exists() else None

    def graph(self, precision: str, threads: int = 1) -> GraphModel:
        """The graphs of one precision, "int8" or "fp32"."""
        if precision not in self.precisions:
            raise ModelError(f"{self.path}: has no {precision} graphs, only {', '.join(self.precisions)}.")
        folder = self.path / f"graph-{precision}"
        for path in sorted(folder.glob("*.onnx")):
            self.checked(f"{folder.name}/{path.name}")
        return GraphModel(folder, self.representation.schema, threads)

    @cached_property
    def digest(self) -> str:
        """Short hash of the weights, which names the model in sidecars."""
        self.checked(WEIGHTS)
        return self.sums[WEIGHTS][:16]

    def checked(self, name: str) -> Path:
        """The path of a file; raises ModelError if it is not as it was written."""
        _check(self.path, name, self.sums)
        return self.path / name


def _check(folder: Path, name: str, sums: dict[str, str]) -> None:
    if _digest(folder / name) != sums.get(name):
        raise _damaged(folder / name)


def _json(content: bytes, path: Path) -> dict[str, Any]:
    """What is in a file of a model; raises ModelError if it is no JSON."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not isinstance(data, dict):
        raise _damaged(path)
    return data
