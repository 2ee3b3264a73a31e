"""Cadenza learns the style of a folder of MIDI files and composes new pieces in it.

from cadenza import Composer
Composer.from_pretrained("my-model").compose(bars=16, seed=1).save("x.mid")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cadenza.errors import CadenzaError, InputError, MidiError, ModelError, StorageError, TrainingError
from cadenza.version import __version__

if TYPE_CHECKING:
    from cadenza.composer import Composer, Composition
    from cadenza.corpus import Corpus, scan
    from cadenza.midi import read_midi, write_midi
    from cadenza.options import ComposeOptions
    from cadenza.preparation import TrainingOptions
    from cadenza.score import Score
    from cadenza.training import train

__all__ = [
    "CadenzaError",
    "ComposeOptions",
    "Composer",
    "Composition",
    "Corpus",
    "InputError",
    "MidiError",
    "ModelError",
    "Score",
    "StorageError",
    "TrainingError",
    "TrainingOptions",
    "__version__",
    "read_midi",
    "scan",
    "train",
    "write_midi",
]

# Imported at first use, so that `cadenza --help` is quick and nothing but `train` needs torch.
_HOME = {
    "ComposeOptions": "options",
    "Composer": "composer",
    "Composition": "composer",
    "Corpus": "corpus",
    "Score": "score",
    "TrainingOptions": "preparation",
    "read_midi": "midi",
    "scan": "corpus",
    "train": "training",
    "write_midi": "midi",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'cadenza' has no attribute {name!r}")
    return getattr(import_module(f"cadenza.{_HOME[name]}"), name)
