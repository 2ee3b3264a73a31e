"""Training: the same from the same seed, resumable to the bit, and never half-written."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import conftest
from cadenza import Composer, checkpoint, preparation, presets, training
from cadenza.ahead import Ahead
from cadenza.corpus import scan
from cadenza.dataset import Augmentation, AugmentedScores, Deck, WindowStream
from cadenza.errors import InputError, ModelError
from cadenza.evaluation import Likelihood, evaluate_graph
from cadenza.events import NoteEvents
from cadenza.holdout import split
from cadenza.learner import has_fast_bfloat16
from cadenza.machine import share_cores
from cadenza.midi import write_midi
from cadenza.model_folder import (
    CARD,
    CONFIG,
    CURVE,
    LOG,
    STATE,
    UNFINISHED,
    WEIGHTS,
    ModelFolder,
    bundled_model,
    write_sums,
)
from cadenza.preparation import TrainingOptions, _with_styles
from cadenza.presets import ARCHITECTURES
from cadenza.processes import Processes
from cadenza.score import transpose
from cadenza.training import Progress, train
from cadenza.vocabulary import MAX_STYLES
from music import tune, write_folder

# Of one process and of several: sums in another order, which rounding in bfloat16 makes more of.
SAME_LOSSES = 5e-3 if has_fast_bfloat16(torch.device("cpu")) else 1e-3


def _options(epochs: float = 2.0, **changes: Any) -> TrainingOptions:
    return TrainingOptions(**{"preset": "tiny", "epochs": epochs, "graphs": ("fp32",), **changes})


def _same_weights(one: Path, other: Path) -> bool:
    first, second = load_file(one / WEIGHTS), load_file(other / WEIGHTS)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    folder: Path, tmp_path: Path, architecture: str
) -> None:
    runs = [
        train(folder, tmp_path / str(n), _options(1.0, architecture=architecture, seed=seed))
        for n, seed in enumerate([7, 7, 8])
    ]
    assert _same_weights(runs[0], runs[1])
    assert not _same_weights(runs[0], runs[2])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("steps", [1, 4])
def test_a_stopped_run_goes_on_to_the_bit(
    folder: Path, tmp_path: Path, architecture: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = _options(3.0, architecture=architecture)
    whole = train(folder, tmp_path / "whole", options)
    with monkeypatch.context() as patch:
        conftest.stop_after(steps, patch)
        heard: list[str] = []
        with pytest.raises(KeyboardInterrupt):
            train(folder, tmp_path / "stopped", options, on_stopping=lambda: heard.append("Ctrl-C"))
        assert heard == ["Ctrl-C"]
    assert not (tmp_path / "stopped" / CONFIG).exists()
    resumed = train(folder, tmp_path / "stopped", options, resume=True)
    assert _same_weights(whole, resumed)
    whole_log, resumed_log = ((path / LOG).read_text().splitlines() for path in (whole, resumed))
    for one, other in zip(whole_log, resumed_log, strict=True):
        assert _without_times(json.loads(one)) == _without_times(json.loads(other))


def _without_times(line: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in line.items() if k not in ("seconds", "notes_per_second")}


def test_a_finished_run_can_be_made_longer(folder: Path, tmp_path: Path) -> None:
    out = train(folder, tmp_path / "model", _options(1.0))
    steps = ModelFolder.open(out).config["steps"]
    train(folder, out, _options(3.0), resume=True)
    assert ModelFolder.open(out).config["steps"] > steps


def test_the_best_model_so_far_composes_while_it_learns(folder: Path, tmp_path: Path) -> None:
    found = []

    def look(progress: Progress) -> None:
        if progress.best:
            steps = ModelFolder.open(tmp_path / "out").config["steps"]
            found.append(
                (progress.step, steps, len(Composer.from_pretrained(tmp_path / "out").compose(seed=1).score))
            )

    train(folder, tmp_path / "out", _options(4.0), keep_best=True, on_progress=look)
    assert len(found) > 1
    assert all(step == steps and notes for step, steps, notes in found)


def test_a_longer_run_goes_on_being_evaluated(folder: Path, tmp_path: Path) -> None:
    out = train(folder, tmp_path / "model", _options(1.0))
    told: list[Progress] = []
    train(folder, out, _options(20.0), resume=True, on_progress=told.append)
    assert len([p for p in told if p.held_out_nats is not None]) >= 8


def test_progress_of_a_short_run_is_measured_on_few_notes_and_a_longer_one_measures_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = [tune(number) for number in range(30)]
    prepared = preparation.prepare(folder, _options())
    judged = replace(prepared, held_out=[replace(prepared.held_out[0], score=score) for score in scores])
    events = {}
    for minutes in (0.01, 0.3, 100.0):
        options = TrainingOptions(preset="tiny", minutes=minutes, base=None)
        run = training._Run(judged, options, tmp_path / "model")
        run.stream.close()
        events[minutes] = sum(int((batch.events[:, 1:, 0] >= 0).sum()) for batch in run.evaluation_batches)
    assert events[0.01] < 2 * len(scores[0]) < events[0.3] < 1_000 < sum(map(len, scores)) < events[100.0]
    out = train(folder, tmp_path / "short", _options(1.0))
    monkeypatch.setattr(training._Run, "_held_out_nats", lambda run, weights: 1e-9)
    told: list[Progress] = []
    train(folder, out, _options(2.0), resume=True, on_progress=told.append)
    assert not any(progress.best for progress in told)


def test_a_run_that_gains_no_more_stops_says_so_and_keeps_the_best(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, measure = [0], training.evaluate_model

    def worse_every_time(*arguments: Any) -> Any:
        calls[0] += 1
        likelihood = measure(*arguments)
        likelihood.nats["onset"] += 1e6 * calls[0]
        return likelihood

    monkeypatch.setattr(training, "evaluate_model", worse_every_time)
    told: list[Progress] = []
    out = train(folder, tmp_path / "model", _options(20.0), on_progress=told.append)
    assert told[-1].stopped_early and told[-1].share_done < 1
    longer = train(folder, out, _options(30.0), resume=True)
    assert ModelFolder.open(longer).config["steps"] > told[-1].step


def test_a_kill_while_the_model_is_written_leaves_the_one_before(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = train(folder, tmp_path / "model", _options(1.0))

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "write_graphs", killed)
        with pytest.raises(KeyboardInterrupt):
            train(folder, out, _options(2.0), resume=True)
    steps = ModelFolder.open(out).config["steps"]
    assert not (out / UNFINISHED).exists()
    train(folder, out, _options(2.0), resume=True)
    assert ModelFolder.open(out).config["steps"] > steps


def test_ctrl_c_while_the_model_is_written_lets_it_be_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = training.write_graphs

    def interrupted(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        write(*arguments)

    monkeypatch.setattr(training, "write_graphs", interrupted)
    assert ModelFolder.open(train(folder, tmp_path / "model", _options(1.0))).graph("fp32")


def test_bad_options_leave_a_finished_model_alone(folder: Path, tmp_path: Path) -> None:
    out = train(folder, tmp_path / "model", _options(1.0))
    with pytest.raises(InputError):
        train(folder, out, _options(1.0, device="quantum"), overwrite=True)
    with pytest.raises(InputError):
        train(tmp_path / "nowhere", out, _options(1.0), overwrite=True)
    assert ModelFolder.open(out).precisions == ["fp32"]


def test_a_model_is_not_replaced_unless_told_to(folder: Path, tmp_path: Path) -> None:
    out = train(folder, tmp_path / "model", _options(1.0))
    before = (out / WEIGHTS).read_bytes()
    with pytest.raises(InputError, match="already"):
        train(folder, out, _options(1.0, seed=5))
    assert (out / WEIGHTS).read_bytes() == before
    train(folder, out, _options(1.0, seed=5), overwrite=True)
    assert (out / WEIGHTS).read_bytes() != before


def test_other_options_or_files_cannot_be_resumed(folder: Path, tmp_path: Path) -> None:
    out = train(folder, tmp_path / "model", _options(1.0))
    with pytest.raises(InputError, match="other options"):
        train(folder, out, _options(2.0, seed=9), resume=True)
    with pytest.raises(InputError, match="nothing to resume"):
        train(folder, tmp_path / "none", _options(1.0), resume=True)
    (out / STATE).write_bytes((out / STATE).read_bytes()[:-100])
    with pytest.raises(ModelError, match="damaged"):
        train(folder, out, _options(1.0), resume=True)


def test_the_model_folder_tells_what_it_is(models: dict[str, Path]) -> None:
    folder = ModelFolder.open(models["lstm"])
    card = (models["lstm"] / CARD).read_text()
    assert f"{folder.config['held_out']['nats_per_note']:.3f}" in card
    assert folder.config["corpus"]["train_pieces"] == 5
    assert (models["lstm"] / CURVE).read_text().startswith("<svg")
    assert not [path for path in models["lstm"].rglob("*") if path.suffix in (".pkl", ".pt", ".tmp")]


def test_progress_is_told(folder: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    train(folder, tmp_path / "model", _options(2.0), on_progress=told.append)
    measured = [p for p in told if p.held_out_nats is not None]
    assert measured and measured[-1].share_done == 1.0
    assert [p.step for p in told] == sorted(p.step for p in told)
    assert all(p.notes_per_second > 0 for p in told)


def test_training_learns(folder: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    train(folder, tmp_path / "model", _options(26.0), on_progress=told.append)
    nats = [p.held_out_nats for p in told if p.held_out_nats is not None]
    assert min(nats) < nats[0] - 1


def test_too_few_pieces_are_refused(tmp_path: Path, folder: Path) -> None:
    one = next(folder.rglob("*.mid"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one.mid").write_bytes(one.read_bytes())
    with pytest.raises(InputError, match="at least 2 needed"):
        train(tmp_path / "in", tmp_path / "out", _options())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"preset": "huge"},
        {"minutes": 0.0},
        {"epochs": -1.0},
        {"device": "quantum"},
        {"device": "meta"},
        {"seed": -1},
        {"minutes": 1.0, "epochs": 1.0},
    ],
)
def test_impossible_options_are_refused(wrong: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        train(folder, tmp_path / "out", TrainingOptions(**{"preset": "tiny", **wrong}))


def test_ctrl_c_during_the_last_evaluation_stops_too(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = training.evaluate_model

    def interrupted(*arguments: Any) -> Likelihood:
        os.kill(os.getpid(), signal.SIGINT)
        return measure(*arguments)

    options = TrainingOptions(preset="tiny", epochs=0.01)
    monkeypatch.setattr(training, "evaluate_model", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(folder, tmp_path / "model", options)
    monkeypatch.undo()
    assert not (tmp_path / "model" / CONFIG).exists()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]
    train(folder, tmp_path / "model", options, resume=True)
    assert ModelFolder.open(tmp_path / "model").config["steps"] == 1


def test_a_run_that_fails_leaves_no_thread_behind(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to resume"):
        train(folder, tmp_path / "model", TrainingOptions(preset="tiny"), resume=True)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


@pytest.mark.parametrize("made", [lambda stream: stream, Ahead], ids=["when asked for", "ahead"])
def test_the_stream_of_batches_goes_on_where_it_was(made: Callable[[WindowStream], Any]) -> None:
    scores = [tune(seed) for seed in range(4)]

    def stream(only: list[int] | None = None) -> WindowStream:
        source = AugmentedScores(scores, NoteEvents(), Augmentation(), seed=5)
        return WindowStream(source, lanes=3, length=20, only=only)

    whole, stopped = stream(), made(stream())
    batches = [whole.next_batch() for _ in range(30)]
    for _ in range(11):
        stopped.next_batch()
    resumed = made(stream())
    resumed.restore(json.loads(json.dumps(stopped.state())))
    of_two_lanes = stream([2, 0])
    of_two_lanes.restore(stopped.state())
    for batch in batches[11:]:
        again = resumed.next_batch()
        assert (again.events == batch.events).all() and (again.context == batch.context).all()
        assert (of_two_lanes.next_batch().events == batch.events[[2, 0]]).all()


def test_styles_of_few_pieces_are_drawn_more_often_than_they_are_many() -> None:
    deck = Deck.of(["bach"] * 90 + ["jazz"] * 10)
    assert len(deck) == 100 and deck.draws.tolist() == [83, 17]
    epoch = [deck.draw(number, seed=1)[0] for number in range(100, 200)]
    times = np.bincount(epoch, minlength=100)
    assert times[:90].max() == 1 and set(times[90:]) == {1, 2}
    one = Deck.of(["bach"] * 30)
    for first in (0, 30):
        assert sorted(one.draw(first + n, seed=1)[0] for n in range(30)) == list(range(30))
    alone = Deck.of([f"style {n}" for n in range(70)])
    assert alone.draws.tolist() == [1] * 70


def test_consecutive_windows_of_a_lane_make_whole_pieces() -> None:
    notes = NoteEvents()
    scores = [tune(seed) for seed in range(3)]
    stream = WindowStream(AugmentedScores(scores, notes, None, seed=0), lanes=1, length=16)
    batches = [stream.next_batch() for _ in range(40)]
    joined = [row for batch in batches for row in batch.events[0, :-1].tolist()]
    starts = [n * 16 for n, batch in enumerate(batches) if batch.starts[0]]
    pieces = {tuple(map(tuple, notes.encode(score).tolist())) for score in scores}
    found = [[row for row in joined[a:b] if row != [-1] * 5] for a, b in pairwise(starts)]
    # A piece whose last event is only ever a target ends one event earlier in the inputs.
    assert len(found) >= 6
    for rows in found:
        assert any(tuple(map(tuple, rows)) in (piece, piece[:-1]) for piece in pieces)


PAGES_OF_THE_SAME_AGAIN = """
import resource
from cadenza.machine import keep_freed

