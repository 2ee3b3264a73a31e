"""Transformer with a memory of fixed length: constant memory and time per step, whatever the length of the piece."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cadenza.errors import InputError
from cadenza.models.language_model import Dropout, LanguageModel, ModelConfig, State
from cadenza.rotary import CYCLE, rotary_clocks
from cadenza.schema import Schema


class TransformerLM(LanguageModel):
    """Causal pre-norm Transformer (Vaswani et al. 2017; Radford et al. 2019) over the last `memory` events.

    Every layer sees the event itself and the `memory` events before it. Positions are rotary (Su et al.
    2021), by two clocks: half of the pairs turn with the number of events, half with the time that has
    passed, so that attention can ask for "three notes ago" as well as for "two bars ago".

    The state is (keys, values), each (layers, B, memory, width), which of these slots are in use
    (1, B, memory), and both clocks (1, B, 2).
    """

    clocks: Tensor
    periods: Tensor

    def __init__(self, config: ModelConfig, schema: Schema) -> None:
        super().__init__(config, schema)
        if config.width % (2 * config.heads):
            raise InputError(
                f"width {config.width} cannot be divided into {config.heads} heads of even size."
            )
        if CYCLE % config.memory:
            raise InputError(f"memory {config.memory} does not divide {CYCLE}; choose a power of 2.")
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        clocks, periods = rotary_clocks(config.width // config.heads // 2, schema.clock is not None)
        self.register_buffer("clocks", torch.tensor(clocks), persistent=False)
        self.register_buffer("periods", torch.tensor(periods), persistent=False)
        self._shrink_residuals()

    def _shrink_residuals(self) -> None:
        """Start with every layer close to the identity (Radford et al. 2019)."""
        scale = 0.5 / math.sqrt(2 * self.config.layers)
        for name, parameter in self.layers.named_parameters():
            if name.endswith(("attended.weight", "down.weight")):
                parameter.data *= scale
            elif name.endswith(("attended.bias", "down.bias")):
                nn.init.zeros_(parameter)

    def initial_state(self, batch: int) -> State:
        """See LanguageModel."""
        config, zeros = self.config, next(self.parameters()).new_zeros
        shape = (config.layers, batch, config.memory, config.width)
        return zeros(shape), zeros(shape), zeros(1, batch, config.memory), zeros(1, batch, 2)

    def advance(self, x: Tensor, elapsed: Tensor, state: State | None) -> tuple[Tensor, State]:
        """See LanguageModel. Long sequences pass in parts of `memory` events, so that cost grows linearly."""
        state = self.initial_state(len(x)) if state is None else state
        parts = []
        for start in range(0, x.shape[1], self.config.memory):
            part = slice(start, start + self.config.memory)
            hidden, state = self._advance_part(x[:, part], elapsed[:, part], state)
            parts.append(hidden)
        return torch.cat(parts, dim=1), state

    def _advance_part(self, x: Tensor, elapsed: Tensor, state: State) -> tuple[Tensor, State]:
        keys, values, used, clocks = state
        ticks = torch.stack([elapsed, torch.ones_like(elapsed)], dim=-1).to(clocks.dtype)
        now = (clocks[0, :, None] + ticks.cumsum(dim=1)) % CYCLE
        # Taken within its period first, a turn is exact; of a large angle, single precision keeps too little.
        angle = (now[..., self.clocks] % self.periods * (2 * math.pi / self.periods))[:, :, None]
        turn = (angle.cos().to(x.dtype), angle.sin().to(x.dtype))
        used = torch.cat([used[0], used.new_ones(x.shape[:2])], dim=1)
        mask = self._visible(x.shape[1], used)
        after = []
        for n, layer in enumerate(self.layers):
            x, memory = layer(x, turn, mask, keys[n], values[n])
            after.append(memory)
        new_keys, new_values = (torch.stack(column) for column in zip(*after, strict=True))
        return x, (new_keys, new_values, used[None, :, -self.config.memory :], now[None, :, -1])

    def _visible(self, length: int, used: Tensor) -> Tensor:
        """Which of memory + length slots (B, 1, length, memory + length) each of the new events sees."""
        memory = self.config.memory
        back = torch.arange(length, device=used.device)[:, None] + memory
        back = back - torch.arange(memory + length, device=used.device)
        return ((back >= 0) & (back <= memory))[None, None] & (used[:, None, None] > 0)


class _Layer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.heads, self.memory = config.heads, config.memory
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = Dropout(config.dropout)

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x (B, T, width) after this layer, and its memory of keys and values, each (B, memory, width)."""
        batch, length, width = x.shape
        of_heads = (batch, -1, self.heads, width // self.heads)
        query, key, value = self.query_key_value(self.norm_attention(x)).chunk(3, dim=-1)
        query = rotated(query.view(of_heads), turn)
        key = rotated(key.reshape(of_heads), turn).flatten(2).to(value.dtype)
        keys = torch.cat([keys.to(value.dtype), key], dim=1)
        values = torch.cat([values.to(value.dtype), value], dim=1)
        mixed = attention(query, keys.view(of_heads), values.view(of_heads), mask)
        x = x + self.dropout(self.attended(mixed.reshape(batch, length, width)))
        x = x + self.dropout(self.down(F.gelu(self.up(self.norm_mlp(x)))))
        return x, (keys[:, -self.memory :], values[:, -self.memory :])


def attention(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Scaled dot-product attention of query (B, T, heads, size) on keys and values (B, S, heads, size).

    mask (B, 1, T, S) is true where a query sees a key. Where autocast learns in bfloat16 on a CPU it is written out:
    the gradient of PyTorch's fused kernel takes five times as long there (2.13).
    """
    query, keys, values = (part.transpose(1, 2) for part in (query, keys, values))
    if torch.is_grad_enabled() and query.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        hidden = torch.zeros(mask.shape, dtype=torch.bfloat16).masked_fill_(~mask, -math.inf)
        scores = torch.baddbmm(
            hidden.expand(-1, query.shape[1], -1, -1).flatten(0, 1),
            query.flatten(0, 1),
            keys.flatten(0, 1).transpose(1, 2),
            alpha=1 / math.sqrt(query.shape[-1]),
        )
        mixed = torch.bmm(scores.softmax(dim=-1), values.flatten(0, 1)).view(query.shape)
    else:
        mixed = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
    return mixed.transpose(1, 2)


def rotated(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """x (B, T, heads, size) with the pairs (n, n + size / 2) turned by angles given as cos and sin."""
    cos, sin = turn
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
