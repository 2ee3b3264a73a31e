"""Draws events from a network's probabilities; knows ids and rules, not music.

Sources: nucleus sampling, Holtzman et al. 2020; min-p (here among all but the likeliest), Nguyen et al. 2024;
drawing by the highest sum of logit and noise, Gumbel 1954 and Maddison et al. 2014.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from cadenza.errors import InputError
from cadenza.runtime import FloatArray, GraphModel, Stepper, no_numbers
from cadenza.schema import NEVER, NOT_APPLICABLE, Schema

IntArray = NDArray[np.int64]

PLACES = 8  # of candidates side by side; with more, what they remember does not fit into a core's cache
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
            self.event = 0
            for row in range(len(self.randoms)):
                self._fill(row)
        self.event += 1
        return self.block[self.event - 1]

    def restart(self, row: int, random: np.random.Generator) -> None:
        """Give this candidate another generator, from whose first numbers it goes on."""
        self.randoms[row] = random
        self._fill(row)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these candidates alone."""
        self.randoms = [self.randoms[row] for row in rows]
        self.block = self.block[:, rows]

    def _fill(self, row: int) -> None:
        """-log(-log(u)) for u from above 0 to below 1, in what is left of the block."""
        left = self.block[self.event :, row]
        found = self.randoms[row].random(left.shape, np.float32)
        np.maximum(found, _TINY, out=found)
        for _ in range(2):
            np.log(found, out=found)
            np.negative(found, out=found)
        left[...] = found


class Drawing(NamedTuple):
    """A candidate that is being drawn."""

    number: int  # by which those who asked for it know it
    grammar: Grammar
    random: np.random.Generator


def generate(
    model: GraphModel,
    take: Callable[[], Drawing | None],
    schema: Schema,
    options: SamplingOptions,
    told: tuple[IntArray, IntArray] | None = None,
) -> Iterator[list[tuple[int, list[int]]]]:
    """Yield (number, event) of every candidate that is being drawn, event by event.

    take: the next candidate, or None if there is none by now. As soon as a grammar is done, or whoever gets the events
    says so, another candidate has its place. What is drawn for one does not depend on those beside it. told: events and context (T, ...) that are there already, which all grammars have
    advanced over; without them a piece begins.
    """
    playing = list(itertools.islice(iter(take, None), PLACES))
    if not playing:
        return
    by_field = [replace(options, min_p=0.0) if field.spread else options for field in schema.fields]
    noise = Noise([drawing.random for drawing in playing], sum(field.size for field in schema.fields))
    steps, logits = _start(model, schema, told, len(playing))
    while True:
        grammars = [drawing.grammar for drawing in playing]
        events, contexts = _next_events(steps, grammars, logits, schema, noise.next(), by_field)
        for grammar, event in zip(grammars, events, strict=True):
            grammar.advance(event)
        yield [(drawing.number, event) for drawing, event in zip(playing, events, strict=True)]
        kept: list[int] = []
        begun: list[int] = []  # among those that are kept
        for row, drawing in enumerate(playing):
            if drawing.grammar.done:
                successor = take()
                if successor is None:
                    continue
                playing[row] = successor
                begun.append(len(kept))
            kept.append(row)
        if not kept:
            return
        if len(kept) < len(playing):
            playing = [playing[row] for row in kept]
            steps.keep(kept)
            noise.keep(kept)
        logits = steps.advance([events[row] + contexts[row] for row in kept])
        for row in begun:  # in place of what follows the last event of the one before
            steps.restart(row)
            noise.restart(row, playing[row].random)


def _start(
    model: GraphModel, schema: Schema, told: tuple[IntArray, IntArray] | None, candidates: int
) -> tuple[Stepper, FloatArray]:
    """So many candidates after what is there already, and the logits (B, size) of their first field."""
    columns = np.full((1, len(schema.fields) + len(schema.context)), NOT_APPLICABLE, np.int64)
    if told is not None:
        columns = np.concatenate([columns, np.concatenate(told, axis=1)])
    x, logits, state = model.advance_far(columns[None], model.initial_state(1))
    steps = Stepper(model, state, x[:, -1], logits[:, -1], candidates)
    return steps, np.repeat(logits[:, -1], candidates, axis=0)


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
                    if bias[value] <= NEVER or not math.isfinite(logits.item(row, value)):
                        raise no_numbers(steps.model)  # of which some always may be drawn
                    event[k] = grammar.taken(k, value)
        if schema.context_after(k):
            for grammar, event, context in everyone:
                grammar.fill_context(k, event, context)
        start += field.size
    return events, contexts