keep_freed()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * 2**26
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of other C libraries nothing is asked")
def test_what_a_step_gives_back_the_next_one_has_without_the_system() -> None:
    script = [sys.executable, "-c", PAGES_OF_THE_SAME_AGAIN]
    first, again = map(int, subprocess.run(script, capture_output=True, check=True).stdout.split())
    assert again < 0.01 * first


@pytest.mark.parametrize(
    ("said", "looks"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)]
)
def test_threads_wait_asleep_unless_somebody_has_said_how(
    said: dict[str, str], looks: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(said))
    share_cores()
    assert os.environ.get("GOMP_SPINCOUNT") == looks


IN_PROCESSES = """
import atexit, contextlib, os, signal, sys, time
from pathlib import Path
from types import SimpleNamespace
import torch
import conftest
from cadenza import TrainingOptions, training

def threads_of_gloo():
    found = []
    for path in Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            found.append(path.read_text().strip())
    return [name for name in found if "gloo" in name]

def is_left_alone():
    until = time.monotonic() + 10  # the system lists for a moment threads that have been waited for
    while threads_of_gloo():
        if time.monotonic() > until:
            print("still running:", threads_of_gloo(), file=sys.stderr, flush=True)
            os._exit(1)  # they could abort the interpreter that ends
        time.sleep(0.01)

atexit.register(is_left_alone)  # the first to be registered is the last to be called
torch.set_num_threads(1)
conftest.without_dropout()
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
first_start = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
train_step = training._Run._train_step

def second_process(then, step):
    def train_step_until(run):
        assert threads_of_gloo() or sys.platform != "linux"
        if os.environ["RANK"] == "1" and run.learner.step == step:
            then()
        train_step(run)
    training._Run._train_step = train_step_until

def is_interrupted(): signal.raise_signal(signal.SIGINT)
def dies(): os._exit(1)

def train_until_interrupted(out, resume, **options):
    try:
        training.train(folder, out, TrainingOptions(preset="tiny", epochs=6.0, **options), resume=resume)
    except KeyboardInterrupt:
        return
    raise AssertionError("nobody was interrupted")
"""
DIE_AND_BE_INTERRUPTED = """
training.CHECKPOINT_SECONDS = 0.0
second_process(dies if first_start else is_interrupted, 5 if first_start else 8)
train_until_interrupted(out, resume=False)
"""
GO_ON_IN_PARTS = """
second_process(is_interrupted, 7)
for kind in sorted(out.iterdir()):
    train_until_interrupted(kind, resume=True, architecture=kind.name, shard=True)
"""


