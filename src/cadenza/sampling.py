"""Draws events from a network's probabilities; knows ids and rules, not music.

Nucleus sampling: Holtzman et al. 2020; min-p: Nguyen et al. 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cadenza.errors import InputError
from cadenza.runtime import FloatArray, GraphModel, GraphState
from cadenza.schema import NOT_APPLICABLE, Schema

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
    """Which events may follow in one piece; see `grammar.NoteGrammar`."""

    done: bool

    def no_context(self) -> list[int]:
        """Context of the next event, of which nothing is known yet."""

    def fill_context(self, field: int, event: list[int], context: list[int]) -> None:
        """Set the columns of the context that this field of the next event tells."""

    def allowed(self, field: int, event: list[int]) -> NDArray[np.bool_] | None:
        """Which values (size,) this field may take; None if the next event does not have it."""

    def advance(self, event: list[int]) -> None:
        """Take note of the event."""


def draw(
    logits: FloatArray,
    allowed: NDArray[np.bool_],
    waits: FloatArray,
    options: SamplingOptions,
) -> IntArray:
    """One value (B,) per row of logits (B, V) among those allowed (B, V).

    waits (B, V) are standard exponential numbers: the value drawn is the one whose wait, divided by its
    probability, is over first, which needs neither a sum nor a search.
    """
    z = np.where(allowed, logits, -np.inf)
    if options.temperature == 0.0:
        return z.argmax(axis=1)
    z -= np.maximum.reduce(z, axis=1, keepdims=True)
    if options.temperature != 1.0:
        z /= options.temperature
    p = np.exp(z)
    if 0 < options.top_k < p.shape[1]:
        p[p < np.partition(p, -options.top_k, axis=1)[:, -options.top_k, None]] = 0.0
    if options.min_p > 0.0:
        p *= p >= options.min_p
    if options.top_p < 1.0:
        _keep_nucleus(p, options.top_p)
    p /= waits
    return p.argmax(axis=1)


class Waits:
    """Exponential numbers for a candidate's draws, made for many events at once."""

    EVENTS = 64

    def __init__(self, random: np.random.Generator, sizes: Sequence[int]) -> None:
        self.random, self.total = random, sum(sizes)
        self.event = self.EVENTS

    def next(self) -> FloatArray:
        """Numbers (sum of the fields' sizes,) for one event."""
        if self.event == self.EVENTS:
            found = self.random.standard_exponential((self.EVENTS, self.total), dtype=np.float32)
            self.block, self.event = np.maximum(found, np.finfo(np.float32).tiny), 0
        self.event += 1
        return self.block[self.event - 1]


def _keep_nucleus(p: NDArray[np.floating[Any]], top_p: float) -> None:
    ordered = -np.sort(-p, axis=1)
    before = np.cumsum(ordered, axis=1) - ordered
    last = (before < top_p * ordered.sum(axis=1, keepdims=True)).sum(axis=1) - 1
    p[p < ordered[np.arange(len(p)), last][:, None]] = 0.0


def generate(
    model: GraphModel,
    grammars: Sequence[Grammar],
    schema: Schema,
    options: SamplingOptions,
    randoms: Sequence[np.random.Generator],
    prompt: tuple[IntArray, IntArray] | None = None,
) -> Iterator[list[tuple[int, list[int]]]]:
    """Yield (candidate, event) of all candidates that are not done yet, event by event.

    grammars, randoms: one for each candidate. prompt: events and context (T, ...) common to all of them,
    which the grammars have advanced over already; without it a piece begins.
    """
    sizes = [field.size for field in schema.fields]
    waits = [Waits(random, sizes) for random in randoms]
    playing = list(range(len(grammars)))
    x, logits, state = _start(model, len(playing), len(sizes), prompt, grammars[0])
    while True:
        those = [grammars[n] for n in playing]
        now = np.array([waits[n].next() for n in playing])
        events, contexts = _next_events(model, those, x, logits, schema, now, options)
        for grammar, event in zip(those, events, strict=True):
            grammar.advance(event)
        yield list(zip(playing, events, strict=True))
        keep = [row for row, grammar in enumerate(those) if not grammar.done]
        if not keep:
            return
        if len(keep) < len(playing):
            events, contexts = [events[row] for row in keep], [contexts[row] for row in keep]
            playing, state = [playing[row] for row in keep], model.rows(state, keep)
        columns = [[event + context] for event, context in zip(events, contexts, strict=True)]
        x, logits, state = model.advance(np.array(columns), state)
        x, logits = x[:, -1], logits[:, -1]


def _start(
    model: GraphModel, batch: int, n_fields: int, prompt: tuple[IntArray, IntArray] | None, grammar: Grammar
) -> tuple[FloatArray, FloatArray, GraphState]:
    """Hidden vectors (B, width), logits (B, size) of the first field and state before the first event."""
    columns = np.full((1, n_fields + len(grammar.no_context())), NOT_APPLICABLE, np.int64)
    if prompt is not None:
        columns = np.concatenate([columns, np.concatenate(prompt, axis=1)])
    x, logits, state = model.advance_far(columns[None], model.initial_state(1))
    everyone = [0] * batch
    return x[everyone, -1], logits[everyone, -1], model.rows(state, everyone)


def _next_events(
    model: GraphModel,
    grammars: Sequence[Grammar],
    x: FloatArray,
    logits: FloatArray,
    schema: Schema,
    waits: FloatArray,
    options: SamplingOptions,
) -> tuple[list[list[int]], list[list[int]]]:
    """The next event (fields) of every candidate, field by field, and its context."""
    events = [[NOT_APPLICABLE] * len(schema.fields) for _ in grammars]
    contexts = [grammar.no_context() for grammar in grammars]
    start = 0
    for k, field in enumerate(schema.fields):
        if k > 0:
            told = schema.context_after(k - 1)
            known = [
                [event[k - 1], *(context[c] for c in told)]
                for event, context in zip(events, contexts, strict=True)
            ]
            x, logits = model.field_logits(k, x, np.array(known))
        masks = [grammar.allowed(k, event) for grammar, event in zip(grammars, events, strict=True)]
        some = next((mask for mask in masks if mask is not None), None)
        if some is not None:
            # What is drawn for candidates without this field is not used.
            allowed = np.array([some if mask is None else mask for mask in masks])
            values = draw(logits, allowed, waits[:, start : start + field.size], options).tolist()
            for event, mask, value in zip(events, masks, values, strict=True):
                if mask is not None:
                    event[k] = value
        for grammar, event, context in zip(grammars, events, contexts, strict=True):
            grammar.fill_context(k, event, context)
        start += field.size
    return events, contexts
