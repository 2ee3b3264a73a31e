"""Named sizes of network with the training settings that suit them; torch-free, so that help can list them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Preset:
    """What `--preset NAME` stands for."""

    description: str
    model: dict[str, Any]  # arguments of ModelConfig
    representation: str = "note-events"
    lanes: int = 16  # windows in a batch
    window: int = 128  # events in a window
    learning_rate: float = 3e-3
    weight_decay: float = 0.05  # AdamW; with 0 it is Adam
    minutes: float | None = 3.0
    epochs: float | None = None
    augment: bool = True
    sampling: dict[str, float] = field(default_factory=lambda: {"temperature": 1.0, "min_p": 0.05})
    # A network that has learned for a few minutes spreads its guesses wider, and needs a firmer hand.
    sampling_when_short: dict[str, float] = field(default_factory=lambda: {"temperature": 1.0, "min_p": 0.2})


PRESETS = {
    "small": Preset(
        "good after three minutes on a laptop",
        {"architecture": "lstm", "width": 240, "layers": 2, "head_width": 128, "dropout": 0.1},
    ),
    "large": Preset(
        "for an hour or a GPU",
        {"architecture": "lstm", "width": 512, "layers": 3, "head_width": 256, "dropout": 0.2},
        lanes=32,
        learning_rate=2e-3,
        minutes=60.0,
    ),
    "tutorial": Preset(
        "the usual tutorial's network on its note-and-chord tokens, for comparison",
        {
            "architecture": "lstm",
            "width": 512,
            "layers": 3,
            "head_width": 256,
            "dropout": 0.3,
            "residual_heads": False,
        },
        representation="notes-and-chords",
        lanes=64,
        window=100,
        learning_rate=1e-3,
        weight_decay=0.0,
        minutes=None,
        epochs=10.0,
        augment=False,
        sampling={"temperature": 1.0},
    ),
}
