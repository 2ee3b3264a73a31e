"""A folder of MIDI files made ready to be learned from: what is asked for, the split, the representation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cadenza.character import Character
from cadenza.corpus import Corpus, Piece, scan
from cadenza.dataset import Representation
from cadenza.errors import InputError, ModelError
from cadenza.events import NoteEvents
from cadenza.holdout import SAME_TUNE, split
from cadenza.model_folder import CONFIG, ModelFolder, bundled_model
from cadenza.models import ModelConfig
from cadenza.originality import Baseline, Index
from cadenza.presets import PRESETS
from cadenza.repertoire import Repertoire
from cadenza.tokens import NotesAndChords
from cadenza.vocabulary import MAX_STYLES

AUTO, DEFAULT_PRESET, BUNDLED = "auto", "small", "bundled"
PERFORMANCE_SHARE = 0.1  # of pieces that leave the grid; from here on notes may
SMALL_CORPUS_NOTES, SMALL_CORPUS_DROPOUT = 50_000, 0.3


@dataclass(frozen=True)
class TrainingOptions:
    """What to train, and for how long: `minutes`, or `epochs` over the corpus; else as the preset says."""

    preset: str = "small"
    architecture: str | None = None  # "lstm", "gru" or "transformer"; None takes the preset's
    # The model to go on from, whose network and grid are kept; "auto" takes the bundled one unless other options
    # ask for another network or grid, None begins from scratch.
    base: str | Path | None = "auto"
    minutes: float | None = None
    epochs: float | None = None
    seed: int = 0
    device: str = "auto"
    steps_per_quarter: int | None = None  # None stands for 12
    velocity_levels: int | None = None  # None stands for 16
    # Up to so many semitones, up or down; None: none in short runs that begin from scratch, else 6.
    transpose: int | None = None
    allow_drums_only: bool = False
    index: bool = True  # by which composed pieces are told from those learned from (see `originality`)
    graphs: tuple[str, ...] | None = None  # "fp32", "int8": those to write; None takes the preset's
    shard: bool = False  # each of several processes keeps only a part of the network and of its optimiser

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise InputError(f"unknown preset {self.preset!r}; choose one of {', '.join(PRESETS)}.")
        if self.minutes is not None and self.epochs is not None:
            raise InputError("give minutes or epochs, not both.")
        if not 0 <= self.seed < 2**63:
            raise InputError("the seed must be between 0 and 2^63 - 1.")
        if self.minutes is not None and not 0 < self.minutes < 1e6:
            raise InputError("the number of minutes must be above 0.")
        if self.transpose is not None and not 0 <= self.transpose <= 12:
            raise InputError("transpose must be between 0 and 12 semitones.")
        if self.epochs is not None and not 0 < self.epochs < 1e6:
            raise InputError("the number of epochs must be above 0.")
        if self.base not in (None, AUTO) and (self._names_a_network or not self._predicts_notes):
            raise InputError(
                "a model that is gone on from keeps its network and its grid; leave out what names others."
            )

    @property
    def _predicts_notes(self) -> bool:
        return PRESETS[self.preset].representation == "note-events"

    @property
    def _names_a_network(self) -> bool:
        return any(
            value is not None for value in (self.architecture, self.steps_per_quarter, self.velocity_levels)
        )

    def base_folder(self) -> Path | None:
        """The folder of the model to go on from, if any."""
        if self.base != AUTO:
            return None if self.base is None else Path(self.base)
        return None if self._names_a_network or self.preset != DEFAULT_PRESET else bundled_model()

    def network(self, notes: int, base: ModelFolder | None = None) -> ModelConfig:
        """The base's network, or the preset's as these options change it, for a corpus of so many notes."""
        model = dict(base.config["model"]) if base else PRESETS[self.preset].network(self.architecture)[0]
        if notes < SMALL_CORPUS_NOTES:
            model["dropout"] = max(model.get("dropout", 0.0), SMALL_CORPUS_DROPOUT)
        return ModelConfig(**model)


@dataclass
class Prepared:
    """A corpus ready to be learned from."""

    corpus: Corpus
    train: list[Piece]
    held_out: list[Piece]
    representation: Representation
    repertoire: Repertoire | None
    character: Character
    styles: dict[str, Repertoire]
    warnings: list[str]
    index: Index  # of the pieces that are learned from
    baseline: Baseline
    base: ModelFolder | None = None  # the model that training goes on from


def prepare(folder: str | Path, options: TrainingOptions, corpus: Corpus | None = None) -> Prepared:
    """Read the folder, hold pieces out, choose the representation; raises InputError if too little is usable."""
    corpus = corpus or scan(folder, allow_drums_only=options.allow_drums_only)
    corpus.require_pieces(2)
    parts = split(corpus)
    train_pieces, held_out, index = parts.learned, parts.held_out, parts.index
    before: Index | None = None  # of what the base learned from
    base = _base(options, corpus)
    preset = PRESETS[options.preset]
    warnings = []
    if len(corpus.pieces) < 20:
        warnings.append(
            f"only {len(corpus.pieces)} pieces: expect imitation more than invention, and noisy held-out numbers"
        )
    representation: Representation
    repertoire: Repertoire | None = None
    character, styles = Character(), dict[str, Repertoire]()
    if preset.representation == "notes-and-chords":
        representation = NotesAndChords.of(piece.score for piece in train_pieces)
    else:
        character = Character.of(
            [piece.score for piece in train_pieces], [piece.style for piece in train_pieces]
        )
        if base is not None:
            warnings += _on_base(base, held_out)
            before = base.index and base.index.within(name_of(base))
            index = index if before is None else before.joined(index)
        representation = _events(options, corpus) if base is None else base.representation
        if isinstance(representation, NoteEvents):
            representation = _with_styles(representation, character.styles, train_pieces)
        off_grid = _off_grid(corpus)
        if off_grid and isinstance(representation, NoteEvents) and not representation.microtiming:
            warnings.append(
                f"{off_grid} of {len(corpus.pieces)} pieces are unquantised and were put on the grid"
            )
        encoded = [representation.encode(piece.score) for piece in train_pieces]
        assert isinstance(representation, NoteEvents)
        repertoire = Repertoire.of(encoded, representation)
        for name in character.styles:
            of_style = [e for e, piece in zip(encoded, train_pieces, strict=True) if piece.style == name]
            styles[name] = Repertoire.of(of_style, representation)
    return Prepared(
        corpus,
        train_pieces,
        held_out,
        representation,
        repertoire,
        character,
        styles,
        warnings,
        index,
        parts.baseline(before),
        base,
    )


def _off_grid(corpus: Corpus) -> int:
    """How many pieces are performances."""
    return sum(piece.timing != "grid" for piece in corpus.pieces)


def _needs_microtiming(corpus: Corpus) -> bool:
    return _off_grid(corpus) >= PERFORMANCE_SHARE * len(corpus.pieces)


def _events(options: TrainingOptions, corpus: Corpus) -> NoteEvents:
    """The representation of a network that begins anew."""
    steps, levels = options.steps_per_quarter, options.velocity_levels
    return NoteEvents(
        NoteEvents.steps_per_quarter if steps is None else steps,
        NoteEvents.velocity_levels if levels is None else levels,
        _needs_microtiming(corpus),
    )


def _with_styles(representation: NoteEvents, styles: Sequence[str], pieces: Sequence[Piece]) -> NoteEvents:
    """One that tells these styles beside those it tells already; if there are too many, those of the most pieces."""
    often = Counter(piece.style for piece in pieces)
    new = sorted(set(styles) - set(representation.styles), key=lambda name: (-often[name], name))
    told = sorted(new[: MAX_STYLES - len(representation.styles)])
    return replace(representation, styles=(*representation.styles, *told))


def _base(options: TrainingOptions, corpus: Corpus) -> ModelFolder | None:
    """The model to go on from; raises InputError or ModelError if one is named that cannot be."""
    folder = options.base_folder()
    if folder is None:
        return None
    base = ModelFolder.open(folder)
    if not isinstance(base.representation, NoteEvents):
        raise InputError(
            f"{folder}: knows notes and chords alone, and cannot be gone on from; name another model."
        )
    try:
        ModelConfig(**base.config["model"])
    except (KeyError, TypeError) as error:
        raise ModelError(f"{folder / CONFIG}: damaged; restore the file or train again.") from error
    too_coarse = _needs_microtiming(corpus) and not base.representation.microtiming
    return None if too_coarse and options.base == AUTO else base


def name_of(base: ModelFolder) -> str:
    """Before the names of the pieces that it learned from, to tell them from those of the folder."""
    return BUNDLED if base.path == bundled_model() else base.path.name


def _on_base(base: ModelFolder, held_out: Sequence[Piece]) -> list[str]:
    """What a user should know of the model that training goes on from."""
    name = f"the model {name_of(base)}"
    found = [f"going on from {name}; --from-scratch begins anew"]
    index = base.index
    known = 0 if index is None else sum(index.judge(p.score).notes >= SAME_TUNE for p in held_out)
    if known:
        found.append(
            f"{known} of {len(held_out)} held-out pieces share a tune with what {name} learned from: "
            "how well they are predicted flatters"
        )
    return found
