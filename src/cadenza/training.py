"""Learns a model from a prepared folder, and writes it.

A run can be stopped at any moment, by Ctrl-C or by a crash, and goes on with `resume` where it was at
most a minute before: weights, optimiser, batches, random numbers and time spent are all kept.
"""

from __future__ import annotations

import json
import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from cadenza import checkpoint
from cadenza.ahead import Ahead
from cadenza.dataset import (
    Augmentation,
    AugmentedScores,
    Batch,
    PieceSource,
    Representation,
    WindowStream,
    padded_batches,
    value_counts,
)
from cadenza.errors import InputError, ModelError
from cadenza.evaluation import Likelihood
from cadenza.events import EncodedPiece
from cadenza.files import clear_away, write_atomic
from cadenza.learner import Learner, Recipe, choose_device, to_device, with_prefix
from cadenza.likeness import usual
from cadenza.model_card import loss_curve_svg, write_card
from cadenza.model_folder import (
    CARD,
    CONFIG,
    CURVE,
    FORMAT_VERSION,
    INDEX,
    LOG,
    REPRESENTATION,
    STATE,
    STATE_BEFORE,
    UNFINISHED,
    WEIGHTS,
    ModelFolder,
    has_checkpoint,
    replace_model,
    write_sums,
)
from cadenza.models import LanguageModel, build_model
from cadenza.preparation import Prepared, TrainingOptions, name_of, prepare
from cadenza.presets import PRESETS
from cadenza.processes import Processes
from cadenza.version import __version__

CHECKPOINT_SECONDS = 30.0
FINE_TUNING = 0.6  # of the highest learning rate, for a network that knows music already
SHORT_RUN_MINUTES = 5.0  # within which no key is heard often enough for transposition to pay
EVALUATION_EVENTS = 15_000  # of held-out pieces, that progress is measured on, at most
EVALUATION_EVENTS_A_MINUTE = 3_000  # of a run, so that measuring takes a small part of a short one
EVALUATIONS = 12  # in a run
PATIENCE = 4  # evaluations that are no lower than an earlier one, after which training stops


@dataclass(frozen=True)
class Progress:
    """What training tells its caller: after every evaluation, and every second in between."""

    step: int
    seconds: float
    share_done: float
    notes_per_second: float
    train_nats: float  # per note, of the last steps
    held_out_nats: float | None = None  # per note, when it has just been measured
    best: bool = False
    stopped_early: bool = False  # since the held-out pieces stopped gaining


OnProgress = Callable[[Progress], None]


