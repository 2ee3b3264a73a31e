"""A model on disk: which files it is made of, and reading them without torch.

config.json          format version, network, how it was trained and on what
representation.json  how music becomes events, and what the corpus uses
model.safetensors    the weights
originality.safetensors      hashes of the pieces that were learned from (see `originality`), if wanted
graph-fp32/, graph-int8/   the graphs that composing runs (see `graph`)
training-log.jsonl, loss.svg, README.md
training-state.safetensors   only while training can be resumed
unfinished/          a model that is being written, until it takes the place of the one before
"""

from __future__ import annotations

import hashlib
import json
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
from cadenza.originality import Baseline, Index
from cadenza.repertoire import Repertoire
from cadenza.runtime import GraphModel
from cadenza.sampling import SamplingOptions
from cadenza.score import GM_INSTRUMENTS
from cadenza.tokens import NotesAndChords

FORMAT_VERSION = 8
CONFIG, REPRESENTATION, WEIGHTS = "config.json", "representation.json", "model.safetensors"
INDEX = "originality.safetensors"
LOG, CURVE, CARD, STATE = "training-log.jsonl", "loss.svg", "README.md", "training-state.safetensors"
UNFINISHED = "unfinished"


def bundled_model() -> Path:
    """Folder of the model that ships with the package."""
    return Path(str(resources.files("cadenza") / "bundled" / "model"))


def bundled_corpus() -> Path:
    """Folder of the music that ships with the package."""
    return Path(str(resources.files("cadenza") / "bundled" / "corpus"))


def replace_model(folder: Path, new: Path) -> None:
    """Put the files of a whole model in the place of the one in `folder`, beside which they lie (one file system)."""
    (folder / CONFIG).unlink(missing_ok=True)  # until all files are of one model, it is none
    (folder / INDEX).unlink(missing_ok=True)
    for graphs in folder.glob("graph-*"):
        shutil.rmtree(graphs)
    for file in sorted(new.iterdir(), key=lambda file: file.name == CONFIG):
        file.replace(folder / file.name)


def representation_from(data: dict[str, Any]) -> Representation:
    """The representation that `to_dict` described."""
    kinds: dict[str, Any] = {"note-events": NoteEvents, "notes-and-chords": NotesAndChords}
    options = dict(data)
    kind = options.pop("type", None)
    if kind not in kinds:
        raise ModelError(f"unknown representation {kind!r}; update cadenza.")
    if kind == "notes-and-chords":
        options["vocabulary"] = tuple(map(str, options["vocabulary"]))
    else:
        options["styles"] = tuple(map(str, options["styles"]))
    return kinds[kind](**options)


@dataclass(frozen=True)
class ModelFolder:
    """A trained model, opened; raises ModelError from `open` if it is not one."""

    path: Path
    config: dict[str, Any]
    representation: Representation
    repertoire: Repertoire | None
    character: Character
    styles: dict[str, Repertoire]  # what each style of the corpus uses

    @classmethod
    def open(cls, path: str | Path) -> ModelFolder:
        """Read the JSON of a model folder and check that this version understands it."""
        path = Path(path)
        if not path.is_dir():
            raise ModelError(
                f"{path}: no such model folder; train one with: cadenza train FOLDER --out {path}"
            )
        config = _read_json(path / CONFIG)
        version = config.get("format_version")
        if version != FORMAT_VERSION:
            raise ModelError(
                f"{path}: model format {version!r}, but this cadenza reads {FORMAT_VERSION}; update cadenza or retrain."
            )
        data = _read_json(path / REPRESENTATION)
        try:
            representation = representation_from(data["representation"])
            has_repertoire = isinstance(representation, NoteEvents)
            repertoire = Repertoire.from_dict(data["repertoire"]) if has_repertoire else None
            styles = {str(name): Repertoire.from_dict(part) for name, part in data["styles"].items()}
            character = Character.from_dict(data["character"])
            if set(character.styles) != set(styles):
                raise ValueError("styles and their repertoires disagree")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"{path / REPRESENTATION}: damaged; restore the file or train again.") from error
        folder = cls(path, config, representation, repertoire, character, styles)
        try:
            SamplingOptions(**folder.sampling)
            if not isinstance(config["graphs"], list):
                raise TypeError("precisions are a list")
            _ = folder.usual, folder.baseline, folder.is_mostly_pitched
        except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
            raise ModelError(f"{path / CONFIG}: damaged; restore the file or train again.") from error
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
        return Index.load(self.path / INDEX) if (self.path / INDEX).exists() else None

    def graph(self, precision: str, threads: int = 1) -> GraphModel:
        """The graphs of one precision, "int8" or "fp32"."""
        if precision not in self.precisions:
            raise ModelError(f"{self.path}: has no {precision} graphs, only {', '.join(self.precisions)}.")
        return GraphModel(self.path / f"graph-{precision}", self.representation.schema, threads)

    @cached_property
    def digest(self) -> str:
        """Short hash of the weights, which names the model in sidecars."""
        try:
            return hashlib.sha256((self.path / WEIGHTS).read_bytes()).hexdigest()[:16]
        except OSError as error:
            raise ModelError(f"{self.path / WEIGHTS}: missing; restore the file or train again.") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        raise ModelError(
            f"{path}: missing; this is not a model folder, or training has not finished."
        ) from error
    except (ValueError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: damaged; restore the file or train again.") from error
    if not isinstance(data, dict):
        raise ModelError(f"{path}: damaged; restore the file or train again.")
    return data
