"""A process that does the studio's jobs of one kind, one after the other: composing, or training.

    python -m cadenza.web.worker DATA compose|train NUMBER PARENT

It takes jobs from the store, tells there how far it is, and stops one when the store says so. What it cannot finish,
because the server ended, it puts back; training then goes on from its last checkpoint.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cadenza.composer import Composer, Composition
from cadenza.errors import CadenzaError
from cadenza.midi import midi_bytes, read_midi
from cadenza.model_folder import CONFIG, has_checkpoint
from cadenza.options import ComposeOptions
from cadenza.score import NoteArray, Score
from cadenza.web.notes import notes_of
from cadenza.web.store import COMPOSE, DONE, FAILED, STOPPED, TRAIN, NotFoundError, Row, Store
from cadenza.workers import only_one

BUNDLED = "bundled"
LOOK_SECONDS = 0.05  # between looks for a job
WATCH_SECONDS = 0.2  # between looks whether the job under way is to stop
NICENESS = {COMPOSE: 5, TRAIN: 10}
OPEN_MODELS = 3
SAMPLE_BARS, SAMPLE_SEED = 8, 1
MEMORISING_AFTER = 2  # evaluations without a gain for the held-out pieces


class Worker:
    """Does jobs until its parent ends."""

    def __init__(self, store: Store, parent: int) -> None:
        self.store, self.parent = store, parent  # parent: the process whose end is the end of this one
        self.composers: OrderedDict[str, Composer] = OrderedDict()
        self.job: str | None = None  # under way, which the watcher may interrupt
        self.lock = threading.RLock()  # over `job` and the interrupting of it; signals reach who holds it
        self.leaving = False

    def work(self, kind: str, name: str) -> None:
        """Take one job after the other, under this name."""
        do = {COMPOSE: self.compose, TRAIN: self.train}[kind]
        threading.Thread(target=self._watch, daemon=True).start()
        signal.signal(signal.SIGTERM, self._leave)
        # A server in the background of a script hands on that SIGINT is ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for killed in self.store.recover(name):  # there is no other worker of this name
            if kind == TRAIN:
                self._announce_model(killed)
        if kind == COMPOSE:
            self.composer(BUNDLED)
        with self.store.watch() as has_changed:
            while not self.leaving:
                job = self.store.claim(kind, name) if has_changed() else None
                while job is not None:
                    self._do(do, job)
                    job = None if self.leaving else self.store.claim(kind, name)
                time.sleep(LOOK_SECONDS)

    def _do(self, do: Callable[[Row], None], job: Row) -> None:
        done = False
        try:
            with self._interruptible(job["id"]):
                do(job)
                done = True
        except KeyboardInterrupt:
            if done:  # just before it was told to stop
                self.store.end(job["id"], DONE)
            elif self.store.is_asked_to_stop(job["id"]):
                self._keep_what_there_is(job)
            else:
                self.store.put_back(job["id"])
                self.leaving = True
        except CadenzaError as error:
            self.store.end(job["id"], FAILED, str(error))
        except MemoryError:
            self.store.end(job["id"], FAILED, "memory ran out; ask for fewer bars or a smaller model.")
        except Exception as error:  # a fault of ours ends its job, not those that wait behind it
            traceback.print_exc()
            reason = f"cadenza has a fault here ({type(error).__name__}: {error}); please report it."
            self.store.end(job["id"], FAILED, reason)
        else:
            self.store.end(job["id"], DONE)

    @contextmanager
    def _interruptible(self, job: str) -> Iterator[None]:
        """Within it, and not a moment longer, the job may be interrupted, once."""
        self.job = job
        try:
            yield
        finally:
            with self.lock:
                self.job = None

    def _interrupt(self, job: str | None) -> None:
        with self.lock:
            if job is not None and self.job == job:
                self.job = None
                signal.raise_signal(signal.SIGINT)

    def _watch(self) -> None:
        while True:
            time.sleep(WATCH_SECONDS)
            job = self.job
            if os.getppid() != self.parent:
                self._leave()
            elif job is not None and self._is_asked_to_stop(job):
                self._interrupt(job)

    def _is_asked_to_stop(self, job: str) -> bool:
        try:
            return self.store.is_asked_to_stop(job)
        except CadenzaError as error:  # a disk that is full, say: the next look may succeed
            print(f"cadenza: {error}", file=sys.stderr)
            return False

    def _leave(self, *_: object) -> None:
        self.leaving = True
        self._interrupt(self.job)

    def _keep_what_there_is(self, job: Row) -> None:
        """Of a job that was stopped: a model that has learned something, or the pieces that are ready."""
        if job["kind"] == TRAIN:
            self._announce_model(job)
        self.store.end(job["id"], STOPPED)

    def composer(self, model: str) -> Composer:
        """A model, opened; those last used stay open."""
        if model not in self.composers:
            path = None if model == BUNDLED else self.store.folder_of_model(self.store.model(model)["id"])
            self.composers[model] = Composer.from_pretrained(path)
            while len(self.composers) > OPEN_MODELS:
                self.composers.popitem(last=False)
        self.composers.move_to_end(model)
        return self.composers[model]

    # -- composing --------------------------------------------------------------------------------

    def compose(self, job: Row) -> None:
        """Compose the pieces of a request, telling what is written of each."""
        request = job["request"]
        composer = self.composer(request["model"])
        told: dict[int, NoteArray] = {}

        def draft(number: int, score: Score) -> None:
            start = _first_difference(told.get(number), score.notes)
            if start < len(score.notes):
                data = {"piece": number, "from": start, **notes_of(score, score.notes[start:])}
                self.store.tell(job["id"], "draft", data)
            told[number] = score.notes

        music: dict[str, Any] = {
            use: read_midi(self._music(where)) for use, where in request["music"].items()
        }
        options = ComposeOptions(**request["options"])
        for note in composer.notes_on(options, next(iter(music), None)):
            self.store.tell(job["id"], "note", {"text": note}, once=True)
        pieces = composer.compose_many(options=options, on_draft=draft, **music)
        for number, piece in enumerate(pieces, 1):
            self._keep(job, request["model"], number, piece, f"{request['name']} {number}")

    def _music(self, where: Row) -> Path:
        """The file of a request's music: a file of a set, or a piece that was composed here."""
        if "file" in where:
            return self.store.path_of_file(self.store.file(where["file"]))
        return self.store.path_of_piece(self.store.piece(where["piece"])["id"])

    def _keep(
        self, job: Row, model: str, number: int, piece: Composition, name: str, sample: bool = False
    ) -> None:
        row = self.store.piece_of(job["id"], number) or self.store.add_piece(
            midi_bytes(piece.score),
            job_id=job["id"],
            model_id=model,
            name=name,
            number=number,
            sample=sample,
            request=job["request"],
            sidecar=self._with_names(piece.sidecar),
        )
        told = {"id": row["id"], "number": number, "name": name, "sample": sample}
        self.store.tell(job["id"], "piece", told, once=True)

    def _with_names(self, sidecar: Row) -> Row:
        """A sidecar whose resembled piece has the name under which it was brought, beside the file that it lies in."""
        originality = sidecar["originality"]
        if not originality or not originality["longest"]:
            return sidecar
        path = originality["longest"]["piece"]
        try:
            name = self.store.file(Path(path).stem)["name"]
        except NotFoundError:  # of the bundled music, whose files are called what they are
            name = path
        longest = {**originality["longest"], "piece": name, "file": path}
        return {**sidecar, "originality": {**originality, "longest": longest}}

    # -- training ---------------------------------------------------------------------------------

    def train(self, job: Row) -> None:
        """Learn a model from a set, going on from where an earlier try was interrupted."""
        from cadenza.preparation import TrainingOptions  # torch: only who trains needs it
        from cadenza.training import Progress, train

        request = job["request"]
        out = self.store.folder_of_model(job["id"])
        options = TrainingOptions(
            architecture=request["architecture"],
            base=None if request["from_scratch"] else "auto",
            minutes=request["minutes"],
            seed=request["seed"],
            allow_drums_only=True,
        )
        notices = self.store.notices(job["id"])
        measured: list[float] = [n["data"]["held_out_nats"] for n in notices if n["kind"] == "evaluation"]

        def progress(now: Progress) -> None:
            left = now.seconds * (1 - now.share_done) / max(now.share_done, 1e-9)
            state = {
                "share_done": now.share_done,
                "seconds_left": left,
                "notes_per_second": now.notes_per_second,
                "step": now.step,
                "train_nats": now.train_nats,
            }
            self.store.set_progress(job["id"], state)
            if now.held_out_nats is None:
                return
            measured.append(now.held_out_nats)
            state |= {"held_out_nats": now.held_out_nats, "memorising": is_memorising(measured)}
            self.store.tell(job["id"], "evaluation", {**state, "best": now.best})
            if now.best:
                self._sample(job, out, len(measured))

        stale = has_checkpoint(out)
        try:
            train(
                self.store.folder_of_set(request["set"]),
                out,
                options,
                resume=stale,
                overwrite=not stale,
                keep_best=True,
                on_progress=progress,
                on_note=lambda note: print(f"cadenza: {note}.", file=sys.stderr),
            )
        except CadenzaError:
            self._announce_model(job)  # as good as it was at its best so far
            raise
        self._announce_model(job)

    def _sample(self, job: Row, model: Path, number: int) -> None:
        """Something to hear while it learns."""
        piece = Composer.from_pretrained(model).compose(bars=SAMPLE_BARS, seed=SAMPLE_SEED)
        self._keep(job, job["id"], number, piece, f"{job['request']['name']}, sample {number}", sample=True)

    def _announce_model(self, job: Row) -> None:
        """Make the model of a job known, if there is one yet."""
        if (self.store.folder_of_model(job["id"]) / CONFIG).exists():
            self.store.add_model(job["id"], job["request"]["name"], job["id"], job["request"]["set"])
            told = {"id": job["id"], "name": job["request"]["name"]}
            self.store.tell(job["id"], "model", told, once=True)


def is_memorising(nats: Sequence[float]) -> bool:
    """Whether the held-out pieces, at these nats at one evaluation after the other, have gained nothing for some time."""
    return len(nats) - 1 - nats.index(min(nats)) >= MEMORISING_AFTER


def _first_difference(before: NoteArray | None, now: NoteArray) -> int:
    """Index of the first note that is not as it was: notes that sound on grow."""
    if before is None:
        return 0
    n = min(len(before), len(now))
    differ = np.flatnonzero(before[:n] != now[:n])
    return int(differ[0]) if len(differ) else n


def give_way(kind: str) -> None:
    """Let the server answer before anybody composes, and those who compose before who trains."""
    if hasattr(os, "nice"):
        os.nice(NICENESS[kind])


def main(argv: list[str]) -> int:
    """Work on the data folder until the parent ends."""
    root, kind, parent = Path(argv[0]), argv[1], int(argv[3])
    name = f"{kind}-{argv[2]}"
    # An earlier server's worker may still be on its way out.
    with only_one(root / f"{name}.lock", wait=True):
        try:
            give_way(kind)
            Worker(Store.open(root), parent).work(kind, name)
        except KeyboardInterrupt:
            return 1
        except CadenzaError as error:
            print(f"cadenza: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
