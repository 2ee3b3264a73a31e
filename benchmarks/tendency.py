"""How strong the tendencies are that a composed piece can be told: style, mood and surprise.

    python -m benchmarks.tendency [--model MODEL] [--corpus FOLDER] [--num 32] [--bars 16] [--seed 1]

Style: a linear classifier on the measures of `cadenza.statistics` and the instruments, learned from the corpus's
training pieces, says of pieces composed for each style which one they sound like; beside it, its accuracy on held-out
pieces, and what it says of pieces that nothing was told of. Mood: how often a piece that was told a mood has every
level that the word stands for, and how often one that was told nothing has. Surprise: nats per note that the
network itself spends on what it composed at each position of the dial. One JSON line last.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cadenza import Composer
from cadenza.character import Character, measure, parse_mood
from cadenza.corpus import scan
from cadenza.evaluation import evaluate_graph
from cadenza.events import NoteEvents
from cadenza.holdout import split
from cadenza.likeness import first_bars
from cadenza.model_folder import bundled_corpus
from cadenza.moods import LEVELS, MOODS
from cadenza.score import Score
from cadenza.statistics import describe

DIAL = (0.0, 0.25, 0.5, 0.75, 1.0)
INSTRUMENTS = 136
RIDGE = 0.1  # of the variance of a measure, added to its variance within styles


def features(score: Score) -> NDArray[np.float64]:
    """Measures and shares of instruments of a piece."""
    counts = np.bincount(np.minimum(score.notes["instrument"], INSTRUMENTS - 1), minlength=INSTRUMENTS)
    return np.concatenate([list(describe(score).values()), counts / max(1, counts.sum())])


class Classifier:
    """Linear discriminants (Fisher 1936): the style whose mean is nearest, by the covariance within styles."""

    def __init__(self, scores: Sequence[Score], styles: Sequence[str]) -> None:
        x = np.array([features(score) for score in scores])
        self.names = sorted(set(styles))
        self.mean, self.scale = x.mean(axis=0), x.std(axis=0) + 1e-6
        z = self._standard(x)
        groups = [z[[style == name for style in styles]] for name in self.names]
        means = np.array([group.mean(axis=0) for group in groups])
        within = np.concatenate([group - mean for group, mean in zip(groups, means, strict=True)])
        covariance = within.T @ within / len(z) + RIDGE * np.eye(z.shape[1])
        self.weights = np.linalg.solve(covariance, means.T)
        self.bias = -0.5 * np.einsum("kd,dk->k", means, self.weights)

    def _standard(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip((x - self.mean) / self.scale, -5, 5)

    def styles(self, scores: Sequence[Score]) -> list[str]:
        """Of each piece, the style it sounds like."""
        z = self._standard(np.array([features(score) for score in scores]))
        return [self.names[n] for n in (z @ self.weights + self.bias).argmax(axis=1)]


def share(found: Sequence[bool]) -> float:
    """Of those that are true."""
    return round(float(np.mean(found)), 3)


def has_mood(character: Character, score: Score, mood: str) -> bool:
    """Whether a piece has every level that the word stands for, of those that the corpus tells apart."""
    values = measure(score)
    levels = {
        name: n for name, words in LEVELS.items() for n, word in enumerate(words) if word in parse_mood(mood)
    }
    return all(
        character.level(name, values[name]) == n for name, n in levels.items() if name in character.thirds
    )


def _attributes(mood: str) -> list[str]:
    """What a word tells of."""
    return [name for name, words in LEVELS.items() if set(words) & set(parse_mood(mood))]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="default: the bundled model")
    parser.add_argument("--corpus", type=Path, default=bundled_corpus(), help="what the model was trained on")
    parser.add_argument("--num", type=int, default=32)
    parser.add_argument("--bars", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Compose, classify and print."""
    arguments = _parse()
    composer = Composer.from_pretrained(arguments.model)
    representation = composer.representation
    assert isinstance(representation, NoteEvents)
    character = composer.folder.character
    parts = split(scan(arguments.corpus, workers=0))
    learned, held_out = parts.learned, parts.held_out

    def cut(score: Score) -> Score:
        return first_bars(representation.quantise(score), arguments.bars)

    def composed(**told: Any) -> list[Score]:
        options = {"num": arguments.num, "bars": arguments.bars, "seed": arguments.seed, **told}
        return [piece.score for piece in composer.compose_many(workers=0, **options)]

    classifier = Classifier([cut(p.score) for p in learned], [p.style for p in learned])
    guessed = classifier.styles([cut(p.score) for p in held_out])
    untold = composed()
    untold_styles = classifier.styles(untold)
    result: dict[str, Any] = {
        "classifier": share([a == p.style for a, p in zip(guessed, held_out, strict=True)]),
        "styles": {},
        "moods": {},
        "surprise": {},
    }
    print(f"style classifier: {result['classifier']:.0%} of held-out pieces")
    for style in character.styles:
        told = share([s == style for s in classifier.styles(composed(style=style))])
        result["styles"][style] = {"told": told, "untold": share([s == style for s in untold_styles])}
        print(f"style {style:<12} told {told:5.0%}  untold {result['styles'][style]['untold']:5.0%}")
    for mood in (*MOODS, *(word for words in LEVELS.values() for word in words if word)):
        if not any(name in character.thirds for name in _attributes(mood)):
            continue  # all pieces of the corpus are alike in it
        told = share([has_mood(character, score, mood) for score in composed(mood=mood)])
        plain = share([has_mood(character, score, mood) for score in untold])
        result["moods"][mood] = {"told": told, "untold": plain}
        print(f"mood {mood:<12} told {told:5.0%}  untold {plain:5.0%}")
    for surprise in DIAL:
        pieces = [representation.encode_piece(score) for score in composed(surprise=surprise)]
        nats = evaluate_graph(composer.graph, representation, pieces).nats_per_note
        result["surprise"][surprise] = round(nats, 3)
        print(f"surprise {surprise:.2f}  {nats:.2f} nats per note")
    print(json.dumps({"benchmark": "tendency", "num": arguments.num, "bars": arguments.bars, **result}))


if __name__ == "__main__":
    main()
