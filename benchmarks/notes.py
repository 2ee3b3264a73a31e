"""Nats per note of held-out pieces: Cadenza's events beside MidiTok's REMI tokens, with the same networks.

    python -m benchmarks.notes --folder FOLDER --tokens events|remi|bpe [--model M] [--minutes N] [--seed S]

FOLDER has the parts `train` and `valid`. Some pieces of `train` are held out to choose the best weights;
`valid` is measured once, with them. Both representations get the same notes, on the same grid of 12 steps
in a quarter, with the same durations and 16 levels of loudness, and are transposed by up to six semitones (ours also get other tempi, by up to 5 %).
REMI's nats are those of all its tokens with the end of the piece, ours those of all fields of all events;
both are divided by the number of notes. Deviations from the grid are in neither. Needs miditok for REMI.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import fitting
from benchmarks.tutorial import exit_code, require
from cadenza.corpus import Piece, scan
from cadenza.dataset import Augmentation, AugmentedScores, PieceSource, shuffled
from cadenza.events import EncodedPiece, NoteEvents
from cadenza.holdout import split
from cadenza.learner import Recipe
from cadenza.midi import midi_bytes
from cadenza.models import LanguageModel, ModelConfig
from cadenza.presets import PRESETS
from cadenza.schema import Field, Schema
from cadenza.score import Score, transpose
from cadenza.vocabulary import EventArray

SEMITONES = 6
BPE_VOCABULARY = 2000
EVALUATION_NOTES = 15_000
# REMI spends about four tokens on a note: its windows and its Transformer's memory are longer.
REMI_WINDOW, REMI_MEMORY = 256, 256


@dataclass(frozen=True)
class Tokenised:
    """How scores become events for the network."""

    schema: Schema
    encode: Callable[[Score], EncodedPiece]
    source: PieceSource  # of the training pieces
    window: int
    changes: dict[str, int]  # to the network of the preset
    encode_without: Callable[[Score], EncodedPiece] | None = None  # not told what followed the last time


class Remi:
    """MidiTok's REMI (Huang and Yang 2020; Fradet et al. 2021) as events of one field, with or without BPE."""

    def __init__(self, scores: Sequence[Score], bpe: bool) -> None:
        from miditok import REMI, TokenizerConfig

        programs = len({int(i) for score in scores for i in score.instruments}) > 1
        self.tokenizer = REMI(
            TokenizerConfig(
                pitch_range=(0, 127),
                beat_res={(0, 8): 12, (8, 32): 1},
                num_velocities=16,
                special_tokens=["PAD", "EOS"],
                use_programs=programs,
                use_tempos=True,
                num_tempos=48,
                tempo_range=(20, 300),
                log_tempos=True,
                use_time_signatures=True,
                time_signature_range={2: range(1, 9), 4: range(1, 13), 8: range(1, 25), 16: range(1, 33)},
                drums_pitch_range=(0, 127),
            )
        )
        self.bpe = bpe
        if bpe:
            self._learn_pairs(scores)

    def _learn_pairs(self, scores: Sequence[Score]) -> None:
        rng = np.random.default_rng(0)
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{n}.mid" for n in range(len(scores))]
            for path, score in zip(paths, scores, strict=True):
                path.write_bytes(midi_bytes(transpose(score, int(rng.choice(_shifts(score))))))
            self.tokenizer.train(vocab_size=BPE_VOCABULARY, model="BPE", files_paths=paths)

    @cached_property
    def schema(self) -> Schema:
        """One field, no context."""
        return Schema((Field("token", len(self.tokenizer)),))

    def ids(self, score: Score) -> list[int]:
        """Tokens of a score and the end, before pairs are joined."""
        import symusic

        sequences = self.tokenizer.encode(symusic.Score.from_midi(midi_bytes(score)), encode_ids=False)
        sequence = sequences if not isinstance(sequences, list) else sequences[0]
        return [*sequence.ids, self.tokenizer["EOS_None"]]

    def piece(self, ids: Sequence[int]) -> EncodedPiece:
        """What the network sees of these tokens."""
        from miditok import TokSequence

        ids = list(ids)
        if self.bpe:
            sequence = TokSequence(ids=ids[:-1])
            self.tokenizer.complete_sequence(sequence)
            self.tokenizer.encode_token_ids(sequence)
            ids = [*sequence.ids, ids[-1]]
        return EncodedPiece(np.array(ids, np.int32)[:, None], np.empty((len(ids), 0), np.int16))

    def encode(self, score: Score) -> EncodedPiece:
        """A score as it is."""
        return self.piece(self.ids(score))

    @cached_property
    def _shifted(self) -> dict[int, EventArray]:
        """For each number of semitones, what every token becomes."""
        vocabulary: dict[str, int] = self.tokenizer.vocab
        found = {}
        for semitones in range(-SEMITONES, SEMITONES + 1):
            table = np.arange(len(self.tokenizer))
            for name, number in vocabulary.items():
                kind, _, value = name.partition("_")
                if kind == "Pitch" and 0 <= int(value) + semitones < 128:
                    table[number] = vocabulary[f"Pitch_{int(value) + semitones}"]
            found[semitones] = table
        return found

    def transposed(self, ids: EventArray, semitones: int) -> EventArray:
        """The tokens of the transposed piece."""
        return self._shifted[semitones][ids]


