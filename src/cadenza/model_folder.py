"""A model on disk: which files it is made of, and reading them without torch.

config.json          format version, network, how it was trained and on what
representation.json  how music becomes events, and what the corpus uses
model.safetensors    the weights
graph-fp32/, graph-int8/   the graphs that composing runs (see `graph`)
training-log.jsonl, loss.svg, README.md
training-state.safetensors   only while training can be resumed
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from cadenza.dataset import Representation
from cadenza.errors import ModelError
from cadenza.events import NoteEvents
from cadenza.grammar import Repertoire
from cadenza.runtime import GraphModel
from cadenza.tokens import NotesAndChords

FORMAT_VERSION = 1
CONFIG, REPRESENTATION, WEIGHTS = "config.json", "representation.json", "model.safetensors"
LOG, CURVE, CARD, STATE = "training-log.jsonl", "loss.svg", "README.md", "training-state.safetensors"


def bundled_model() -> Path:
    """Folder of the model that ships with the package."""
    return Path(str(resources.files("cadenza") / "bundled" / "model"))


def bundled_corpus() -> Path:
    """Folder of the music that ships with the package."""
    return Path(str(resources.files("cadenza") / "bundled" / "corpus"))


def representation_from(data: dict[str, Any]) -> Representation:
    """The representation that `to_dict` described."""
    kinds: dict[str, Any] = {"note-events": NoteEvents, "notes-and-chords": NotesAndChords}
    options = dict(data)
    kind = options.pop("type", None)
    if kind not in kinds:
        raise ModelError(f"unknown representation {kind!r}; update cadenza.")
    if kind == "notes-and-chords":
        options["vocabulary"] = tuple(options["vocabulary"])
    return kinds[kind](**options)


@dataclass(frozen=True)
class ModelFolder:
    """A trained model, opened; raises ModelError from `open` if it is not one."""

    path: Path
    config: dict[str, Any]
    representation: Representation
    repertoire: Repertoire | None

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
            repertoire = data.get("repertoire")
            return cls(
                path,
                config,
                representation_from(data["representation"]),
                Repertoire.from_dict(repertoire) if repertoire else None,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"{path / REPRESENTATION}: damaged; restore the file or train again.") from error

    def graph(self, precision: str | None = None, threads: int = 1) -> GraphModel:
        """The graphs of one precision; by default int8, else what there is."""
        choices = [precision] if precision else ["int8", "fp32"]
        for choice in choices:
            folder = self.path / f"graph-{choice}"
            if folder.is_dir():
                return GraphModel(folder, self.representation.schema, threads)
        raise ModelError(f"{self.path}: no graph-{choices[0]} folder; train the model again.")

    def best_graph(self, threads: int = 1) -> GraphModel:
        """The most exact graphs there are, for measuring."""
        exact = (self.path / "graph-fp32").is_dir()
        return self.graph("fp32" if exact else None, threads)

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
