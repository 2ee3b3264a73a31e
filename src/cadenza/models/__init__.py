"""Networks that predict events: one contract, `LanguageModel`, and one way to build them, `build_model`."""

from cadenza.models.language_model import LanguageModel, ModelConfig, State
from cadenza.models.recurrent import RecurrentLM
from cadenza.models.transformer import TransformerLM

__all__ = ["LanguageModel", "ModelConfig", "RecurrentLM", "State", "TransformerLM", "build_model"]

from cadenza.schema import Schema


def build_model(config: ModelConfig, schema: Schema) -> LanguageModel:
    """A freshly initialised network for events of this schema."""
    if config.architecture == "transformer":
        return TransformerLM(config, schema)
    return RecurrentLM(config, schema)