PATHS = (Path(__file__).parent, Path(training.__file__).parents[1])  # of these tests, and of what they test


def _in_two_processes(script: str, folder: Path, out: Path, restarts: int = 0) -> None:
    path = out.parent / "run.py"
    path.write_text(IN_PROCESSES + script)
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    restarting = (f"--max-restarts={restarts}", "--monitor-interval=0.1")
    done = subprocess.run(
        [*torchrun, *restarting, str(path), str(folder), str(out)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, PATHS)), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def _held_out(out: Path) -> list[float]:
    return [json.loads(line)["held_out_nats"] for line in (out / LOG).read_text().splitlines()]


@pytest.fixture
def no_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(presets.PRESETS, "tiny", presets.PRESETS["tiny"])
    monkeypatch.setattr(preparation, "SMALL_CORPUS_DROPOUT", preparation.SMALL_CORPUS_DROPOUT)
    conftest.without_dropout()


def test_two_processes_learn_what_one_does_even_if_one_of_them_dies_and_is_interrupted(
    folder: Path, tmp_path: Path, no_dropout: None
) -> None:
    alone = train(folder, tmp_path / "alone", _options(6.0))
    _in_two_processes(DIE_AND_BE_INTERRUPTED, folder, tmp_path / "two", restarts=1)
    assert _step(tmp_path / "two") == 9
    train(folder, tmp_path / "two", _options(6.0), resume=True)
    assert _held_out(tmp_path / "two") == pytest.approx(_held_out(alone), abs=SAME_LOSSES)


