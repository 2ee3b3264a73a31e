"""Networks that predict events: one contract, `LanguageModel`, and one way to build them, `build_model`."""

from cadenza.models.language_model import LanguageModel, ModelConfig, State
from cadenza.models.recurrent import RecurrentLM

__all__ = ["LanguageModel", "ModelConfig", "RecurrentLM", "State", "build_model"]

from cadenza.schema import Schema


def build_model(config: ModelConfig, schema: Schema) -> LanguageModel:
    """A freshly initialised network for events of this schema."""
    return RecurrentLM(config, schema)