def train(
    folder: str | Path,
    out: str | Path,
    options: TrainingOptions | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    keep_best: bool = False,
    on_progress: OnProgress | None = None,
    on_stopping: Callable[[], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    prepared: Prepared | None = None,
) -> Path:
    """Learn from the MIDI files below `folder` and write a model folder to `out`, which is returned.

    Raises InputError for a folder with too little in it or an `out` that holds a model already (unless
    told to `resume` or `overwrite` it), and TrainingError if the loss stops being a number. Ctrl-C ends
    the step that is under way and leaves a checkpoint that `resume` continues; `on_stopping` hears of it at once.
    on_note: told, should it be so, that the last checkpoint is damaged and the one before is gone on from.
    keep_best: whenever the held-out pieces gain, write the model as it is, before `on_progress` hears of it.
    """
    options = options or TrainingOptions()
    out = Path(out)
    processes = Processes.join(options.shard)
    resume = resume or (processes.restarts > 0 and checkpoint.belongs_to(processes.start, out))
    if not resume and not overwrite:
        _refuse_to_replace(out)
    prepared = prepared or prepare(folder, options)
    run = _Run(prepared, options, out, processes)
    run.keep_best = keep_best
    if processes.is_first:
        clear_away(out)
    processes.wait()  # until all have seen whether there is something to go on from
    try:
        if resume:
            if run.restore() == out / STATE_BEFORE:
                _take_back(out, run, on_note)
        elif processes.is_first:
            checkpoint.forget(out)
        with _Interruption(on_stopping) as interruption:
            run.loop(on_progress if processes.is_first else None, interruption)
            run.finish()
    finally:
        run.stream.close()
    return out


def _take_back(out: Path, run: _Run, on_note: Callable[[str], None] | None) -> None:
    run.processes.wait()  # until all have read it
    if not run.processes.is_first:
        return
    checkpoint.take_back(out)
    if on_note is not None:
        on_note(
            f"{out / STATE} is damaged or missing; going on from the one before, of step {run.learner.step}"
        )


def _refuse_to_replace(out: Path) -> None:
    if (out / CONFIG).exists() or has_checkpoint(out):
        raise InputError(
            f"{out}: holds a model or a stopped run already; choose another folder, --resume to go on, "
            "or --force to replace it."
        )


class _Interruption:
    """Puts Ctrl-C off until the step under way is over, so that checkpoints are of whole steps; once training is
    over, the model is written to its end."""

    def __init__(self, on_request: Callable[[], None] | None) -> None:
        self.requested, self.on_request = False, on_request

    def __enter__(self) -> _Interruption:
        self.in_main_thread = threading.current_thread() is threading.main_thread()
        if self.in_main_thread:
            self.before = signal.signal(signal.SIGINT, self._request)
        return self

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if self.on_request is not None:
            self.on_request()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C does not wait

    def __exit__(self, *details: object) -> None:
        if self.in_main_thread:
            signal.signal(signal.SIGINT, self.before)


class _Run:
    """One training run: everything that changes while it goes on, and how to save it."""

    def __init__(
        self, prepared: Prepared, options: TrainingOptions, out: Path, processes: Processes | None = None
    ) -> None:
        self.prepared, self.options, self.out = prepared, options, out
        self.processes = processes or Processes()
        self.preset = PRESETS[options.preset]
        self.model_config = options.network(sum(len(piece.score) for piece in prepared.train), prepared.base)
        given = options if options.minutes or options.epochs else self.preset
        self.minutes, self.epochs = given.minutes, given.epochs
        self.augmentation = self._augmentation()
        scores = [piece.score for piece in prepared.train]
        styles = [piece.style for piece in prepared.train]
        source = AugmentedScores(scores, prepared.representation, self.augmentation, options.seed, styles)
        self.learner = self._new_learner(source)
        self.judged = build_model(self.model_config, prepared.representation.schema).to(self.learner.device)
        self.stream = Ahead(
            WindowStream(
                source,
                lanes=self.preset.lanes,
                length=self.preset.window,
                only=self.processes.lanes(self.preset.lanes),
            )
        )
        measured = _some_of(self._encoded_held_out(), self._evaluation_events)
        self.evaluation_batches = padded_batches(measured)
        self.seconds, self.events = 0.0, 0
        self.best_nats, self.best_weights = math.inf, self.learner.weights()
        self.base_weights = self.best_weights if prepared.base else None
        # The run's own, whose first evaluations may lie above the model that it goes on from.
        self.lowest_nats, self.since_lowest = math.inf, 0
        self.stopped_early = self.keep_best = False
        self.log: list[dict[str, Any]] = []
        self.recent: list[tuple[float, int]] = []
        self.total_steps = self._steps_of_epochs() if self.epochs else None
        self.clock = self.last_report = self.last_checkpoint = self.last_evaluation_share = 0.0

    def _new_learner(self, source: PieceSource) -> Learner:
        if self.preset.lanes % self.processes.size:
            raise InputError(
                f"{self.processes.size} processes cannot share the {self.preset.lanes} windows of a batch "
                f"of preset {self.options.preset} evenly; start a number that divides it."
            )
        device = choose_device(self.processes.device(self.options.device))
        torch.manual_seed(self.options.seed)
        schema = self.prepared.representation.schema
        model = build_model(self.model_config, schema)
        base = self.prepared.base
        if base is None:
            model.guess(value_counts(source, schema))
        else:
            _load_weights(model, base)
        _, learning_rate = self.preset.network(self.model_config.architecture)
        learning_rate *= 1.0 if base is None else FINE_TUNING
        recipe = Recipe(learning_rate, self.preset.weight_decay)
        learner = Learner(model, recipe, self.preset.lanes, device, self.processes)
        torch.manual_seed(self.options.seed + self.processes.rank)  # each process drops out others
        return learner

    @property
    def model(self) -> LanguageModel:
        """The network as it is now."""
        return self.learner.model

    def _augmentation(self) -> Augmentation | None:
        if not self.preset.augment:
            return None
        semitones = self.options.transpose
        if semitones is None:
            semitones = 0 if self._begins_short else Augmentation.semitones
        return Augmentation(semitones)

    @property
    def graphs(self) -> tuple[str, ...]:
        """Precisions of the graphs to write, the one that composes first."""
        return self.options.graphs or self.preset.graphs

    def _sampling(self) -> dict[str, Any]:
        """How the model composes if nothing else is asked for: as the model that it went on from, if it did."""
        base = self.prepared.base
        return self.preset.sampling if base is None else base.sampling

    @property
    def _begins_short(self) -> bool:
        """Whether a network that knows nothing has but minutes."""
        anew = self.prepared.base is None
        return anew and self.minutes is not None and self.minutes <= SHORT_RUN_MINUTES

    def _encoded_held_out(self) -> list[EncodedPiece]:
        encode = self.prepared.representation.encode_piece
        return [encode(piece.score) for piece in self.prepared.held_out]

    @property
    def _evaluation_events(self) -> int:
        if self.minutes is None:
            return EVALUATION_EVENTS
        return min(EVALUATION_EVENTS, round(EVALUATION_EVENTS_A_MINUTE * self.minutes))

    def _steps_of_epochs(self) -> int:
        encode, window = self.prepared.representation.encode, self.preset.window
        windows = sum(-(-len(encode(piece.score)) // window) for piece in self.prepared.train)
        return max(1, round((self.epochs or 1) * windows / self.preset.lanes))

    # -- the loop ---------------------------------------------------------------------------------

    @property
    def share_done(self) -> float:
        """How much of the run is over, 0 .. 1."""
        if self.total_steps is not None:
            return min(1.0, self.learner.step / self.total_steps)
        return min(1.0, self.seconds / (60 * (self.minutes or 1)))

    def loop(self, on_progress: OnProgress | None, interruption: _Interruption) -> None:
        """Train until the time is over, or the held-out pieces stop gaining."""
        self.model.train()
        if self.prepared.base and not self.learner.step:
            self.best_nats = self._held_out_nats(self.best_weights)  # what is learned must gain on this
        self.clock = self.last_report = self.last_checkpoint = time.perf_counter()
        while self.share_done < 1.0 and not self.stopped_early:
            self._train_step()
            # What is spent on the side since the last step counts for the time that the user gave.
            seconds = self.seconds + time.perf_counter() - self.clock
            late = time.perf_counter() - self.last_checkpoint > CHECKPOINT_SECONDS
            self.clock = time.perf_counter()
            self.seconds, late, stop = self._agreed(seconds, late, interruption.requested)
            written = self.last_checkpoint
            self._report(on_progress)
            if stop:
                self._stop()
            if late and self.last_checkpoint == written:  # and none was written with a model just now
                self.checkpoint()
        # What comes during the last evaluation, no step heeds.
        *_, stop = self._agreed(self.seconds, False, interruption.requested)
        if stop:
            self._stop()

    def _stop(self) -> NoReturn:
        self.checkpoint()
        self.processes.wait()  # until it is written
        raise KeyboardInterrupt

    def _agreed(self, seconds: float, late: bool, stop: bool) -> tuple[float, bool, bool]:
        """The first process's clock, and whether any process was told to stop, for all of them."""
        mine = [seconds, late, stop] if self.processes.is_first else [0.0, False, stop]
        seconds, n_late, n_stop = self.processes.total(torch.tensor(mine, dtype=torch.float64)).tolist()
        return seconds, n_late > 0, n_stop > 0

    def _report(self, on_progress: OnProgress | None) -> None:
        due = self.share_done - self.last_evaluation_share >= 1 / EVALUATIONS
        if due or self.share_done >= 1.0:
            self._evaluate_and_log(on_progress)
        elif on_progress is not None and self.clock - self.last_report >= 1.0:
            self.last_report = self.clock
            on_progress(self._progress(None, False))

    def _train_step(self) -> None:
        nats, events = self.learner.learn(self.stream.next_batch(), self.share_done)
        self.events += events
        self.recent = [*self.recent[-19:], (nats, events)]

    def _evaluate_and_log(self, on_progress: OnProgress | None) -> None:
        self.last_evaluation_share = self.share_done
        weights = self.learner.weights()
        learned_nats = self._held_out_nats(weights)
        nats, weights = self._better_half(learned_nats, weights)
        best = nats < self.best_nats
        if best:
            self.best_nats, self.best_weights = nats, weights
        if learned_nats < self.lowest_nats:
            self.lowest_nats, self.since_lowest = learned_nats, 0
        else:
            self.since_lowest += 1
            self.stopped_early = self.since_lowest >= PATIENCE
        progress = self._progress(nats, best)
        self.log.append(asdict(progress))
        if self.processes.is_first:
            self._write_log()
        if best and self.keep_best:
            self._keep_model()
        if on_progress is not None:
            on_progress(progress)

    def _better_half(self, nats: float, weights: dict[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
        """Weights with their held-out nats: these or, where these gain nothing, those half way from the model gone on from.

        Half way a network often knows the new music nearly as well and forgets less of what it knew, which for a small folder
        is the better part (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
        """
        if self.base_weights is None or nats < self.best_nats:
            return nats, weights
        half = {name: torch.lerp(base, weights[name], 0.5) for name, base in self.base_weights.items()}
        return min((nats, weights), (self._held_out_nats(half), half), key=lambda each: each[0])

    def _held_out_nats(self, weights: dict[str, Tensor]) -> float:
        """Nats per note of some held-out pieces, as the first process finds them."""
        self.judged.load_state_dict(weights)
        likelihood = evaluate_model(
            self.judged, self.prepared.representation, self.evaluation_batches, self.learner.device
        )
        (nats,) = self.processes.from_first(likelihood.nats_per_note)
        return nats

    def _progress(self, held_out: float | None, best: bool) -> Progress:
        nats, events = (sum(column) for column in zip(*self.recent, strict=True))
        return Progress(
            step=self.learner.step,
            seconds=round(self.seconds, 3),
            share_done=self.share_done,
            notes_per_second=self.events / self.seconds,
            train_nats=nats / max(1, events),
            held_out_nats=held_out,
            best=best,
            stopped_early=self.stopped_early,
        )

    # -- saving -----------------------------------------------------------------------------------

    def checkpoint(self) -> None:
        """Write everything that `restore` needs, in one file, whole or not at all; the last one is kept as well."""
        tensors = self.learner.tensors() | {f"best.{k}": v for k, v in self.best_weights.items()}
        positions = torch.cat(self.processes.gathered(torch.tensor(self.stream.state())))
        self.last_checkpoint = time.perf_counter()
        if not self.processes.is_first:
            return
        facts = {
            "identity": self._identity(),
            "start": self.processes.start,
            "step": self.learner.step,
            "seconds": self.seconds,
            "events": self.events,
            "best_nats": self.best_nats if math.isfinite(self.best_nats) else None,
            "lowest_nats": self.lowest_nats if math.isfinite(self.lowest_nats) else None,
            "since_lowest": self.since_lowest,
            "stopped_early": self.stopped_early,
            "length": [self.minutes, self.epochs],
            "log": self.log,
            "recent": self.recent,
            "last_evaluation_share": self.last_evaluation_share,
            "stream": positions.tolist(),
        }
        checkpoint.write(self.out, facts, tensors)

    def restore(self) -> Path:
        """Go on from the checkpoint in `out`, or from the one before if it is damaged; returns which.

        Raises InputError if there is none or it is of another run, ModelError if none is whole.
        """
        facts, tensors, path = checkpoint.last(self.out)
        if facts["identity"] != self._identity():
            raise InputError(
                f"{self.out}: was trained with other options or on other files; "
                "repeat the options of the first run, or leave --resume out to start again."
            )
        try:
            self._go_on_from(facts, tensors)
        except (RuntimeError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise checkpoint.damaged(path) from error
        if facts["length"] != [self.minutes, self.epochs] and math.isfinite(self.best_nats):
            self.best_nats = self._held_out_nats(self.best_weights)  # a longer run measures on more notes
        return path

    def _go_on_from(self, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.learner.load_tensors(tensors)
        self.best_weights = with_prefix(tensors, "best.")
        self.judged.load_state_dict(self.best_weights)  # which tells whether they are of this network
        self.learner.step, self.seconds, self.events = facts["step"], facts["seconds"], facts["events"]
        self.best_nats = math.inf if facts["best_nats"] is None else facts["best_nats"]
        if facts["length"] == [self.minutes, self.epochs]:
            self.lowest_nats = math.inf if facts["lowest_nats"] is None else facts["lowest_nats"]
            self.since_lowest, self.stopped_early = facts["since_lowest"], facts["stopped_early"]
        self.log = facts["log"]
        self.recent = [(nats, count) for nats, count in facts["recent"]]
        # A run that is made longer has done less of it.
        self.last_evaluation_share = min(facts["last_evaluation_share"], self.share_done)
        self.stream.restore(facts["stream"])

    def _identity(self) -> dict[str, Any]:
        """What has to be the same for a run to be continued; its length may change."""
        return json.loads(
            json.dumps(
                {
                    "model": asdict(self.model_config),
                    "preset": asdict(self.preset),
                    "seed": self.options.seed,
                    "augmentation": asdict(self.augmentation) if self.augmentation else None,
                    "representation": self.prepared.representation.to_dict(),
                    "base": self.prepared.base.digest if self.prepared.base else None,
                    "pieces": sorted(piece.fingerprint for piece in self.prepared.corpus.pieces),
                }
            )
        )

    def _write_log(self) -> None:
        write_atomic(self.out / LOG, "".join(json.dumps(line) + "\n" for line in self.log))
        write_atomic(self.out / CURVE, loss_curve_svg(self.log))

    def finish(self) -> None:
        """Write the model folder from the best weights; the checkpoint stays, so that training can go on."""
        self._keep_model()
        if self.processes.is_first:
            checkpoint.forget(self.out, (STATE_BEFORE,))

    def _keep_model(self) -> None:
        self.checkpoint()  # first: a kill while one model takes the place of another leaves none
        if self.processes.is_first:
            self._write_model()
        self.processes.wait()

    def _write_model(self) -> None:
        """Write the model beside the one that is there, and put it in its place when it is whole."""
        new = self.out / UNFINISHED
        shutil.rmtree(new, ignore_errors=True)  # of a run that was killed
        try:
            self._write_files(new)
            replace_model(self.out, new)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def _write_files(self, out: Path) -> None:
        weights = {name: tensor.cpu().contiguous() for name, tensor in self.best_weights.items()}
        write_atomic(out / WEIGHTS, save_tensors(weights))
        config = self._config()
        representation = {
            "representation": self.prepared.representation.to_dict(),
            "repertoire": self.prepared.repertoire.to_dict() if self.prepared.repertoire else None,
            "character": asdict(self.prepared.character),
            "styles": {name: part.to_dict() for name, part in self.prepared.styles.items()},
        }
        write_graphs(out, weights, asdict(self.model_config), self.prepared.representation, self.graphs)
        if self.options.index:
            self.prepared.index.save(out / INDEX)
        write_atomic(out / REPRESENTATION, json.dumps(representation, indent=1) + "\n")
        write_atomic(out / CARD, write_card(config, self.prepared.character.thirds))
        write_atomic(out / CONFIG, json.dumps(config, indent=1) + "\n")
        write_sums(out)

    def _config(self) -> dict[str, Any]:
        likelihood = self._final_likelihood()
        return {
            "format_version": FORMAT_VERSION,
            "cadenza_version": __version__,
            "model": asdict(self.model_config),
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "preset": self.options.preset,
            "base": self._base_name(),
            "seed": self.options.seed,
            "steps": self.learner.step,
            "seconds": round(self.seconds, 1),
            "epochs": round(self.stream.epochs, 3),
            "device": str(self.learner.device),
            "corpus": {
                "folder": self.prepared.corpus.root.name,
                **self.prepared.corpus.totals(),
                "train_pieces": len(self.prepared.train),
                "held_out_pieces": len(self.prepared.held_out),
            },
            "graphs": self.graphs,
            "held_out": {
                "nats_per_note": likelihood.nats_per_note,
                "by_field": likelihood.by_field(),
                "notes": likelihood.notes,
            },
            "originality": asdict(self.prepared.baseline),
            "usual": usual([piece.score for piece in self.prepared.train]),
            "sampling": self._sampling(),
        }

    def _base_name(self) -> dict[str, str] | None:
        base = self.prepared.base
        return {"name": name_of(base), "digest": base.digest} if base else None

    def _final_likelihood(self) -> Likelihood:
        self.judged.load_state_dict(self.best_weights)
        batches = padded_batches(self._encoded_held_out())
        return evaluate_model(self.judged, self.prepared.representation, batches, self.learner.device)


def write_graphs(
    out: Path,
    weights: dict[str, Tensor],
    config: dict[str, Any],
    representation: Representation,
    precisions: Sequence[str],
) -> None:
    """Write the graph folders that composing runs."""
    from cadenza.graph import build_graphs, quantised

    arrays = {name: tensor.float().numpy() for name, tensor in weights.items()}
    for name, graph in build_graphs(arrays, config, representation.schema).items():
        for precision in precisions:
            model = quantised(graph) if precision == "int8" else graph
            write_atomic(out / f"graph-{precision}" / f"{name}.onnx", model.SerializeToString())


def evaluate_model(
    model: LanguageModel, representation: Representation, batches: Sequence[Batch], device: torch.device
) -> Likelihood:
    """Likelihood of whole pieces under the network as it is, in single precision."""
    likelihood, was_training = Likelihood(), model.training
    model.eval()
    with torch.inference_mode():
        for batch in batches:
            events, context = to_device(batch, device)
            hidden, _ = model(events[:, :-1], context[:, :-1])
            nats = model.nats(hidden, events[:, 1:], context[:, 1:]).float().cpu().numpy()
            for row in range(len(nats)):
                likelihood.add(representation, batch.events[row, 1:], nats[row])
    model.train(was_training)
    return likelihood


def _load_weights(model: LanguageModel, folder: ModelFolder) -> None:
    """Give a network the weights of a model folder; raises ModelError if they are damaged or of another network."""
    try:
        with safe_open(folder.checked(WEIGHTS), framework="pt") as file:
            if set(file.keys()) != set(model.state_dict()):
                raise ValueError("weights of another network")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
            raise ValueError("weights that are no numbers")
        model.load_state_dict(weights)
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"{folder.path / WEIGHTS}: damaged; restore the file or train again.") from error


def _some_of(pieces: list[EncodedPiece], most: int) -> list[EncodedPiece]:
    """As many pieces as have so many events at most; at least one."""
    kept: list[EncodedPiece] = []
    events = 0
    for piece in pieces:
        if kept and events + len(piece) > most:
            continue
        kept.append(piece)
        events += len(piece)
    return kept
