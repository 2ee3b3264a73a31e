"""Shared fixtures: a folder of tunes and a tiny model of each architecture trained on it."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cadenza import presets
from cadenza.presets import Preset
from music import write_folder

TINY = Preset(
    "for tests",
    {"architecture": "lstm", "width": 16, "layers": 2, "head_width": 8, "dropout": 0.1},
    {"heads": 2, "memory": 24, "learning_rate": 3e-3},
    lanes=4,
    window=32,
    minutes=None,
    epochs=2.0,
)
TINY_TOKENS = Preset(
    "for tests, on note and chord names",
    {"architecture": "lstm", "width": 16, "layers": 1, "head_width": 8, "residual_heads": False},
    {"heads": 2, "memory": 24, "learning_rate": 3e-3},
    representation="notes-and-chords",
    lanes=4,
    window=16,
    minutes=None,
    epochs=2.0,
    augment=False,
)


def stop_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a training hear Ctrl-C in so many steps."""
    from cadenza import training

    step = training._Run._train_step

    def interrupted(run: Any) -> None:
        if run.learner.step == steps - 1:
            signal.raise_signal(signal.SIGINT)
        step(run)

    monkeypatch.setattr(training._Run, "_train_step", interrupted)


def without_dropout() -> None:
    """Give the preset "tiny" no dropout, which is drawn in another order where processes share a batch."""
    from cadenza import preparation

    presets.PRESETS["tiny"] = replace(TINY, model=TINY.model | {"dropout": 0.0})
    preparation.SMALL_CORPUS_DROPOUT = 0.0


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Networks this small are slower on several threads."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("CADENZA_CACHE", str(tmp_path_factory.mktemp("cache")))


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
    """A trained model folder of each kind: "lstm", "gru", "transformer" and "tokens"."""
    from cadenza.preparation import TrainingOptions
    from cadenza.training import train

    base = tmp_path_factory.mktemp("models")
    kinds = {
        **{kind: TrainingOptions(preset="tiny", architecture=kind) for kind in presets.ARCHITECTURES},
        "tokens": TrainingOptions(preset="tiny-tokens"),
    }
    return {name: train(folder, base / name, options) for name, options in kinds.items()}
