"""Nothing breaks what is trained: kills, full disks, damaged files, and model folders that somebody made to do harm.

Whatever happens to a training there is a checkpoint or a model that can be used, and whatever is done to a model's
files, it composes music or is refused in one sentence: no other error, no crash, no code of a stranger's run.
"""

from __future__ import annotations

import errno
import json
import os
import pickle
import random
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors

import conftest
from cadenza import CadenzaError, Composer, TrainingOptions, checkpoint, preparation, training
from cadenza.cli import main
from cadenza.dataset import AugmentedScores, WindowStream
from cadenza.errors import InputError, StorageError
from cadenza.evaluation import evaluate_graph
from cadenza.events import NoteEvents
from cadenza.graph import _head
from cadenza.midi import midi_bytes, write_midi
from cadenza.model_folder import (
    CONFIG,
    INDEX,
    REPRESENTATION,
    STATE,
    STATE_BEFORE,
    SUMS,
    UNFINISHED,
    WEIGHTS,
    ModelFolder,
    write_sums,
)
from cadenza.presets import ARCHITECTURES
from cadenza.score import DRUM_KIT, Score, make_notes
from cadenza.training import train
from music import tune, write_folder

SECONDS = 1.0  # of processor time that refusing a file may take
DAMAGES = 30  # of each kind, to each file
KILLS = 50


def _options(**changes: Any) -> TrainingOptions:
    return TrainingOptions(**{"preset": "tiny", "epochs": 4.0, "graphs": ("fp32",), "base": None, **changes})


@contextmanager
def _refused_quickly(*names: str, match: str | None = None) -> Iterator[None]:
    """Within it something is refused, in one sentence that names the file, in little time."""
    start = time.process_time()
    with pytest.raises(CadenzaError, match=match) as refused:
        yield
    assert time.process_time() - start < SECONDS
    text = str(refused.value)
    assert _is_a_sentence(text), text
    assert all(name in text for name in names), text


def _is_a_sentence(text: str) -> bool:
    ends_with_a_command = ": cadenza train " in text
    return "\n" not in text and (text.endswith(".") or ends_with_a_command)


