"""Draws events from a network's probabilities; knows ids and rules, not music.

Sources: nucleus sampling, Holtzman et al. 2020; min-p (here among all but the likeliest), Nguyen et al. 2024;
drawing by the highest sum of logit and noise, Gumbel 1954 and Maddison et al. 2014.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from cadenza.errors import InputError
from cadenza.runtime import FloatArray, GraphModel, Stepper, no_numbers
from cadenza.schema import NEVER, NOT_APPLICABLE, Schema

IntArray = NDArray[np.int64]

_TINY = np.finfo(np.float32).tiny
_COLDEST = (
    1e-6  # temperature; below it the likeliest value is taken, as logits divided by less would overflow
)


@dataclass(frozen=True)
class SamplingOptions:
    """How far to trust the most likely values. Applied to every field, after the rules."""

    temperature: float = 1.0  # 0 takes the most likely value; above 1 is more adventurous
    top_p: float = 1.0  # keep the likeliest values that together have this probability
    top_k: int = 0  # keep this many of the likeliest values; 0 keeps all
    # Drop values less likely than this share of the second likeliest, but of fields that are spread. The likeliest keeps
    # its probability: it is most often the one that repeats, and with more than its due a piece falls into a loop.
    min_p: float = 0.0

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

    def copy(self) -> Self:
        """One that goes on from here by itself."""

    def no_context(self) -> list[int]:
        """Context of the next event, of which nothing is known yet."""

    def fill_context(self, field: int, event: list[int], context: list[int]) -> None:
        """Set the columns of the context that this field of the next event tells; asked if it tells any."""

    def bias(self, field: int, event: list[int]) -> FloatArray | None:
        """What to add to the logits (size,) of this field; None if the next event does not have it."""

    def taken(self, field: int, value: int) -> int:
        """What the next event has in this field if this value is drawn."""

    def advance(self, event: list[int]) -> None:
        """Take note of the event."""


def draw(logits: FloatArray, noise: FloatArray, options: SamplingOptions) -> list[int]:
    """One value (B) per row of logits (B, V), which is used up, and in which what must not be drawn is NEVER.

    noise (B, V): standard Gumbel numbers. The value with the highest sum of logit and noise is drawn as often
    as it is likely, which needs no exponentials.
    """
    if options.temperature < _COLDEST:
        found: list[int] = logits.argmax(axis=1).tolist()
        return found
    z = logits if options.temperature == 1.0 else logits / np.float32(options.temperature)
    if options.top_k > 0 or options.top_p < 1.0:
        z = np.where(z >= _lowest_kept(z, options), z, np.float32(NEVER))
    race = z + noise
    winners: list[int] = race.argmax(axis=1).tolist()
    if options.min_p > 0.0:
        for row, likeliest in enumerate(z.argmax(axis=1).tolist()):
            if winners[row] != likeliest:
                winners[row] = _winner_among_others(z[row], race[row], likeliest, options.min_p)
    return winners


def _winner_among_others(z: FloatArray, race: FloatArray, likeliest: int, min_p: float) -> int:
    """Who wins the race (V,) among all but the likeliest value, if those that min-p drops do not run.

    Both arrays are used up.
    """
    z[likeliest] = NEVER
    race[z < np.maximum.reduce(z) + np.float32(math.log(min_p))] = NEVER
    return int(race.argmax())


def _lowest_kept(z: FloatArray, options: SamplingOptions) -> FloatArray:
    """The lowest logit (B, 1) of those that top-k and top-p leave in."""
    ordered = -np.sort(-z, axis=1)
    if 0 < options.top_k < z.shape[1]:
        ordered[:, options.top_k :] = NEVER
    p = np.exp(ordered - ordered[:, :1])
    before = np.cumsum(p, axis=1) - p
    last = (before < options.top_p * p.sum(axis=1, keepdims=True)).sum(axis=1, keepdims=True) - 1
    lowest: FloatArray = np.take_along_axis(
        ordered, np.minimum(last, (p > 0.0).sum(axis=1, keepdims=True) - 1), axis=1
    )
    return lowest


class Noise:
    """Gumbel numbers for the draws of some candidates, each from its own generator, made for many events at once."""

    EVENTS = 64

    def __init__(self, randoms: Sequence[np.random.Generator], size: int) -> None:
        self.randoms = list(randoms)
        self.block = np.empty((self.EVENTS, len(randoms), size), np.float32)
        self.event = self.EVENTS

    def next(self) -> FloatArray:
        """Numbers (B, size) for one event of every candidate."""
        if self.event == self.EVENTS:
            self._refill()
        self.event += 1
        return self.block[self.event - 1]

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these candidates alone."""
        self.randoms = [self.randoms[row] for row in rows]
        self.block = self.block[:, rows]

    def _refill(self) -> None:
        """-log(-log(u)), in place, for u from above 0 to below 1."""
        shape = self.block[:, 0].shape
        for row, random in enumerate(self.randoms):
            self.block[:, row] = random.random(shape, np.float32)
        np.maximum(self.block, _TINY, out=self.block)
        for _ in range(2):
            np.log(self.block, out=self.block)
            np.negative(self.block, out=self.block)
        self.event = 0


