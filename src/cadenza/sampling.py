"""Draws events from a network's probabilities; knows ids and rules, not music.

Nucleus sampling: Holtzman et al. 2020; min-p: Nguyen et al. 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cadenza.errors import InputError
from cadenza.runtime import GraphModel, GraphState
from cadenza.schema import NOT_APPLICABLE

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class SamplingOptions:
    """How far to trust the most likely values. Applied to every field, after the rules."""

    temperature: float = 1.0  # 0 takes the most likely value; above 1 is more adventurous
    top_p: float = 1.0  # keep the likeliest values that together have this probability
    top_k: int = 0  # keep this many of the likeliest values; 0 keeps all
    min_p: float = 0.0  # drop values less likely than this share of the likeliest one

    def __post_init__(self) -> None:
        checks = (
            (
                0.0 <= self.temperature <= 10.0,
                f"temperature must be between 0 and 10, not {self.temperature}.",
            ),
            (0.0 < self.top_p <= 1.0, f"top-p must be above 0 and at most 1, not {self.top_p}."),
            (self.top_k >= 0, f"top-k must be 0 (off) or more, not {self.top_k}."),
            (0.0 <= self.min_p < 1.0, f"min-p must be at least 0 and below 1, not {self.min_p}."),
        )
        for good, message in checks:
            if not good:
                raise InputError(message)


class Grammar(Protocol):
    """Which events may follow, for a batch of candidates; see `grammar.NoteGrammar`."""

    batch: int
    done: NDArray[np.bool_]

    def no_context(self) -> IntArray:
        """Context (batch, context fields) of which nothing is known yet."""

    def fill_context(self, field: int, event: IntArray, context: IntArray) -> None:
        """Set the columns of context (batch, context fields) that this field of the next event tells."""

    def applies(self, field: int, event: IntArray) -> NDArray[np.bool_]:
        """Whether (batch,) the next event has this field."""

    def allowed(self, field: int, event: IntArray) -> NDArray[np.bool_] | None:
        """Allowed values (batch, size) of this field; None if all."""

    def advance(self, event: IntArray) -> None:
        """Take note of the event (batch, fields)."""


def draw(
    logits: NDArray[np.float32],
    allowed: NDArray[np.bool_] | None,
    uniform: NDArray[np.float64],
    options: SamplingOptions,
) -> IntArray:
    """One value (B,) per row of logits (B, V) among those allowed (B, V), by uniform numbers (B,)."""
    z = logits.astype(np.float64)
    if allowed is not None:
        z = np.where(allowed, z, -np.inf)
    z -= z.max(axis=1, keepdims=True)
    if options.temperature == 0.0:
        return np.asarray(z.argmax(axis=1), dtype=np.int64)
    p = np.exp(z / options.temperature)
    if 0 < options.top_k < p.shape[1]:
        p[p < np.partition(p, -options.top_k, axis=1)[:, -options.top_k, None]] = 0.0
    if options.min_p > 0.0:
        p[p < options.min_p] = 0.0
    if options.top_p < 1.0:
        _keep_nucleus(p, options.top_p)
    total = np.cumsum(p, axis=1)
    return np.asarray((total <= uniform[:, None] * total[:, -1:]).sum(axis=1), dtype=np.int64)


def _keep_nucleus(p: NDArray[np.float64], top_p: float) -> None:
    ordered = -np.sort(-p, axis=1)
    before = np.cumsum(ordered, axis=1) - ordered
    last = (before < top_p * ordered.sum(axis=1, keepdims=True)).sum(axis=1) - 1
    p[p < ordered[np.arange(len(p)), last][:, None]] = 0.0


def generate(
    model: GraphModel,
    grammar: Grammar,
    n_fields: int,
    options: SamplingOptions,
    randoms: Sequence[np.random.Generator],
    prompt: tuple[IntArray, IntArray] | None = None,
) -> Iterator[IntArray]:
    """Yield events (batch, fields) until every candidate is done.

    prompt: events and context (T, ...) common to all candidates, which `grammar` has advanced over
    already; without it a piece begins. randoms: one generator for each candidate.
    """
    batch = grammar.batch
    x, state = _start(model, batch, n_fields, prompt, grammar)
    while not grammar.done.all():
        uniform = np.stack([random.random(n_fields) for random in randoms])
        event, context = _next_event(model, grammar, x, uniform, options)
        grammar.advance(event)
        yield event
        x, state = model.advance(event[:, None], context[:, None], state)
        x = x[:, -1]


def _start(
    model: GraphModel, batch: int, n_fields: int, prompt: tuple[IntArray, IntArray] | None, grammar: Grammar
) -> tuple[NDArray[np.float32], GraphState]:
    events = np.full((1, n_fields), NOT_APPLICABLE, np.int64)
    context = grammar.no_context()[:1]
    if prompt is not None:
        events, context = np.concatenate([events, prompt[0]]), np.concatenate([context, prompt[1]])
    x, state = model.advance_far(events[None], context[None], model.initial_state(1))
    return np.repeat(x[:, -1], batch, axis=0), model.repeated(state, batch)


def _next_event(
    model: GraphModel,
    grammar: Grammar,
    x: NDArray[np.float32],
    uniform: NDArray[np.float64],
    options: SamplingOptions,
) -> tuple[IntArray, IntArray]:
    """The next event (B, fields), field by field, and its context (B, context fields)."""
    event = np.full(uniform.shape, NOT_APPLICABLE, np.int64)
    context = grammar.no_context()
    for k in range(len(uniform[0])):
        x, logits = model.field_logits(k, x, event, context)
        applies = grammar.applies(k, event)
        if applies.any():
            value = draw(logits, grammar.allowed(k, event), uniform[:, k], options)
            event[:, k] = np.where(applies, value, NOT_APPLICABLE)
        grammar.fill_context(k, event, context)
    return event, context