@pytest.fixture
def copy(models: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a trained model, to be damaged."""

    def copied(kind: str) -> Path:
        return shutil.copytree(models[kind], tmp_path / f"copy of {kind}")

    return copied


# -- going on -------------------------------------------------------------------------------------

IN_A_NEW_PROCESS = """
import sys
from pathlib import Path
import torch
import conftest
from cadenza import presets
from cadenza.preparation import TrainingOptions
from cadenza.training import train

torch.set_num_threads(1)
presets.PRESETS["tiny"] = conftest.TINY
"""
RESUME_ALL = """
for out in sorted(Path(sys.argv[2]).iterdir()):
    kind = out.name.split()[0]
    options = TrainingOptions(preset="tiny", epochs=4.0, graphs=("fp32",), base=None, architecture=kind)
    train(sys.argv[1], out, options, resume=True)
"""


def _python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script of these tests in a process of its own."""
    paths = (Path(__file__).parent, Path(training.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", IN_A_NEW_PROCESS + script, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_run_goes_on_in_a_new_process_to_the_bit_within_an_epoch_and_between_two(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, optimiser, random numbers, places in the data, and what was logged."""
    within, between = 2, 3  # steps; after the second one the next epoch begins
    for kind in ARCHITECTURES:
        train(folder, tmp_path / "whole" / kind, _options(architecture=kind))
        for steps in (within, between):
            with monkeypatch.context() as patch:
                conftest.stop_after(steps, patch)
                with pytest.raises(KeyboardInterrupt):
                    train(folder, tmp_path / "stopped" / f"{kind} {steps}", _options(architecture=kind))
    epochs = [_facts(tmp_path / "stopped" / f"lstm {steps}")["stream"] for steps in (within, between)]
    assert [max(draw // 5 for _, draw, _ in places) for places in epochs] == [0, 1]
    done = _python(RESUME_ALL, folder, tmp_path / "stopped")
    assert done.returncode == 0, done.stderr[-2000:]
    for out in sorted((tmp_path / "stopped").iterdir()):
        whole = tmp_path / "whole" / out.name.split()[0]
        assert _facts(out) == _facts(whole)
        for name in (STATE, WEIGHTS):
            one, other = load_file(whole / name), load_file(out / name)
            assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
        assert any(k.startswith("optimiser.") for k in load_file(out / STATE))


def _facts(out: Path) -> dict[str, Any]:
    """What a checkpoint tells beside tensors, without times."""
    facts, _ = checkpoint.read(out / STATE)
    facts["log"] = [
        {k: v for k, v in line.items() if k not in ("seconds", "notes_per_second")} for line in facts["log"]
    ]
    return {k: v for k, v in facts.items() if k not in ("start", "seconds", "sha256")}


def test_the_order_after_going_on_is_not_that_of_the_first_epoch() -> None:
    scores = [tune(seed, bars=2) for seed in range(12)]

    def stream() -> WindowStream:
        return WindowStream(AugmentedScores(scores, NoteEvents(), None, seed=5), lanes=1, length=200)

    whole = stream()
    first = [whole.next_batch().events.tobytes() for _ in scores]
    resumed = stream()
    resumed.restore(json.loads(json.dumps(whole.state())))
    second = [resumed.next_batch().events.tobytes() for _ in scores]
    assert sorted(first) == sorted(second) and first != second


# -- kills and full disks -------------------------------------------------------------------------

KILL_WHILE_SAVING = """
import os, random, signal, time
from cadenza import checkpoint, preparation, training
from cadenza.errors import ModelError
from cadenza.files import write_atomic
from cadenza.model_folder import UNFINISHED, ModelFolder

folder, out, kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
options = TrainingOptions(preset="tiny", epochs=1e5, graphs=("fp32",), base=None, architecture="gru")
prepared = preparation.prepare(folder, options)

# Saved once by all that saves; then what takes time between the writes is left out.
run = training._Run(prepared, options, out)
run._train_step()
run.finish()
run.stream.close()
graphs = {path.relative_to(out): path.read_bytes() for path in out.glob("graph-*/*.onnx")}
likelihood = run._final_likelihood()
training.write_graphs = lambda out, *_: [write_atomic(out / path, data) for path, data in graphs.items()]
training._Run._final_likelihood = lambda _: likelihood

def restored():
    run = training._Run(prepared, options, out)
    run.restore()
    return run

def save(run):
    run._train_step()
    run.finish()

def save_for_ever(ready):
    run = restored()
    os.write(ready, b".")
    while True:
        save(run)

run = restored()
start = time.perf_counter()
save(run)
seconds = time.perf_counter() - start
run.stream.close()

def what_there_is():
    facts, _, _ = checkpoint.last(out)
    try:
        model = ModelFolder.open(out)
    except ModelError as error:
        assert "missing" in str(error), error  # rather than a mixture of two
        return facts["step"], None
    assert model.index is not None and model.digest and model.graph("fp32")
    return facts["step"], model.config["steps"]

rng, steps, without, halves = random.Random(0), 0, 0, 0
for kill in range(kills):
    reading, ready = os.pipe()
    child = os.fork()
    if child == 0:
        save_for_ever(ready)
    os.read(reading, 1)
    time.sleep(rng.uniform(0.0, 2.0 * seconds))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reading), os.close(ready)
    before = steps
    steps, of_model = what_there_is()
    assert steps >= before, "a checkpoint was lost"
    assert of_model is None or of_model <= steps
    without += of_model is None
    halves += (out / UNFINISHED).exists()
print(steps, without, halves)
"""


def test_fifty_kills_while_all_is_saved_leave_a_checkpoint_and_a_whole_model_or_none(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    done = _python(KILL_WHILE_SAVING, folder, out, KILLS)
    assert done.returncode == 0, done.stderr[-3000:]
    steps, _, halves = map(int, done.stdout.split())
    assert steps > KILLS / 5 and halves > KILLS / 5, done.stdout
    options = _options(epochs=(steps + 2) * 0.4, architecture="gru")
    train(folder, out, options, resume=True)
    assert ModelFolder.open(out).config["steps"] > steps
    assert len(Composer.from_pretrained(out).compose(bars=1, seed=1).score)
    assert not list(out.rglob("*.tmp")) and not (out / UNFINISHED).exists()


def test_a_kill_before_the_first_checkpoint_is_due_leaves_one_beside_the_model_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """As if at once."""

    def killed(folder: Path, new: Path) -> None:
        raise Killed

    monkeypatch.setattr(training, "replace_model", killed)
    with pytest.raises(Killed):
        train(folder, tmp_path / "model", _options(), keep_best=True)
    monkeypatch.undo()
    train(folder, tmp_path / "model", _options(), resume=True, keep_best=True)
    assert ModelFolder.open(tmp_path / "model").config["steps"]


@pytest.mark.parametrize("damage", ["cut", "lost"])
def test_if_the_last_checkpoint_is_damaged_the_one_before_is_gone_on_from_and_that_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    whole, out = train(folder, tmp_path / "whole", _options()), tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
        conftest.stop_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            train(folder, out, _options())
    with pytest.raises(InputError, match="stopped run"):
        train(folder, out, _options())
    if damage == "cut":
        (out / STATE).write_bytes((out / STATE).read_bytes()[:-1])
    else:
        (out / STATE).unlink()
    told: list[str] = []
    for at in range(6):  # not even another fault leaves it without one
        with monkeypatch.context() as patch:
            patch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
            patch.setattr(os, "replace", _FailingCall(os.replace, at, errno.EIO))
            with pytest.raises(StorageError):
                train(folder, out, _options(), resume=True, on_note=told.append)
        assert checkpoint.last(out)
    assert str(out / STATE) in told[0] and told[0].endswith("the one before, of step 2")
    train(folder, out, _options(), resume=True)
    assert (out / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert not (out / STATE_BEFORE).exists()


class _FailingCall:
    """Fails at call number `at`, counted from 0."""

    def __init__(self, call: Callable[..., Any], at: int, number: int) -> None:
        self.call, self.at, self.number, self.calls = call, at, number, 0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls - 1 == self.at:
            raise OSError(self.number, os.strerror(self.number))
        return self.call(*arguments, **options)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, folder: Path, tiny_presets: None) -> Iterator[Any]:
    """A run that has written a checkpoint and a model."""
    options = _options(graphs=("int8",), architecture="lstm")
    prepared = preparation.prepare(folder, options)
    run = training._Run(prepared, options, tmp_path_factory.mktemp("saved") / "model")
    run._train_step()
    run.finish()
    yield run
    run.stream.close()


def _still_usable(run: Any) -> None:
    """A checkpoint, and a model that is whole or none; and both can be written again."""
    step, *_ = checkpoint.last(run.out)
    assert step["step"] >= 1
    assert not list(run.out.glob("*.tmp")) and not list(run.out.glob(".*.tmp"))
    if (run.out / CONFIG).exists():
        Composer.from_pretrained(run.out).compose(bars=1, seed=1)


@pytest.mark.parametrize(
    ("name", "number"), [("fsync", errno.EIO), ("replace", errno.EIO), ("replace", errno.EACCES)]
)
def test_a_failing_disk_is_told_and_leaves_what_can_be_used(
    saved: Any, name: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = _FailingCall(getattr(os, name), -1, number)
    with monkeypatch.context() as patch:
        patch.setattr(os, name, counting)
        saved.finish()
    for at in range(0, counting.calls, 1 if number == errno.EACCES else 3):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, _FailingCall(getattr(os, name), at, number))
            with pytest.raises(
                StorageError if number == errno.EIO else InputError, match="cannot be written"
            ):
                saved.finish()
        _still_usable(saved)
    saved.finish()
    assert Composer.from_pretrained(saved.out)


@pytest.mark.parametrize(
    ("saves", "most"),
    [("finish", 0), ("finish", 1_000_000), *(("_write_model", n) for n in (0, 900, 50_000, 100_000))],
)
def test_a_full_disk_is_told_and_leaves_what_can_be_used(saved: Any, saves: str, most: int) -> None:
    """Files of more than so many bytes cannot be written, by libraries neither."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = (saved.out / STATE).read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        with pytest.raises(CadenzaError, match="cannot be written"):
            getattr(saved, saves)()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (saved.out / STATE).read_bytes() == before
    _still_usable(saved)


# -- damage ---------------------------------------------------------------------------------------


def _use(folder: Path, name: str) -> None:
    """Read a file of a model or of its checkpoint as those do that need it."""
    if name == STATE:
        checkpoint.read(folder / STATE)
        return
    model = ModelFolder.open(folder)
    if name == WEIGHTS:
        assert model.digest
    elif name == INDEX:
        assert model.index
    elif name.startswith("graph-"):
        model.graph(name.split("/")[0].removeprefix("graph-"))


def _damaged(whole: bytes, seed: str) -> Iterator[bytes]:
    """The content of a file, cut off here and there, and with single bits flipped."""
    rng = random.Random(seed)
    for cut in {0, 1, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(DAMAGES - 3))}:
        yield whole[:cut]
    places = [*range(8), *(rng.randrange(len(whole)) for _ in range(DAMAGES - 8))]
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << rng.randrange(8)
        yield bytes(flipped)


def test_every_cut_and_flipped_bit_is_refused(copy: Callable[[str], Path]) -> None:
    broken = copy("lstm")
    names = {path.relative_to(broken).as_posix() for path in broken.rglob("*") if path.is_file()}
    read = {name for name in names if Path(name).suffix not in (".md", ".svg", ".jsonl")}
    assert {CONFIG, REPRESENTATION, WEIGHTS, INDEX, STATE, SUMS} < read and len(read) > 12
    for name in sorted(read):
        whole = (broken / name).read_bytes()
        for content in _damaged(whole, name):
            (broken / name).write_bytes(content)
            # If checksums are damaged, so seems any file that they belong to.
            with _refused_quickly(str(broken) if name == SUMS else str(broken / name)):
                for used in [WEIGHTS, INDEX, "graph-int8/", "graph-fp32/"] if name == SUMS else [name]:
                    _use(broken, used)
        (broken / name).write_bytes(whole)
        _use(broken, name)


USE_DAMAGED = """
import random
from cadenza import CadenzaError, Composer
from cadenza.midi import midi_bytes, parse_midi
from cadenza.model_folder import write_sums

counts = {"composed": 0, "refused": 0}
for model in map(Path, sys.argv[2:]):
    for path in sorted(model.glob("graph-*/*.onnx")):
        rng, whole = random.Random(path.name), path.read_bytes()
        for n in range(int(sys.argv[1])):
            content = bytearray(whole[: rng.randrange(len(whole))] if n % 4 == 0 else whole)
            if n % 4 and content:  # most of all where it tells of nodes and shapes
                content[rng.randrange(min(len(content), (300, 2000, len(content))[n % 3]))] ^= 1 << rng.randrange(8)
            path.write_bytes(content)
            write_sums(model)
            print(path, n, flush=True)
            try:
                piece = Composer.from_pretrained(model, path.parent.name.removeprefix("graph-")).compose(bars=1, seed=1)
                assert parse_midi(midi_bytes(piece.score)) == piece.score
                counts["composed"] += 1
            except CadenzaError as error:
                assert str(model) in str(error) and str(error).endswith("."), error
                counts["refused"] += 1
        path.write_bytes(whole)
print(counts)
"""


def test_damaged_graphs_whose_checksums_somebody_wrote_anew_compose_or_are_refused(
    copy: Callable[[str], Path],
) -> None:
    """In a process of its own, for what runs graphs is not in Python."""
    done = _python(USE_DAMAGED, 8, *(copy(kind) for kind in ("lstm", "transformer")))
    assert done.returncode == 0, (done.stdout.splitlines()[-1:], done.stderr[-2000:])
    assert "'composed': 0" not in done.stdout and "'refused': 0" not in done.stdout


# -- files that somebody made to do harm ----------------------------------------------------------


def _safetensors(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
    """A file of this header, whatever is in it, that says to be of this length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def _tensor(start: int, end: int, shape: list[int], kind: str = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [start, end]}


def _pickled(sentinel: Path) -> bytes:
    """What writes the sentinel when it is unpickled."""

    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.write_text, (sentinel, "harm")

    return pickle.dumps(Harm())


HOSTILE_TENSORS = {
    "a header of 2^63 bytes": _safetensors({}, length=2**63),
    "a header of 2^64 - 1 bytes": _safetensors({}, length=2**64 - 1),
    "a header of 100 MB, of which little is there": _safetensors({}, length=100_000_000),
    "a deep header": _safetensors(b"[" * 100_000),
    "no JSON": _safetensors(b"{'a': 1}"),
    "a header that is no object": _safetensors([1, 2]),
    "overlapping offsets": _safetensors({"a": _tensor(0, 8, [2]), "b": _tensor(4, 12, [2])}, bytes(12)),
    "a gap": _safetensors({"a": _tensor(0, 4, [1]), "b": _tensor(8, 12, [1])}, bytes(12)),
    "offsets that end before they begin": _safetensors({"a": _tensor(8, 0, [2])}, bytes(8)),
    "offsets beyond the end": _safetensors({"a": _tensor(0, 2**40, [2**38])}, bytes(8)),
    "a shape that overflows": _safetensors({"a": _tensor(0, 4, [2**32, 2**32])}, bytes(4)),
    "tensors of no size": _safetensors({str(n): _tensor(0, 0, [0, 2**40]) for n in range(1000)}),
    "100,000 entries": _safetensors(
        {f"t{n}": _tensor(4 * n, 4 * n + 4, [1]) for n in range(100_000)}, bytes(400_000)
    ),
    "a name twice": _safetensors(
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},'
        b' "a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
        bytes(8),
    ),
    "an unknown type": _safetensors({"a": _tensor(0, 4, [1], "X32")}, bytes(4)),
}


def _uses(broken: Path, folder: Path) -> dict[str, Callable[[], object]]:
    """What reads each file of tensors."""
    options = _options(epochs=3.0, architecture="lstm")
    return {
        WEIGHTS: lambda: train(folder, broken / "new", _options(base=broken)),
        INDEX: lambda: ModelFolder.open(broken).index,
        STATE: lambda: train(folder, broken, options, resume=True),
    }


@pytest.mark.parametrize("name", [WEIGHTS, INDEX, STATE])
def test_hostile_files_of_tensors_are_refused_quickly(
    copy: Callable[[str], Path], folder: Path, name: str
) -> None:
    broken = copy("lstm")
    use, whole = _uses(broken, folder)[name], (broken / name).read_bytes()
    for content in [*HOSTILE_TENSORS.values(), whole + b"more"]:
        (broken / name).write_bytes(content)
        write_sums(broken)
        with _refused_quickly(str(broken / name)):
            use()
    with (broken / name).open("wb") as file:
        file.write(_safetensors(b"{" + b" " * (100_000_000 - 2) + b"}"))
    write_sums(broken)
    with _refused_quickly(str(broken / name)):
        use()


def _changed(tensors: dict[str, torch.Tensor], what: str) -> dict[str, torch.Tensor]:
    """Tensors of a file of which one is not what it should be."""
    name = max(tensors, key=lambda each: (tensors[each].dtype.is_floating_point, tensors[each].numel(), each))
    tensor = tensors[name]
    if what == "nan" or what == "inf":
        other = tensor.clone()
        other.view(-1)[3] = float(what)
    elif what == "shape":
        other = tensor.reshape(-1)[:-1].clone()
    elif what == "turned":
        other = tensor.T.contiguous()[:, :1].clone()
    elif what == "scalar":
        other = torch.tensor(1.0)
    else:
        return {k: v for k, v in tensors.items() if k != name}
    return tensors | {name: other}


@pytest.mark.parametrize("what", ["nan", "inf", "shape", "turned", "scalar", "missing"])
def test_weights_that_are_no_numbers_or_of_other_shapes_are_refused(
    copy: Callable[[str], Path], folder: Path, what: str
) -> None:
    broken = copy("lstm")
    (broken / WEIGHTS).write_bytes(save_tensors(_changed(load_file(broken / WEIGHTS), what)))
    write_sums(broken)
    with _refused_quickly(str(broken / WEIGHTS)):
        train(folder, broken / "new", _options(base=broken))


@pytest.mark.parametrize(
    ("prefix", "what"),
    [
        *(
            (prefix, what)
            for prefix in ("model.", "optimiser.", "best.", "state.")
            for what in ("shape", "missing")
        ),
        *((prefix, "scalar") for prefix in ("model.", "optimiser.", "random.")),
    ],
)
def test_checkpoints_with_other_tensors_are_refused(
    copy: Callable[[str], Path], folder: Path, prefix: str, what: str
) -> None:
    broken = copy("lstm")
    options = TrainingOptions(preset="tiny", architecture="lstm")
    facts, tensors = checkpoint.read(broken / STATE)
    some = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    others = {name: tensor for name, tensor in tensors.items() if name not in some} | _changed(some, what)
    told = {"training": json.dumps(facts | {"sha256": checkpoint._NO_SUM})}
    (broken / STATE).write_bytes(checkpoint.with_sum(save_tensors(others, told)))
    with _refused_quickly(str(broken / STATE)):
        train(folder, broken, options, resume=True)


# -- graphs ---------------------------------------------------------------------------------------


def _changed_trunk(broken: Path, change: Callable[[onnx.ModelProto], None], precision: str = "fp32") -> Path:
    """Change the graph that composes first, and write its checksum anew."""
    path = broken / f"graph-{precision}" / "trunk.onnx"
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    write_sums(broken)
    return path


def _put_first(node: onnx.NodeProto) -> Callable[[onnx.ModelProto], None]:
    return lambda model: model.graph.node.insert(0, node)


def _loop_for_ever() -> onnx.NodeProto:
    """An ONNX Loop whose condition stays true."""
    bool_, int_ = TensorProto.BOOL, TensorProto.INT64
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"])],
        "body",
        [helper.make_tensor_value_info("n", int_, []), helper.make_tensor_value_info("go", bool_, [])],
        [helper.make_tensor_value_info("go_on", bool_, [])],
    )
    return helper.make_node("Loop", ["", "yes"], [], body=body)


def _branch() -> onnx.NodeProto:
    part = helper.make_graph([], "part", [], [])
    return helper.make_node("If", ["yes"], ["whatever"], then_branch=part, else_branch=part)


def _with_outside_data(place: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in (("location", place), ("offset", "0"), ("length", "16")):
            weight.external_data.add(key=key, value=value)

    return change


def _with_function(model: onnx.ModelProto) -> None:
    opset = [helper.make_opsetid("", 23)]
    node = helper.make_node("Identity", ["a"], ["b"])
    model.functions.append(helper.make_function("", "Gemm", ["a"], ["b"], [node], opset))


def _with_constant_graph(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("inner", helper.make_graph([], "g", [], [])))


def _set_sizes(name: str, size: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        for value in model.graph.input:
            if value.name.startswith(name):
                value.type.tensor_type.shape.dim[-1].dim_value = size

    return change


def _rename(where: str, old: str, new: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        for value in getattr(model.graph, where):
            if value.name == old:
                value.name = new
        for node in model.graph.node:
            for names in (node.input, node.output):
                names[:] = [new if name == old else name for name in names]

    return change


def _of_floats(model: onnx.ModelProto) -> None:
    for value in model.graph.input:
        if value.name == "columns":
            value.type.tensor_type.elem_type = TensorProto.FLOAT


def _weights_of(value: float) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        for weight in model.graph.initializer:
            if weight.data_type == TensorProto.FLOAT:
                full = np.full(numpy_helper.to_array(weight).shape, value, np.float32)
                weight.CopyFrom(numpy_helper.from_array(full, weight.name))

    return change


def _with_huge_sizes(model: onnx.ModelProto) -> None:
    weight = model.graph.initializer[0]
    weight.dims[:] = [2**40, 2**20]


def _that_fails_when_run(model: onnx.ModelProto) -> None:
    for weight in model.graph.initializer:
        if weight.name == "embed.offsets":
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + 10**6, weight.name))


def _many_nodes(model: onnx.ModelProto) -> None:
    for n in range(100_000):
        model.graph.node.add(op_type="Identity", input=["columns"], output=[f"copy {n}"])


def _another(model: onnx.ModelProto) -> None:
    """That of a head, with the names of its inputs and outputs."""
    schema = NoteEvents().schema
    width = model.graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    arrays = {
        f"{part}.{kind}": np.zeros(shape, np.float32)
        for part, shapes in (
            ("condition.0", {"weight": (1000, width)}),
            ("heads.1.up", {"weight": (8, width), "bias": (8,)}),
            ("heads.1.out", {"weight": (schema.fields[1].size, 8), "bias": (schema.fields[1].size,)}),
        )
        for kind, shape in shapes.items()
    }
    model.CopyFrom(_head(arrays, {"width": width, "residual_heads": False}, schema, 1))


def _without_outputs(model: onnx.ModelProto) -> None:
    del model.graph.output[:]


HOSTILE_GRAPHS: dict[str, Callable[[onnx.ModelProto], None]] = {
    "a loop": _put_first(_loop_for_ever()),
    "a branch": _put_first(_branch()),
    "an operator of others": _put_first(helper.make_node("Harm", [], ["h"], domain="com.example")),
    "an operator that is not ours": _put_first(
        helper.make_node(
            "ConstantOfShape",
            ["columns"],
            ["huge"],
            value=helper.make_tensor("v", TensorProto.FLOAT, [1], [0.0]),
        )
    ),
    "a file outside": _with_outside_data("../../../../../etc/passwd"),
    "a file outside, by its whole path": _with_outside_data("/etc/passwd"),
    "a file beside it": _with_outside_data("head_1.onnx"),
    "a function": _with_function,
    "a graph within": _with_constant_graph,
    "sizes beyond the bytes": _with_huge_sizes,
    "a state of huge size": _set_sizes("state_", 2**50),
    "columns of another number": _set_sizes("columns", 3),
    "an input of another name": _rename("input", "columns", "rows"),
    "an output of another name": _rename("output", "logits", "scores"),
    "no outputs": _without_outputs,
    "another graph of ours": _another,
    "floats for whole numbers": _of_floats,
    "what fails when it is run": _that_fails_when_run,
    "weights that are no numbers": _weights_of(float("nan")),
    "weights without bounds": _weights_of(float("inf")),
    "weights that overflow": _weights_of(3e38),
    "many nodes": _many_nodes,
}


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
@pytest.mark.parametrize("what", HOSTILE_GRAPHS)
def test_hostile_graphs_are_refused_quickly(
    copy: Callable[[str], Path], kind: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = copy(kind)
    path = _changed_trunk(broken, HOSTILE_GRAPHS[what])
    monkeypatch.chdir(broken / "graph-fp32")  # where files beside it would be looked for
    with _refused_quickly(str(path.parent)):
        Composer.from_pretrained(broken, "fp32").compose(bars=1, seed=1)


def _with_matrix_of(**sizes: int) -> Callable[[onnx.ModelProto], None]:
    """Tell other sizes of the first 8-bit matrix than its numbers have."""

    def change(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if node.op_type == "MatMulNBits")
        for attribute in node.attribute:
            attribute.i = sizes.get(attribute.name, attribute.i)

    return change


def _with_short(part: str) -> Callable[[onnx.ModelProto], None]:
    """Cut the numbers or the scales of all 8-bit matrices short."""

    def change(model: onnx.ModelProto) -> None:
        for weight in model.graph.initializer:
            if f".weight.{part}" in weight.name:
                weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight)[:1], weight.name))

    return change


HOSTILE_MATRICES = {
    "more rows": _with_matrix_of(N=8192),
    "longer rows": _with_matrix_of(K=8192),
    "both": _with_matrix_of(N=8192, K=8192),
    "fewer bits": _with_matrix_of(bits=4),
    "larger blocks": _with_matrix_of(block_size=16),
    "short numbers": _with_short("numbers"),
    "short scales": _with_short("scales"),
}


@pytest.mark.parametrize("what", HOSTILE_MATRICES)
def test_matrices_of_other_sizes_than_they_say_are_refused(copy: Callable[[str], Path], what: str) -> None:
    """Older onnxruntimes than the project takes read beyond them."""
    broken = copy("transformer")
    path = _changed_trunk(broken, HOSTILE_MATRICES[what], "int8")
    with _refused_quickly(str(path.parent)):
        Composer.from_pretrained(broken, "int8").compose(bars=1, seed=1)


def test_a_network_that_predicts_no_numbers_is_not_evaluated(copy: Callable[[str], Path]) -> None:
    broken = copy("gru")
    _changed_trunk(broken, _weights_of(float("nan")))
    model = ModelFolder.open(broken)
    with _refused_quickly(str(broken), match="predicts no numbers"):
        evaluate_graph(
            model.graph("fp32"), model.representation, [model.representation.encode_piece(tune(1))]
        )


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 1000, b"\xff" * 1000, b"\x3a\xff\xff\xff\xff\x7f", b"MThd" * 99]
)
def test_what_is_no_graph_is_refused_quickly(copy: Callable[[str], Path], content: bytes) -> None:
    broken = copy("lstm")
    for name in ("trunk.onnx", "head_1.onnx"):
        (broken / "graph-fp32" / name).write_bytes(content)
        write_sums(broken)
        with _refused_quickly(str(broken / "graph-fp32")):
            Composer.from_pretrained(broken, "fp32")


def test_pickles_are_never_run_whatever_they_are_called(
    copy: Callable[[str], Path], folder: Path, tmp_path: Path
) -> None:
    sentinel, broken = tmp_path / "sentinel", copy("lstm")
    harm = _pickled(sentinel)
    pickle.loads(harm)
    assert sentinel.read_text() == "harm"
    sentinel.unlink()
    for name in (
        CONFIG,
        REPRESENTATION,
        WEIGHTS,
        INDEX,
        STATE,
        "graph-fp32/trunk.onnx",
        "graph-fp32/head_2.onnx",
    ):
        whole = (broken / name).read_bytes()
        for content in (harm, struct.pack("<Q", len(harm)) + harm):
            (broken / name).write_bytes(content)
            write_sums(broken)
            with _refused_quickly(str(broken)):
                if name == WEIGHTS:
                    train(folder, broken / "new", _options(base=broken))
                _use(broken, name)
        (broken / name).write_bytes(whole)
    for suffix in (".pt", ".pkl", ".bin"):
        (broken / f"model{suffix}").write_bytes(harm)
    write_sums(broken)
    assert len(Composer.from_pretrained(broken).compose(bars=1, seed=1).score)
    assert not sentinel.exists()


# -- folders and values that are wrong -------------------------------------------------------------

VALUES: tuple[Any, ...] = (
    None,
    -1,
    0,
    10**30,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "x" * 1000,
    [],
    {},
    [[]],
    {"a": 1},
    True,
    "../../..",
)


def _places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to all that is in a JSON value."""
    inside = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inside:
        yield (*path, key)
        yield from _places(value, (*path, key))


def _with(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = json.loads(json.dumps(data))
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    if value is None and isinstance(inner, dict):
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return changed


@pytest.mark.parametrize("kind", ["lstm", "tokens"])
@pytest.mark.parametrize("name", [CONFIG, REPRESENTATION])
def test_whatever_values_a_model_has_it_composes_or_is_refused(
    copy: Callable[[str], Path], folder: Path, kind: str, name: str
) -> None:
    broken = copy(kind)
    data = json.loads((broken / name).read_text())
    rng, outcomes = random.Random(name), set()
    places = list(_places(data))
    for path in rng.sample(places, min(70, len(places))):
        (broken / name).write_text(json.dumps(_with(data, path, rng.choice(VALUES))))
        write_sums(broken)
        try:
            piece = Composer.from_pretrained(broken).compose(bars=1, seed=1, style=None)
            assert midi_bytes(piece.score) and json.dumps(piece.sidecar, allow_nan=False)
            outcomes.add("composed")
            if kind == "lstm" and name == CONFIG:
                preparation.prepare(folder, _options(base=broken))
        except CadenzaError as error:
            outcomes.add("refused" if _is_a_sentence(str(error)) else str(error))
    assert outcomes == {"composed", "refused"}


def test_folders_that_are_no_models_are_refused(copy: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no folder")
    write_folder(tmp_path / "music", 2)
    for name in ("nowhere", "empty", "file", "music"):
        with _refused_quickly(str(tmp_path / name)):
            Composer.from_pretrained(tmp_path / name)
    for name in (CONFIG, SUMS, REPRESENTATION, WEIGHTS, "graph-int8/trunk.onnx", "graph-int8/head_1.onnx"):
        broken = copy("lstm")
        (broken / name).unlink()
        with _refused_quickly(str(broken)):
            Composer.from_pretrained(broken, "int8").compose(bars=1, seed=1)
        (broken / name).mkdir()
        with _refused_quickly(str(broken)):
            Composer.from_pretrained(broken, "int8").compose(bars=1, seed=1)
        shutil.rmtree(broken)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
@pytest.mark.parametrize(
    "name", [CONFIG, SUMS, REPRESENTATION, WEIGHTS, INDEX, STATE, "graph-int8/trunk.onnx"]
)
def test_pipes_in_place_of_files_are_refused_at_once(
    copy: Callable[[str], Path], folder: Path, name: str
) -> None:
    broken = copy("lstm")
    (broken / name).unlink()
    os.mkfifo(broken / name)
    with _refused_quickly(str(broken)):
        if name == STATE:
            train(folder, broken, TrainingOptions(preset="tiny", architecture="lstm"), resume=True)
        Composer.from_pretrained(broken, "int8").compose(bars=1, seed=1)


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"a":' * 100_000, '{"format_version": 1e999}', "9" * 100_000]
)
@pytest.mark.parametrize("name", [CONFIG, REPRESENTATION])
def test_json_that_is_no_model_is_refused(copy: Callable[[str], Path], name: str, content: str) -> None:
    broken = copy("lstm")
    (broken / name).write_text(content)
    write_sums(broken)
    with _refused_quickly(str(broken)):
        Composer.from_pretrained(broken)


def test_parts_of_other_models_are_refused(models: dict[str, Path], copy: Callable[[str], Path]) -> None:
    """Their words, their events or their graphs, with right checksums and without."""
    for name in (CONFIG, REPRESENTATION, WEIGHTS, "graph-int8/trunk.onnx"):
        broken = copy("lstm")
        shutil.copyfile(models["transformer"] / name, broken / name)
        if (models["transformer"] / name).read_bytes() != (models["lstm"] / name).read_bytes():
            with _refused_quickly(str(broken)):
                Composer.from_pretrained(broken, "int8").compose(bars=1, seed=1)
        shutil.rmtree(broken)
    for name in (REPRESENTATION, "graph-int8"):
        broken = copy("lstm")
        if name == REPRESENTATION:
            shutil.copyfile(models["tokens"] / name, broken / name)
        else:
            shutil.rmtree(broken / name)
            shutil.copytree(models["tokens"] / name, broken / name)
        write_sums(broken)
        with _refused_quickly(str(broken)):
            Composer.from_pretrained(broken, "int8").compose(bars=1, seed=1)
        shutil.rmtree(broken)


def test_the_command_line_and_python_compose_the_same_bytes(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ARCHITECTURES:
        out = tmp_path / kind
        arguments = [models[kind], "--out", out, "--num", 2, "--bars", 3, "--seed", 5]
        assert main(["compose", *map(str, arguments)]) == 0
        pieces = Composer.from_pretrained(models[kind]).compose_many(num=2, bars=3, seed=5)
        for number, piece in enumerate(pieces, 1):
            assert midi_bytes(piece.score) == (out / f"{number:03}.mid").read_bytes()
    capsys.readouterr()


# -- the folder that is learned from ----------------------------------------------------------------


def _bad_files(folder: Path, count: int) -> None:
    """So many files that cannot be learned from, of all kinds."""
    whole = midi_bytes(tune(1))
    rng = random.Random(0)
    drums = make_notes(range(0, 4800, 240), 60, 38, 80, DRUM_KIT)
    contents: list[Callable[[], bytes]] = [
        lambda: whole[: rng.randrange(22)],
        lambda: rng.randbytes(300),
        lambda: b"",
        lambda: midi_bytes(Score(480)),
        lambda: midi_bytes(Score(480, make_notes([0], 480, 60))),
        lambda: midi_bytes(Score(480, drums)),
        lambda: b"MThd" + bytes(10) + b"MTrk" * 50,
    ]
    for n in range(count - 3):
        (folder / f"bad_{n:02}.mid").write_bytes(contents[n % len(contents)]())
    (folder / "bad_gone.mid").symlink_to(folder / "nothing.mid")
    (folder / "bad_loop.mid").symlink_to(folder / "bad_loop.mid")
    (folder / "bad_notes.txt").write_text("no music")


@pytest.mark.parametrize("good", [0, 1, 2])
def test_ninety_nine_bad_files_are_told_and_a_few_good_ones_learned_from(
    tmp_path: Path, good: int, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "midi", tmp_path / "model"
    folder.mkdir()
    _bad_files(folder, 99)
    for n in range(good):
        write_midi(tune(n), folder / f"good_{n}.mid")
        write_midi(tune(n), folder / f"good_{n}_again.mid")
    arguments = ["train", folder, "--out", out, "--preset", "tiny", "--epochs", "1"]
    code = main(list(map(str, arguments)))
    told = capsys.readouterr().err
    assert code == (0 if good == 2 else 2)
    assert (out / CONFIG).exists() == (good == 2)
    assert all(f"bad_{n:02}.mid" in told for n in range(96))
    assert all(f"bad_{name}" in told for name in ("gone.mid", "loop.mid"))
    assert "Traceback" not in told
    if good < 2:
        assert f"{good} usable piece" in told
    else:
        assert told.count("duplicate of") == 2
        assert ModelFolder.open(out).config["corpus"]["train_pieces"] == 1
