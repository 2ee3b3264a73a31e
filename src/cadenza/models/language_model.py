"""What every network shares: how events enter it, and how its output becomes field probabilities.

A network turns events into one hidden vector per position. From it the fields of the next event are
predicted one after the other, each conditioned on those before it:

    x = norm(hidden);  logits(field k) = out_k(x + mlp_k(x));  x = x + embedding_k(field k) ...

The context of the next event is added likewise, each fact as soon as it is known.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from cadenza.errors import InputError
from cadenza.presets import ARCHITECTURES
from cadenza.schema import NOT_APPLICABLE, ContextField, Field, Schema, rows_of

State = tuple[Tensor, ...]

INPUT_SCALE, CONDITION_SCALE, CONTEXT_SCALE = (
    0.5,
    0.3,
    0.03,
)  # of embeddings at first; see the log of ablations


@dataclass(frozen=True)
class ModelConfig:
    """Size and kind of a network; saved with its weights."""

    architecture: str = "lstm"
    width: int = 256  # of the hidden vector and of the embeddings
    layers: int = 2
    head_width: int = 256  # of the hidden layer in each field's head
    dropout: float = 0.1  # between layers and before the heads, while training
    heads: int = 4  # of the Transformer's attention
    memory: int = 256  # events that each layer of the Transformer looks back
    residual_heads: bool = True  # False: plain dense heads, as in the usual tutorial

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise InputError(
                f"unknown model {self.architecture!r}; choose one of {', '.join(ARCHITECTURES)}."
            )


class LanguageModel(nn.Module):
    """p(next event | events so far); subclasses give `advance`, from embedded events to hidden vectors."""

    def __init__(self, config: ModelConfig, schema: Schema) -> None:
        super().__init__()
        self.config, self.schema = config, schema
        fields, context = schema.fields, schema.context
        # Nothing applies to the event from which the first one of a piece is predicted.
        self.embed = SummedEmbedding([*fields, *context], config.width, INPUT_SCALE)
        self.norm = nn.LayerNorm(config.width) if config.residual_heads else nn.Identity()
        self.dropout = Dropout(config.dropout)
        self.condition = nn.ModuleList(
            SummedEmbedding(
                [column, *(context[c] for c in schema.context_after(k))], config.width, CONDITION_SCALE
            )
            for k, column in enumerate(fields[:-1])
        )
        self.heads = nn.ModuleList(
            Head(config.width, config.head_width, column.size, config.residual_heads) for column in fields
        )

    @torch.no_grad()
    def guess(self, counts: Sequence[NDArray[np.int64]]) -> None:
        """Before anything is learned, let every field's values be as likely as they are frequent.

        counts: of each field, how often its values (size,) occur in some of the music. Else a network spends its
        first steps on finding this out.
        """
        for head, found in zip(self.heads, counts, strict=True):
            assert isinstance(head, Head)
            share = torch.as_tensor((found + 1) / (found + 1).sum(), dtype=torch.float32)
            head.out.bias.copy_(share.log())

    @abstractmethod
    def advance(self, x: Tensor, elapsed: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Hidden vectors (B, T, width) of embedded events (B, T, width), and the state after them.

        elapsed (B, T) is the time from the event before to each event, in steps of the schema's clock.
        """

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """State before the first event, all zeros; the second dimension of every part is the batch."""

    def forward(self, events: Tensor, context: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Normalised hidden vectors (B, T, width) after each event, and the state after the last one.

        events (B, T, fields) and context (B, T, context fields) are integers. Feeding a sequence in
        pieces, with the state handed on, equals feeding it at once.
        """
        clock = self.schema.clock
        elapsed = events[..., clock].clamp(min=0) if clock is not None else torch.zeros_like(events[..., 0])
        hidden, state = self.advance(self.embed(torch.cat([events, context], dim=-1)), elapsed, state)
        return self.dropout(self.norm(hidden)), state

    def logits(self, hidden: Tensor, events: Tensor, context: Tensor) -> list[Tensor]:
        """Logits (B, T, size) of every field of the next events, given those events (B, T, fields)."""
        x, found = hidden, []
        for k, head in enumerate(self.heads):
            found.append(head(x))
            if k < len(self.condition):
                known = [events[..., k : k + 1], context[..., self.schema.context_after(k)]]
                x = x + self.condition[k](torch.cat(known, dim=-1))
        return found

    def nats(self, hidden: Tensor, events: Tensor, context: Tensor) -> Tensor:
        """-log p (B, T, fields) of each field of the next events; 0 where one does not apply."""
        columns = []
        for k, logits in enumerate(self.logits(hidden, events, context)):
            target = events[..., k]
            loss = F.cross_entropy(
                logits.float().flatten(0, 1),
                target.flatten(),
                ignore_index=NOT_APPLICABLE,
                reduction="none",
            )
            columns.append(loss.view(target.shape))
        return torch.stack(columns, dim=-1)


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) with a random byte for each element, so that shares are of 256ths.

    On a CPU it takes a fifth of the time of PyTorch's, which draws a double for each.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.dropped = min(255, round(256 * share))

    def forward(self, x: Tensor) -> Tensor:
        """x, of which a share is 0 while training, the rest being scaled for it."""
        if not self.training or not self.dropped:
            return x
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device)
        words.random_(torch.iinfo(torch.int64).min, None)
        kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= self.dropped
        return x * kept * (256 / (256 - self.dropped))


class Head(nn.Module):
    """Logits of one field from the hidden vector: out(x + mlp(x)), or a plain dense layer before out."""

    def __init__(self, width: int, head_width: int, size: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.up = nn.Linear(width, head_width)
        self.down = nn.Linear(head_width, width) if residual else nn.Identity()
        self.out = nn.Linear(width if residual else head_width, size)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (..., size) of x (..., width)."""
        if self.residual:
            return self.out(x + self.down(F.gelu(self.up(x))))
        return self.out(self.up(x))


class SummedEmbedding(nn.Module):
    """Sum of one learned vector for each of several categorical columns; "not applicable" has one too."""

    offsets: Tensor

    def __init__(self, columns: Sequence[Field], width: int, scale: float) -> None:
        super().__init__()
        starts, size = rows_of(columns)
        scales = torch.empty(size, 1)
        for column, start in zip(columns, starts, strict=True):
            small = isinstance(column, ContextField)
            scales[start - 1 : start + column.size] = CONTEXT_SCALE if small else scale
        self.weight = nn.Parameter(torch.randn(size, width) * scales)
        self.register_buffer("offsets", torch.tensor(starts), persistent=False)

    def forward(self, columns: Tensor) -> Tensor:
        """Vectors (..., width) of values (..., columns) from -1 on."""
        rows = (columns + self.offsets).flatten(0, -2)
        return F.embedding_bag(rows, self.weight, mode="sum").view(*columns.shape[:-1], -1)
