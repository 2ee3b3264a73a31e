"""Trains a network for some minutes on sequences that are not scores, keeps the weights of the best validation.

Shared by the benchmarks on published ground, which have representations of their own and the engine's
networks, schema, learner and batches.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cadenza.dataset import PieceSource, WindowStream, padded_batches, value_counts
from cadenza.events import EncodedPiece
from cadenza.learner import Learner, Recipe, to_device
from cadenza.models import LanguageModel, ModelConfig, build_model
from cadenza.presets import ARCHITECTURES
from cadenza.schema import Schema

EVALUATIONS = 20
MATCH_LENGTHS = (2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Published:
    """A result to compare with."""

    model: str
    value: float
    source: str


def parser(description: str, data: str) -> argparse.ArgumentParser:
    """The options that the benchmarks on published ground share; `data` names the one for their file."""
    found = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument(data, type=Path, required=True, help="file with the official splits")
    add_training_options(found, minutes=30.0)
    found.add_argument("--width", type=int, help="of the network; default: what did best")
    found.add_argument("--dropout", type=float, help="default: what did best")
    return found


def add_training_options(parser: argparse.ArgumentParser, minutes: float) -> None:
    """Those that all benchmarks share which train."""
    parser.add_argument(
        "--minutes",
        type=float,
        default=minutes,
        help="to train, evaluations included; with one thread of the processor, else of the clock",
    )
    parser.add_argument("--model", choices=ARCHITECTURES, default="lstm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="default: one for each core")


def report(
    arguments: argparse.Namespace,
    fit: Fit,
    plain: float,
    averaged: float,
    published: Sequence[Published],
    unit: str,
    **facts: Any,
) -> None:
    """Print ours, plain and averaged over transpositions, among theirs, the best last, and one line of JSON."""
    results = {arguments.model: plain, f"{arguments.model}, mean of transpositions": averaged}
    rows = [(p.value, p.model, p.source) for p in published]
    rows += [(value, f"Cadenza, {name}", "this run") for name, value in results.items()]
    for value, model, source in sorted(rows, reverse=True):
        print(f"{value:8.4f}  {model:<52} {source}")
    print(f"({unit}; {fit.parameters:,} parameters, {fit.steps:,} steps in {fit.seconds:,.0f} s)")
    line = {
        **facts,
        "model": arguments.model,
        "seed": arguments.seed,
        "unit": unit,
        "test": results,
        "valid": fit.valid,
        "parameters": fit.parameters,
        "clock": clock_name(),
    }
    line |= {"steps": fit.steps, "seconds": round(fit.seconds, 1), "curve": fit.curve}
    print(json.dumps(line))


def clock() -> float:
    """Seconds; with one thread those that the processor worked for it, whatever else the machine had to do."""
    return time.process_time() if clock_name() == "processor" else time.perf_counter()


def clock_name() -> str:
    """What `clock` counts."""
    return "processor" if torch.get_num_threads() == 1 else "wall"


@dataclass(frozen=True)
class Fit:
    """A trained network and how it came about."""

    model: LanguageModel
    valid: float  # of the weights kept
    curve: list[tuple[float, float, float]]  # seconds, training nats per event, valid
    steps: int
    seconds: float

    @property
    def parameters(self) -> int:
        """How many numbers the network has learned."""
        return sum(p.numel() for p in self.model.parameters())


def fit(
    config: ModelConfig,
    schema: Schema,
    source: PieceSource,
    measure: Callable[[LanguageModel], float],
    *,
    minutes: float,
    seed: int,
    recipe: Recipe,
    lanes: int,
    window: int,
) -> Fit:
    """Train for so many minutes, evaluations included; `measure` is lower for better networks."""
    torch.manual_seed(seed)
    model = build_model(config, schema)
    model.guess(value_counts(source, schema))
    learner = Learner(model, recipe, lanes, torch.device("cpu"))
    judged = build_model(config, schema).eval()
    stream = WindowStream(source, lanes=lanes, length=window)
    start, best, best_weights = clock(), float("inf"), learner.weights()
    curve: list[tuple[float, float, float]] = []
    nats = events = 0.0
    learner.model.train()
    while (share := (clock() - start) / (60 * minutes)) < 1.0:
        batch_nats, n = learner.learn(stream.next_batch(), share)
        nats, events = nats + batch_nats, events + n
        over = clock() - start >= 60 * minutes
        if share * EVALUATIONS < len(curve) + 1 and not over:
            continue
        judged.load_state_dict(learner.weights())
        valid = measure(judged)
        if valid < best:
            best, best_weights = valid, learner.weights()
        seconds = clock() - start
        curve.append((round(seconds, 1), round(nats / events, 4), round(valid, 4)))
        print(f"{seconds:6.0f} s  step {learner.step:6}  train {nats / events:.4f}  valid {valid:.4f}")
        nats = events = 0.0
    judged.load_state_dict(best_weights)
    return Fit(judged, best, curve, learner.step, clock() - start)


def fit_as_told(
    arguments: argparse.Namespace,
    schema: Schema,
    source: PieceSource,
    measure: Callable[[LanguageModel], float],
    *,
    head_width: int,
    dropout: float,
    window: int,
) -> Fit:
    """Train as the options of `parser` say; head_width, dropout and window are those that did best."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    transformer = arguments.model == "transformer"
    config = ModelConfig(
        arguments.model,
        width=arguments.width or (192 if transformer else 160),
        layers=3 if transformer else 2,
        head_width=head_width,
        dropout=dropout if arguments.dropout is None else arguments.dropout,
    )
    return fit(
        config,
        schema,
        source,
        measure,
        minutes=arguments.minutes,
        seed=arguments.seed,
        recipe=Recipe(1.5e-3 if transformer else 3e-3, weight_decay=0.1, average=0.998),
        lanes=16,
        window=window,
    )