def generate(
    model: GraphModel,
    grammars: Sequence[Grammar],
    schema: Schema,
    options: SamplingOptions,
    randoms: Sequence[np.random.Generator],
    told: tuple[IntArray, IntArray] | None = None,
) -> Iterator[list[tuple[int, list[int]]]]:
    """Yield (candidate, event) of all candidates that are not done yet, event by event.

    grammars, randoms: one for each candidate. told: events and context (T, ...) that are there already,
    which all grammars have advanced over; without them a piece begins.
    """
    noise = Noise(randoms, sum(field.size for field in schema.fields))
    playing = list(range(len(grammars)))
    columns = np.full((1, len(schema.fields) + len(schema.context)), NOT_APPLICABLE, np.int64)
    if told is not None:
        columns = np.concatenate([columns, np.concatenate(told, axis=1)])
    steps, logits = _start(model, len(playing), columns)
    by_field = [replace(options, min_p=0.0) if field.spread else options for field in schema.fields]
    while True:
        those = [grammars[n] for n in playing]
        events, contexts = _next_events(steps, those, logits, schema, noise.next(), by_field)
        for grammar, event in zip(those, events, strict=True):
            grammar.advance(event)
        yield list(zip(playing, events, strict=True))
        keep = [row for row, grammar in enumerate(those) if not grammar.done]
        if not keep:
            return
        if len(keep) < len(playing):
            events, contexts = [events[row] for row in keep], [contexts[row] for row in keep]
            playing, steps = [playing[row] for row in keep], steps.of(keep)
            noise.keep(keep)
        logits = steps.advance([event + context for event, context in zip(events, contexts, strict=True)])


def _start(model: GraphModel, batch: int, columns: IntArray) -> tuple[Stepper, FloatArray]:
    """Where every candidate begins after these events (T, columns), and the logits (B, size) of its first field."""
    x, logits, state = model.advance_far(columns[None], model.initial_state(1))
    everyone = [0] * batch
    return Stepper(model, model.rows(state, everyone), x[everyone, -1]), logits[everyone, -1]


def _next_events(
    steps: Stepper,
    grammars: Sequence[Grammar],
    logits: FloatArray,
    schema: Schema,
    noise: FloatArray,
    options: Sequence[SamplingOptions],
) -> tuple[list[list[int]], list[list[int]]]:
    """The next event (fields) of every candidate, field by field, and its context; options: of each field."""
    events = [[NOT_APPLICABLE] * len(schema.fields) for _ in grammars]
    contexts = [grammar.no_context() for grammar in grammars]
    everyone = list(zip(grammars, events, contexts, strict=True))
    start = 0
    for k, (field, chances) in enumerate(zip(schema.fields, options, strict=True)):
        if k > 0:
            told = schema.context_after(k - 1)
            known = [[event[k - 1], *[context[c] for c in told]] for _, event, context in everyone]
            logits = steps.field_logits(k, known)
        biases = [grammar.bias(k, event) for grammar, event, _ in everyone]
        some = next((bias for bias in biases if bias is not None), None)
        if some is not None:
            # What is drawn for candidates without this field is not used.
            biased = np.concatenate([some if bias is None else bias for bias in biases]).reshape(logits.shape)
            biased += logits
            values = draw(biased, noise[:, start : start + field.size], chances)
            for row, ((grammar, event, _), bias, value) in enumerate(
                zip(everyone, biases, values, strict=True)
            ):
                if bias is not None:
                    if bias[value] <= NEVER or not math.isfinite(logits[row, value]):
                        raise no_numbers(steps.model)  # of which some always may be drawn
                    event[k] = grammar.taken(k, value)
        if schema.context_after(k):
            for grammar, event, context in everyone:
                grammar.fill_context(k, event, context)
        start += field.size
    return events, contexts