@dataclass(frozen=True)
class TransposedTokens:
    """A PieceSource of REMI tokens, each time transposed anew."""

    remi: Remi
    pieces: Sequence[tuple[EventArray, Sequence[int]]]  # tokens, and by how much they can be transposed
    seed: int

    def __len__(self) -> int:
        return len(self.pieces)

    def draw(self, number: int) -> EncodedPiece:
        """See PieceSource."""
        index, rng = shuffled(number, len(self.pieces), self.seed)
        ids, shifts = self.pieces[index]
        return self.remi.piece(self.remi.transposed(ids, int(rng.choice(shifts))).tolist())


def _shifts(score: Score) -> list[int]:
    pitches = score.notes["pitch"]
    low, high = int(pitches.min(initial=127)), int(pitches.max(initial=0))
    return [s for s in range(-SEMITONES, SEMITONES + 1) if low + s >= 0 and high + s < 128]


def tokenised(tokens: str, scores: Sequence[Score], seed: int) -> Tokenised:
    """The representation of that name, and the training scores in it."""
    if tokens == "events":
        events = NoteEvents()
        varied = AugmentedScores(scores, events, Augmentation(SEMITONES), seed)
        without = partial(events.encode_piece, matches=False)
        return Tokenised(events.schema, events.encode_piece, varied, PRESETS["small"].window, {}, without)
    remi = Remi(scores, bpe=tokens == "bpe")
    pieces = [(np.array(remi.ids(score)), _shifts(score)) for score in scores]
    source = TransposedTokens(remi, pieces, seed)
    return Tokenised(remi.schema, remi.encode, source, REMI_WINDOW, {"memory": REMI_MEMORY})


def on_grid(score: Score) -> Score:
    """The score as it is left by 12 steps in a quarter and 16 levels of loudness."""
    events = NoteEvents()
    return events.decode(events.encode(score))


def measure(model: LanguageModel, pieces: Sequence[EncodedPiece], notes: int) -> float:
    """Nats per note."""
    return sum(float(nats.sum()) for nats in fitting.piece_nats(model, pieces)) / notes


def fit_preset(arguments: argparse.Namespace, form: Tokenised, held_out: Sequence[Piece]) -> fitting.Fit:
    """Train the small preset's network; some of the held-out pieces choose the weights."""
    judged: list[Score] = []
    for piece in held_out:
        if sum(map(len, judged)) < EVALUATION_NOTES:
            judged.append(on_grid(piece.score))
    encoded, notes = [form.encode(score) for score in judged], sum(map(len, judged))
    preset = PRESETS["small"]
    network, learning_rate = preset.network(arguments.model)
    return fitting.fit(
        ModelConfig(**network | form.changes),
        form.schema,
        form.source,
        lambda model: measure(model, encoded, notes),
        minutes=arguments.minutes,
        seed=arguments.seed,
        recipe=Recipe(learning_rate, preset.weight_decay),
        lanes=preset.lanes,
        window=form.window,
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and measure; everything that the JSON line says."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    parts = split(scan(arguments.folder / "train", workers=0))
    learned, held_out = parts.learned, parts.held_out
    valid = [on_grid(piece.score) for piece in scan(arguments.folder / "valid", workers=0).pieces]
    form = tokenised(arguments.tokens, [on_grid(piece.score) for piece in learned], arguments.seed)
    fit = fit_preset(arguments, form, held_out)
    pieces = [form.encode(score) for score in valid]
    notes = sum(map(len, valid))
    without = None
    if form.encode_without is not None:
        without = round(measure(fit.model, [form.encode_without(score) for score in valid], notes), 4)
    return {
        "benchmark": "notes",
        "folder": arguments.folder.name,
        "tokens": arguments.tokens,
        "model": arguments.model,
        "seed": arguments.seed,
        "minutes": arguments.minutes,
        "clock": fitting.clock_name(),
        "nats_per_note": round(measure(fit.model, pieces, notes), 4),
        "without_matches": without,
        "tokens_per_note": round(sum(map(len, pieces)) / notes, 3),
        "valid_notes": notes,
        "held_out": round(fit.valid, 4),
        "parameters": fit.parameters,
        "steps": fit.steps,
        "seconds": round(fit.seconds, 1),
        "curve": fit.curve,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """See the file's head."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.notes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, required=True, help="with the parts train and valid")
    parser.add_argument("--tokens", choices=("events", "remi", "bpe"), default="events")
    fitting.add_training_options(parser, minutes=10.0)
    arguments = parser.parse_args(argv)

    def work() -> None:
        if arguments.tokens != "events":
            require("miditok")
        result = run(arguments)
        print(
            f"{result['nats_per_note']:.3f} nats per note ({result['valid_notes']:,} notes; {arguments.tokens}, "
            f"{arguments.model}; {result['parameters']:,} parameters, {result['steps']:,} steps)"
        )
        print(json.dumps(result))

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
