"""Named sizes of network with the training settings that suit them; torch-free, so that help can list them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ARCHITECTURES = ("lstm", "gru", "transformer")


@dataclass(frozen=True)
class Preset:
    """What `--preset NAME` stands for."""

    description: str
    model: dict[str, Any]  # arguments of ModelConfig
    transformer: dict[str, Any]  # those that differ if it is a Transformer, and its learning rate
    representation: str = "note-events"
    lanes: int = 16  # windows in a batch
    window: int = 128  # events in a window
    learning_rate: float = 3e-3
    weight_decay: float = 0.05  # AdamW; with 0 it is Adam
    minutes: float | None = 3.0
    epochs: float | None = None
    augment: bool = True
    # Precisions of the graphs, the one that composes first: int8 is the faster one where matrices are large.
    graphs: tuple[str, ...] = ("fp32", "int8")
    sampling: dict[str, float] = field(default_factory=lambda: {"temperature": 1.0, "min_p": 0.2})

    def network(self, architecture: str | None) -> tuple[dict[str, Any], float]:
        """Arguments of ModelConfig and the highest learning rate; None stands for the preset's own kind."""
        model = self.model | ({"architecture": architecture} if architecture else {})
        if model["architecture"] != "transformer":
            return model, self.learning_rate
        changes = dict(self.transformer)
        learning_rate = changes.pop("learning_rate")
        return model | changes, learning_rate


PRESETS = {
    "small": Preset(
        "good after three minutes on a laptop",
        {"architecture": "transformer", "width": 128, "layers": 2, "head_width": 128, "dropout": 0.1},
        {"heads": 4, "memory": 64, "learning_rate": 3e-3},
    ),
    "medium": Preset(
        "for an hour or more on a laptop",
        {"architecture": "transformer", "width": 192, "layers": 3, "head_width": 192, "dropout": 0.1},
        {"heads": 6, "memory": 128, "learning_rate": 2e-3},
        learning_rate=2e-3,
        minutes=60.0,
        graphs=("int8", "fp32"),
        sampling={"temperature": 1.0, "min_p": 0.02},
    ),
    "large": Preset(
        "for a GPU, or many hours",
        {"architecture": "lstm", "width": 512, "layers": 3, "head_width": 256, "dropout": 0.2},
        {"width": 512, "layers": 8, "heads": 8, "memory": 512, "learning_rate": 6e-4},
        lanes=32,
        learning_rate=2e-3,
        minutes=60.0,
        graphs=("int8", "fp32"),
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
        {"layers": 3, "heads": 8, "memory": 96, "learning_rate": 5e-4},
        representation="notes-and-chords",
        lanes=64,
        window=100,
        learning_rate=1e-3,
        weight_decay=0.0,
        minutes=None,
        epochs=10.0,
        augment=False,
        graphs=("int8", "fp32"),
        sampling={"temperature": 1.0},
    ),
}