def test_processes_that_keep_parts_of_the_network_learn_what_one_does_and_share_its_checkpoints(
    folder: Path, tmp_path: Path, no_dropout: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ARCHITECTURES:
        train(folder, tmp_path / "alone" / kind, _options(6.0, architecture=kind))
        with monkeypatch.context() as patch:
            conftest.stop_after(3, patch)
            with pytest.raises(KeyboardInterrupt):
                train(folder, tmp_path / "parts" / kind, _options(6.0, architecture=kind))
    _in_two_processes(GO_ON_IN_PARTS, folder, tmp_path / "parts")
    for kind in ARCHITECTURES:
        assert _step(tmp_path / "parts" / kind) == 8
        train(folder, tmp_path / "parts" / kind, _options(6.0, architecture=kind), resume=True)
        alone, parts = (_held_out(tmp_path / name / kind) for name in ("alone", "parts"))
        assert parts == pytest.approx(alone, abs=SAME_LOSSES)


def _step(out: Path) -> int:
    return int(checkpoint.read(out / STATE)[0]["step"])


def test_a_restart_goes_on_only_from_what_its_own_start_wrote(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(start: str, restarts: int) -> None:
        processes = Processes(start=start, restarts=restarts)
        monkeypatch.setattr(Processes, "join", lambda shard=False: processes)

    started("first", restarts=0)
    out = train(folder, tmp_path / "model", _options(1.0))
    log = (out / LOG).read_text()
    started("first", restarts=1)
    train(folder, out, _options(1.0))
    assert (out / LOG).read_text() == log
    started("second", restarts=1)  # the first time it died before it removed the old checkpoint
    with pytest.raises(InputError, match="already"):
        train(folder, out, _options(1.0))
    train(folder, out, _options(1.0), overwrite=True)
    assert (out / LOG).read_text() != log


def test_a_model_is_gone_on_from_and_never_made_worse(
    folder: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    before = ModelFolder.open(models["transformer"])
    others = write_folder(tmp_path / "others", first=20)
    log: list[Progress] = []
    out = train(others, tmp_path / "new", _options(3.0, base=models["transformer"]), on_progress=log.append)
    after = ModelFolder.open(out)
    assert after.config["base"] == {"name": before.path.name, "digest": before.digest}
    assert after.config["model"]["architecture"] == "transformer"  # whatever the preset says
    assert after.representation == before.representation  # with the same styles
    assert after.index is not None and before.index is not None
    theirs = [f"transformer: {name}" for name in before.index.pieces]
    assert list(after.index.pieces[: len(theirs)]) == theirs
    assert len(after.index.pieces) == len(theirs) + after.config["corpus"]["train_pieces"]
    held_out = [before.representation.encode_piece(p.score) for p in split(scan(others)).held_out]
    nats = [
        evaluate_graph(m.graph("fp32"), m.representation, held_out).nats_per_note for m in (before, after)
    ]
    assert nats[1] < nats[0]
    known = ModelFolder.open(models["lstm"])
    same = ModelFolder.open(train(folder, tmp_path / "same", _options(1e-3, base=known.path, seed=3)))
    held_out = [known.representation.encode_piece(p.score) for p in split(scan(folder)).held_out]
    nats = [evaluate_graph(m.graph("fp32"), m.representation, held_out).nats_per_note for m in (known, same)]
    assert nats[1] <= nats[0] + 1e-6


def test_who_goes_on_from_a_model_composes_as_it_does(
    folder: Path, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = ModelFolder.open(models["gru"]).sampling
    other = replace(presets.PRESETS["tiny"], sampling={"temperature": 1.0, "min_p": 0.77})
    monkeypatch.setitem(presets.PRESETS, "tiny", other)
    for base, expected in ((models["gru"], usual), (None, other.sampling)):
        out = train(folder, tmp_path / f"{base is None}", _options(0.1, base=base))
        assert ModelFolder.open(out).sampling == expected


def test_a_run_goes_on_from_its_own_base_alone(folder: Path, models: dict[str, Path], tmp_path: Path) -> None:
    out = train(folder, tmp_path / "new", _options(1.0, base=models["lstm"]))
    with pytest.raises(InputError, match="other options"):
        train(folder, out, _options(2.0, base=models["gru"]), resume=True)
    train(folder, out, _options(2.0, base=models["lstm"]), resume=True)


@pytest.mark.parametrize(
    "wrong",
    [{"architecture": "gru"}, {"steps_per_quarter": 24}, {"velocity_levels": 8}, {"preset": "tutorial"}],
)
def test_a_base_keeps_its_network_and_grid(models: dict[str, Path], wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="keeps its network and its grid"):
        _options(base=models["lstm"], **wrong)


def test_a_base_that_cannot_be_gone_on_from_is_refused(
    folder: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="no such model folder"):
        train(folder, tmp_path / "out", _options(base=tmp_path / "nowhere"))
    with pytest.raises(InputError, match="notes and chords alone"):
        train(folder, tmp_path / "out", _options(base=models["tokens"]))
    broken = tmp_path / "broken"
    shutil.copytree(models["lstm"], broken)
    (broken / WEIGHTS).write_bytes((broken / WEIGHTS).read_bytes()[:-9])
    for sealed in (False, True):
        if sealed:
            write_sums(broken)
        with pytest.raises(ModelError, match="damaged"):
            train(folder, tmp_path / "out", _options(base=broken))
    shutil.copyfile(models["lstm"] / WEIGHTS, broken / WEIGHTS)
    config = json.loads((models["lstm"] / CONFIG).read_text())
    for network in (None, {"breadth": 3}, {**config["model"], "width": 8}):
        (broken / CONFIG).write_text(json.dumps({**config, "model": network}))
        write_sums(broken)
        with pytest.raises(ModelError, match="damaged"):
            train(folder, tmp_path / "out", _options(base=broken))
    assert not (tmp_path / "out").exists()


def test_small_models_begin_with_the_bundled_one_unless_told_otherwise(folder: Path) -> None:
    def base_of(**options: Any) -> Any:
        return preparation.prepare(folder, TrainingOptions(**options)).base

    assert base_of().path == bundled_model()
    for options in (
        {"base": None},
        {"architecture": "lstm"},
        {"steps_per_quarter": 24},
        {"preset": "medium"},
    ):
        assert base_of(**options) is None


def test_a_network_learns_what_styles_are(tmp_path: Path) -> None:
    for index in range(12):
        style, semitones = (("plain", 0), ("sharp", 6))[index % 2]
        write_midi(transpose(tune(index), semitones), tmp_path / "music" / style / f"{index}.mid")
    options = _options(12.0, transpose=0, base=None)
    model = ModelFolder.open(train(tmp_path / "music", tmp_path / "model", options))
    notes = model.representation
    assert isinstance(notes, NoteEvents) and notes.styles == ("plain", "sharp")
    graph = model.graph("fp32")

    def nats(told: dict[str, str]) -> float:
        pieces = scan(tmp_path / "music").pieces
        encoded = [notes.encode_piece(piece.score, style=told[piece.style]) for piece in pieces]
        return evaluate_graph(graph, notes, encoded).nats_per_note

    right, wrong = {"plain": "plain", "sharp": "sharp"}, {"plain": "sharp", "sharp": "plain"}
    assert nats(right) < nats(wrong)


def test_a_run_that_gets_better_goes_on_although_the_model_it_goes_on_from_is_still_better(
    folder: Path, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a high learning rate a network that knew a lot first gets worse, and better as the rate falls."""
    base, learned, half = [4.1], [5.0 - 0.05 * n for n in range(12)], [4.15 + 0.01 * n for n in range(12)]
    in_turn = iter(base + [nats for pair in zip(learned, half, strict=True) for nats in pair])
    monkeypatch.setattr(training._Run, "_held_out_nats", lambda run, weights: next(in_turn))
    told: list[Progress] = []
    train(folder, tmp_path / "new", _options(20.0, base=models["lstm"]), on_progress=told.append)
    measured = [p for p in told if p.held_out_nats is not None]
    assert len(measured) > 2 * training.PATIENCE and measured[-1].share_done == 1
    assert [p.held_out_nats for p in measured] == half[: len(measured)] and not any(p.best for p in measured)


def test_styles_are_numbered_after_those_of_the_model_gone_on_from(
    folder: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    before = ModelFolder.open(models["lstm"]).representation
    write_midi(tune(30), tmp_path / "music" / "folk" / "a.mid")
    others = write_folder(tmp_path / "music", first=20)
    after = ModelFolder.open(
        train(others, tmp_path / "new", _options(1.0, base=models["lstm"]))
    ).representation
    assert isinstance(before, NoteEvents) and before.styles == ("other", "plain")
    assert isinstance(after, NoteEvents) and after.styles == ("other", "plain", "folk")
    many = [replace(piece, style=f"s{n:02}") for n in range(70) for piece in scan(others).pieces[: 1 + n % 2]]
    told = _with_styles(NoteEvents(styles=("old",)), sorted({piece.style for piece in many}), many).styles
    assert len(told) == MAX_STYLES and told[0] == "old" and list(told[1:]) == sorted(told[1:])
    assert {f"s{n:02}" for n in range(1, 70, 2)} < set(told) and "s68" not in told


def test_where_weights_gain_nothing_those_half_way_from_the_base_are_tried() -> None:
    run = SimpleNamespace(base_weights={"a": torch.zeros(2)}, best_nats=0.3)
    run._held_out_nats = lambda weights: float((weights["a"] - 0.5).abs().sum())
    nats, weights = training._Run._better_half(run, 1.0, {"a": torch.ones(2)})  # type: ignore[arg-type]
    assert nats == 0 and weights["a"].tolist() == [0.5, 0.5]
    nats, weights = training._Run._better_half(run, 0.2, {"a": torch.full((2,), 0.6)})  # type: ignore[arg-type]
    assert nats < 0.3 and weights["a"].tolist() == pytest.approx([0.6, 0.6])
