"""LSTM and GRU networks: constant memory per step, whatever the length of the piece."""

from __future__ import annotations

from torch import Tensor, nn

from cadenza.models.language_model import LanguageModel, ModelConfig, State
from cadenza.schema import Schema


class RecurrentLM(LanguageModel):
    """Stacked LSTM (Hochreiter and Schmidhuber 1997) or GRU (Cho et al. 2014) layers.

    The state is (h, c) or (h,), each (layers, B, width).
    """

    def __init__(self, config: ModelConfig, schema: Schema) -> None:
        super().__init__(config, schema)
        cell = nn.LSTM if config.architecture == "lstm" else nn.GRU
        dropout = config.dropout if config.layers > 1 else 0.0
        self.cells = cell(config.width, config.width, config.layers, batch_first=True, dropout=dropout)
        if config.architecture == "lstm":
            self._remember_at_first()

    def _remember_at_first(self) -> None:
        """Start with open forget gates, so that gradients reach far back (Jozefowicz et al. 2015)."""
        width = self.config.width
        for layer in range(self.config.layers):
            bias = getattr(self.cells, f"bias_ih_l{layer}")
            bias.data[width : 2 * width] += 1.0

    def advance(self, x: Tensor, elapsed: Tensor, state: State | None) -> tuple[Tensor, State]:
        """See LanguageModel."""
        if self.config.architecture == "lstm":
            hidden, after = self.cells(x, state)
            return hidden, tuple(after)
        hidden, h = self.cells(x, state[0] if state is not None else None)
        return hidden, (h,)

    def initial_state(self, batch: int) -> State:
        """See LanguageModel."""
        zeros = next(self.parameters()).new_zeros(self.config.layers, batch, self.config.width)
        return (zeros, zeros.clone()) if self.config.architecture == "lstm" else (zeros,)
