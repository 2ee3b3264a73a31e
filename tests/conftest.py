"""Shared fixtures: a folder of tunes and a tiny model of each architecture trained on it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cadenza import presets
from cadenza.presets import Preset
from music import write_folder

TINY = Preset(
    "for tests",
    {"architecture": "lstm", "width": 16, "layers": 2, "head_width": 8, "dropout": 0.1},
    lanes=4,
    window=32,
    minutes=None,
    epochs=2.0,
)
TINY_TOKENS = Preset(
    "for tests, on note and chord names",
    {"architecture": "lstm", "width": 16, "layers": 1, "head_width": 8, "residual_heads": False},
    representation="notes-and-chords",
    lanes=4,
    window=16,
    minutes=None,
    epochs=2.0,
    augment=False,
)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Networks this small are slower on several threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def tiny_presets() -> None:
    """Presets "tiny" and "tiny-tokens", of networks that train in a second."""
    presets.PRESETS["tiny"] = TINY
    presets.PRESETS["tiny-tokens"] = TINY_TOKENS


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six tunes in two styles."""
    return write_folder(tmp_path_factory.mktemp("tunes"))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, folder: Path, tiny_presets: None) -> dict[str, Path]:
    """A trained model folder of each kind: "lstm", "gru" and "tokens"."""
    from cadenza.training import TrainingOptions, train

    base = tmp_path_factory.mktemp("models")
    kinds = {
        "lstm": TrainingOptions(preset="tiny", architecture="lstm"),
        "gru": TrainingOptions(preset="tiny", architecture="gru"),
        "tokens": TrainingOptions(preset="tiny-tokens"),
    }
    return {name: train(folder, base / name, options) for name, options in kinds.items()}