@torch.inference_mode()
def piece_nats(model: LanguageModel, pieces: Sequence[EncodedPiece]) -> list[NDArray[np.float64]]:
    """-log p (N, fields) of every piece's events, in the order of the pieces."""
    order = sorted(range(len(pieces)), key=lambda n: len(pieces[n]))
    found: dict[int, NDArray[np.float64]] = {}
    for batch in padded_batches([pieces[n] for n in order]):
        events, context = to_device(batch, torch.device("cpu"))
        hidden, _ = model(events[:, :-1], context[:, :-1])
        nats = model.nats(hidden, events[:, 1:], context[:, 1:]).double().numpy()
        for row in nats:
            n = order[len(found)]
            found[n] = row[: len(pieces[n])]
    return [found[n] for n in range(len(pieces))]


def last_match(symbols: Sequence[Hashable], lengths: Sequence[int] = MATCH_LENGTHS) -> list[tuple[int, int]]:
    """After each symbol: where the symbols just heard were heard last, and how surely.

    Gives (place, level) pairs: `place` is that of the symbol that followed then, -1 if there is none;
    `level` numbers the longest of `lengths` that agrees, from 1 on, 0 if none does.
    """
    seen: list[dict[tuple[Hashable, ...], int]] = [{} for _ in lengths]
    found = []
    for n in range(1, len(symbols) + 1):
        best = (-1, 0)
        for level, length in enumerate(lengths, 1):
            if n < length:
                break
            recent = tuple(symbols[n - length : n])
            place = seen[level - 1].get(recent)
            if place is not None:
                best = (place, level)
            seen[level - 1][recent] = n
        found.append(best)
    return found


def averaged_nats(
    model: LanguageModel, variants: Sequence[Sequence[EncodedPiece]]
) -> list[NDArray[np.float64]]:
    """As `piece_nats`, of the mean of the probabilities that the network gives to variants of each piece.

    The mean of what one network predicts for a piece's transpositions is itself a prediction of its next
    field from those before: the exact likelihood of another, slower model.
    """
    flat = piece_nats(model, [piece for piece_variants in variants for piece in piece_variants])
    found, start = [], 0
    for piece_variants in variants:
        nats = np.stack(flat[start : start + len(piece_variants)])
        found.append(np.log(len(nats)) - np.logaddexp.reduce(-nats, axis=0))
        start += len(piece_variants)
    return found
