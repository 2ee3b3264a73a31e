"""The studio's server: REST over the store, notices of jobs as server-sent events, and the page.

    cadenza serve

It composes and trains nothing itself: that is what its worker processes do. What is refused is told in a sentence with
the status that HTTP has for it: 404 unknown, 409 not now, 413 too large, 422 not understood, 429 too much waits, 503
the disk is full or fails.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from starlette.background import BackgroundTask
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.types import Scope

from cadenza.audio import has_libraries
from cadenza.controls import SCALES
from cadenza.errors import CadenzaError, InputError, ModelError, StorageError
from cadenza.export import WRITERS, write_score
from cadenza.midi import read_midi
from cadenza.model_folder import CARD, ModelFolder, bundled_corpus, bundled_model
from cadenza.moods import MOODS
from cadenza.options import MAX_BARS, ComposeOptions
from cadenza.presets import ARCHITECTURES
from cadenza.score import DRUM_KIT, DRUM_KITS, GM_INSTRUMENTS
from cadenza.soundfont import bundled
from cadenza.tasks import USES, check
from cadenza.version import __version__
from cadenza.web.guard import LOOPBACK, Guard
from cadenza.web.notes import score_of
from cadenza.web.store import COMPOSE, ENDED, FAILED, QUEUED, RUNNING, TRAIN, NotFoundError, Row, Store, only
from cadenza.web.uploads import MAX_SET_BYTES, Reader, TooLargeError, add_uploads, judge, printable, unpacked
from cadenza.web.worker import BUNDLED
from cadenza.web.workforce import Workforce

MAX_WAITING = {COMPOSE: 32, TRAIN: 8}
MAX_NUM = 8  # candidates at once
MAX_STUDIO_BARS, MAX_STUDIO_SECONDS = 256, 600.0
MAX_HOURS = 24.0 * 366
MAX_NOTICE = 2**53  # the largest number that a page can tell
MAX_MINUTES = 24 * 60.0
MAX_UPLOADS = 250  # files in one request
HELD_BYTES = 2**16  # of each in memory, while they come; a longer one is a file
MAX_SENTENCE = 500  # characters of a refusal, which may tell what was sent
NOTICE_SECONDS = 0.05  # between looks for what a job tells
KEEP_ALIVE_SECONDS = 15.0
PAGE = Path(__file__).parent / "page"
TRAIN_EXTRA = "pip install 'cadenza[train]'"
MEDIA = {
    ".mid": "audio/midi",
    ".wav": "audio/wav",
    ".musicxml": "application/vnd.recordare.musicxml+xml",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}


def _text(text: str) -> str:
    """Text that can be written; JSON may hold halves of characters, which cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("is no text") from error
    return text


BINARY = {"type": "string", "format": "binary"}
EVENT = {"type": "object", "properties": {"event": {"type": "string"}, "data": {"type": "string"}}}


def _media(*kinds: str, schema: Row = BINARY) -> dict[int | str, Row]:
    """How it is declared that an answer is of one of these types."""
    return {200: {"content": {kind: {"schema": schema} for kind in kinds}}}


FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {"file": {"type": "array", "items": BINARY}},
}
Name = Annotated[str, StringConstraints(min_length=1, max_length=120, strip_whitespace=True)]
Text = Annotated[str, AfterValidator(_text)]


class Refusal(BaseModel):
    """Why something is not done."""

    detail: str


class Named(BaseModel):
    """A name to give."""

    model_config = ConfigDict(extra="forbid")
    name: Name


class PieceChange(BaseModel):
    """What can be changed of a piece."""

    model_config = ConfigDict(extra="forbid")
    name: Name | None = None
    star: bool | None = None


class Music(BaseModel):
    """Music to make something out of: a file of a set or a composed piece, and what for."""

    model_config = ConfigDict(extra="forbid")
    use: Literal["prompt", "infill", "vary", "humanise", "orchestrate"]
    file: Text | None = None
    piece: Text | None = None


class ComposeRequest(BaseModel):
    """What to compose. options: those of `cadenza.ComposeOptions`."""

    model_config = ConfigDict(extra="forbid")
    model: Text = BUNDLED
    name: Name = "Piece"
    options: dict[Text, bool | int | float | Text | None] = Field(default_factory=dict)
    music: Music | None = None


class TrainRequest(BaseModel):
    """What to learn from, and how."""

    model_config = ConfigDict(extra="forbid")
    set: Text
    name: Name = "My model"
    architecture: Literal["lstm", "gru", "transformer"] | None = None
    minutes: float = Field(3.0, gt=0, le=MAX_MINUTES)
    from_scratch: bool = False
    seed: int = Field(0, ge=0, lt=2**31)


class Studio:
    """What the endpoints share."""

    def __init__(self, data: Path, *, works: bool = True) -> None:
        self.store = Store.open(data)
        self.reader = Reader()
        self.can_train = all(find_spec(name) is not None for name in ("torch", "onnx"))
        self.workforce = Workforce(self.store, self.can_train) if works else None

    def start(self) -> None:
        """Start what works beside the server, in order after whatever ended an earlier one."""
        self.store.sweep()
        if not self.can_train:
            for job in self.store.jobs(QUEUED, RUNNING):
                if job["kind"] == TRAIN:
                    self.store.end(job["id"], FAILED, f"training needs torch; type: {TRAIN_EXTRA}")
        if self.workforce:
            self.workforce.start()

    def stop(self) -> None:
        """End it."""
        if self.workforce:
            self.workforce.stop()
        self.reader.close()

    def set(self, id_: str) -> Row:
        """A set with its files and totals."""
        files = [_file(row) for row in self.store.files(id_)]
        return {**self.store.set(id_), "files": files}

    def models(self) -> list[Row]:
        """The bundled model, and those that were trained here."""
        bundled = {"id": BUNDLED, "name": "Bundled model", "created": 0.0, "set_id": None, "job_id": None}
        return [{**row, **self._facts(row["id"])} for row in (*self.store.models(), bundled)]

    def _facts(self, model: str) -> Row:
        """What the page shows of a model, or what is wrong with it."""
        try:
            return {**_facts(self.folder(model)), "problem": ""}
        except ModelError as error:
            return {"problem": str(error)}

    def folder(self, model: str) -> ModelFolder:
        """A model's folder, opened."""
        known = model == BUNDLED
        return ModelFolder.open(
            bundled_model() if known else self.store.folder_of_model(self.store.model(model)["id"])
        )

    def submit(self, kind: str, request: Row) -> Row:
        """Put a job in its queue, if there is room."""
        if self.store.waiting(kind) >= MAX_WAITING[kind]:
            raise HTTPException(
                429, "too many others wait; try again in a minute.", headers={"retry-after": "60"}
            )
        return self.store.add_job(kind, request)

    def origin(self, piece: Row) -> Row:
        """The bars that a piece resembles most, in the piece that they come from, where that piece is at hand."""
        originality = piece["sidecar"].get("originality") or {}
        longest = originality.get("longest")
        if not longest:
            raise NotFoundError(f"piece {piece['name']!r} resembles nothing that its model learned from.")
        path = self._source(piece["model_id"], longest["file"])
        found = {
            "piece": longest["piece"],
            "file": longest["file"],
            "bars": longest["bars"],
            "bars_there": longest["bars_there"],
            "score": None,
        }
        if path is not None:
            found["score"] = score_of(read_midi(path))
        return found

    def _source(self, model: str, name: str) -> Path | None:
        """The file of a corpus: of the bundled one, or of the set that a model learned from."""
        roots = [bundled_corpus()]
        if model != BUNDLED:  # whose job is known even if it has been deleted
            roots.insert(0, self.store.folder_of_set(self.store.job(model)["request"]["set"]))
        paths = [root / name for root in roots]
        return next((path for path in paths if path.is_file()), None)


def create_app(
    data: Path, *, hosts: tuple[str, ...] = LOOPBACK, token: str | None = None, works: bool = True
) -> Any:
    """The ASGI application over a data folder; works: whether to start worker processes with it."""
    studio = Studio(data, works=works)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(studio.start)
        yield
        await run_in_threadpool(studio.stop)

    app = FastAPI(
        title="Cadenza studio",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses={"4XX": {"model": Refusal}, "5XX": {"model": Refusal}},
    )
    app.add_exception_handler(CadenzaError, _refused)
    app.add_exception_handler(OSError, _failed)
    app.add_exception_handler(RequestValidationError, _not_understood)
    _add_facts(app, studio)
    _add_sets(app, studio)
    _add_jobs(app, studio)
    _add_pieces(app, studio)
    if PAGE.is_dir():
        app.mount("/", _Page(directory=PAGE, html=True))
    return Guard(app, hosts, MAX_SET_BYTES, token)


class _Page(StaticFiles):
    """The page's files. Names of assets follow their content, so that they may be kept; the others are asked for anew."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, under its right type: Windows may know scripts by another, which browsers then refuse."""
        response = await super().get_response(path, scope)
        lasting = Path(path).parent.name == "assets"
        response.headers["cache-control"] = "public, max-age=31536000, immutable" if lasting else "no-cache"
        if path.endswith(".js"):
            response.headers["content-type"] = "text/javascript; charset=utf-8"
        return response


async def _refused(_: Request, error: Exception) -> JSONResponse:
    statuses = {NotFoundError: 404, TooLargeError: 413, InputError: 422, StorageError: 503}
    status = next((number for kind, number in statuses.items() if isinstance(error, kind)), 500)
    headers = {"retry-after": "10"} if status == 503 else None
    return JSONResponse({"detail": str(error)[:MAX_SENTENCE]}, status, headers)


async def _failed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OSError)
    reason = f"the studio's disk fails ({error.strerror or error}); make room, or try again."
    return await _refused(request, StorageError(reason))


async def _not_understood(_: Request, error: Exception) -> JSONResponse:
    """What pydantic found, as one sentence."""
    assert isinstance(error, RequestValidationError)
    found = (
        f"{'.'.join(str(part) for part in each['loc'][1:]) or 'the request'}: {each['msg']}"
        for each in error.errors()
    )
    return JSONResponse({"detail": "; ".join(found)[:MAX_SENTENCE]}, 422)


# -- what there is --------------------------------------------------------------------------------


def _add_facts(app: FastAPI, studio: Studio) -> None:
    @app.get("/health")
    def health() -> Row:
        """Whether the server answers, and its store."""
        studio.store.waiting(COMPOSE)
        return {"status": "ok"}

    @app.get("/api/info")
    def info() -> Row:
        """What this studio can do, and the words that its options take."""
        return {
            "version": __version__,
            "can_train": studio.can_train,
            "how_to_train": None if studio.can_train else TRAIN_EXTRA,
            "architectures": list(ARCHITECTURES),
            "uses": list(USES),
            "scales": list(SCALES),
            "moods": list(MOODS),
            "instruments": list(GM_INSTRUMENTS),
            "drum_kits": DRUM_KITS,
            "formats": _formats(),
            "limits": {
                "num": MAX_NUM,
                "bars": min(MAX_BARS, MAX_STUDIO_BARS),
                "seconds": MAX_STUDIO_SECONDS,
                "upload_bytes": MAX_SET_BYTES,
            },
        }

    @app.get("/api/soundfont", response_class=Response, responses=_media("application/octet-stream"))
    def soundfont(instruments: Annotated[str, Query(pattern=r"^\d{1,3}(,\d{1,3}){0,255}$")]) -> Response:
        """The sounds of these instruments, as an SF3 file: 0..127 General MIDI programs, 128 + program drum kits."""
        numbers = [int(number) for number in instruments.split(",")]
        if max(numbers) >= 2 * DRUM_KIT:
            raise InputError(f"instruments are numbered from 0 to {2 * DRUM_KIT - 1}.")
        headers = {"cache-control": "private, max-age=86400"}
        return Response(bundled().cut(numbers), media_type="application/octet-stream", headers=headers)

    @app.get("/api/models")
    def models() -> list[Row]:
        """All models, the newest first and the bundled one last."""
        return studio.models()

    @app.get("/api/models/{id_}/card", response_class=Response, responses=_media("text/markdown"))
    def card(id_: str) -> Response:
        """A model's card, as Markdown."""
        return Response(
            (studio.folder(id_).path / CARD).read_text(), media_type="text/markdown; charset=utf-8"
        )

    @app.patch("/api/models/{id_}")
    def rename_model(id_: str, change: Named) -> Row:
        """Give a model another name."""
        studio.store.rename_model(id_, change.name)
        return studio.store.model(id_)

    @app.delete("/api/models/{id_}", status_code=204)
    def delete_model(id_: str) -> None:
        """Forget a model."""
        _refuse_while_running(studio, id_)
        studio.store.delete_model(id_)


def _facts(folder: ModelFolder) -> Row:
    """What the page shows of a model."""
    config = folder.config
    return {
        "styles": sorted(folder.styles),
        "architecture": config["model"]["architecture"],
        "parameters": config["parameters"],
        "nats_per_note": config["held_out"]["nats_per_note"],
        "pieces": config["corpus"]["train_pieces"],
        "minutes": config["seconds"] / 60,
        "base": (config["base"] or {}).get("name"),
        "knows_originality": folder.index is not None,
    }


# -- sets of music --------------------------------------------------------------------------------


def _add_sets(app: FastAPI, studio: Studio) -> None:
    store = studio.store

    @app.get("/api/sets")
    def sets() -> list[Row]:
        """All sets, the newest first."""
        return store.sets()

    @app.post("/api/sets", status_code=201)
    def add_set(request: Named) -> Row:
        """A new, empty set."""
        row = store.add_set(request.name)
        judge(store, studio.reader, row["id"])
        return store.set(row["id"])

    @app.get("/api/sets/{id_}")
    def one_set(id_: str) -> Row:
        """A set: its files with their verdicts, and its totals."""
        return studio.set(id_)

    @app.patch("/api/sets/{id_}")
    def rename_set(id_: str, change: Named) -> Row:
        """Give a set another name."""
        store.rename_set(id_, change.name)
        return store.set(id_)

    @app.delete("/api/sets/{id_}", status_code=204)
    def delete_set(id_: str) -> None:
        """Forget a set and its files."""
        _refuse_while_learned_from(studio, id_)
        store.delete_set(id_)

    @app.post(
        "/api/sets/{id_}/files",
        openapi_extra={
            "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}
        },
    )
    async def add_files(id_: str, request: Request) -> Row:
        """Add the parts named `file` of a form: MIDI files and zips. A name may hold a folder, which is its style."""
        await run_in_threadpool(_refuse_while_learned_from, studio, id_)
        async with _form(request) as form:
            parts = [part for part in form.getlist("file") if isinstance(part, UploadFile)]
            if not parts:
                raise HTTPException(422, "the form has no part named `file`; send the files under that name.")
            return await run_in_threadpool(_take, studio, id_, parts)

    @app.get("/api/files/{id_}/score")
    def file_score(id_: str) -> Row:
        """A file's notes."""
        return score_of(read_midi(_content(store.path_of_file(store.file(id_)))))

    @app.get("/api/files/{id_}.mid", response_class=Response, responses=_media(MEDIA[".mid"]))
    def file_midi(id_: str) -> Response:
        """A file as it was brought."""
        row = store.file(id_)
        return FileResponse(_content(store.path_of_file(row)), media_type=MEDIA[".mid"], filename=row["name"])

    @app.get("/api/files/{id_}.musicxml", response_class=Response, responses=_media(MEDIA[".musicxml"]))
    def file_sheet(id_: str) -> Response:
        """A file as sheet music."""
        row = store.file(id_)
        name = Path(row["name"]).stem
        content = _rendered(studio, _content(store.path_of_file(row)), name, ".musicxml")
        return _attached(content, MEDIA[".musicxml"], f"{name}.musicxml")

    @app.delete("/api/files/{id_}", status_code=204)
    def delete_file(id_: str) -> None:
        """Take a file out of its set."""
        set_id = store.file(id_)["set_id"]
        _refuse_while_learned_from(studio, set_id)
        store.delete_file(id_)
        judge(store, studio.reader, set_id)


class _FormParser(MultiPartParser):
    spool_max_size = HELD_BYTES


@asynccontextmanager
async def _form(request: Request) -> AsyncIterator[FormData]:
    """What a form holds; empty if it is of another kind."""
    form = FormData()
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        parser = _FormParser(request.headers, request.stream(), max_files=MAX_UPLOADS, max_fields=10)
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise HTTPException(400, f"the form cannot be read ({error.message.rstrip('.')}).") from error
    try:
        yield form
    finally:
        await form.close()


def _refuse_while_learned_from(studio: Studio, set_id: str) -> None:
    """A training goes on after a restart only with the pieces that it began with."""
    studio.store.set(set_id)
    for job in studio.store.jobs(QUEUED, RUNNING):
        if job["request"].get("set") == set_id:
            raise HTTPException(
                409, "a model learns from this set; wait until it has ended, or stop it first."
            )


def _take(studio: Studio, set_id: str, parts: list[UploadFile]) -> Row:
    """Unpack, judge and keep what was sent; what cannot be unpacked is told, and the rest kept."""
    problems: list[str] = []

    def uploads() -> Iterator[Any]:
        for part in parts:
            try:
                yield from unpacked(part.filename or "music.mid", part.file)
            except TooLargeError:
                raise
            except InputError as error:
                problems.append(str(error))

    added = add_uploads(studio.store, studio.reader, set_id, uploads())
    return {**studio.set(set_id), "added": added, "problems": problems}


def _file(row: Row) -> Row:
    return {**only(row, ("id", "name", "style", "size", "created")), **row["report"]}


def _content(path: Path) -> Path:
    if not path.exists():
        raise NotFoundError("the content of this file was not kept, since it could not be read.")
    return path


# -- jobs -----------------------------------------------------------------------------------------


def _add_jobs(app: FastAPI, studio: Studio) -> None:
    store = studio.store

    @app.post("/api/compose", status_code=202)
    def compose(request: ComposeRequest) -> Row:
        """Compose; the pieces and their drafts are told by the notices of the job."""
        studio.folder(request.model)
        music = request.music
        options = _checked_options(request)
        where: Row = {}
        if music is not None:
            given = [name for name in ("file", "piece") if getattr(music, name) is not None]
            if len(given) != 1:
                raise HTTPException(422, "name the file or the piece to start from, one of them.")
            one = store.file(music.file) if music.file is not None else store.piece(str(music.piece))
            where[music.use] = {given[0]: one["id"]}
        return studio.submit(
            COMPOSE, {"model": request.model, "name": request.name, "options": options, "music": where}
        )

    @app.post("/api/train", status_code=202)
    def train(request: TrainRequest) -> Row:
        """Learn a model from a set; how it goes is told by the notices of the job."""
        if not studio.can_train:
            raise HTTPException(409, f"training needs torch; type: {TRAIN_EXTRA}")
        if not any(row["report"]["verdict"] == "ok" for row in store.files(request.set)):
            raise HTTPException(422, "the set has no usable piece; add MIDI files first.")
        return studio.submit(TRAIN, request.model_dump())

    @app.get("/api/jobs")
    def jobs(
        kind: Literal["compose", "train"] | None = None,
        hours: Annotated[float, Query(ge=0, le=MAX_HOURS)] = 0,
    ) -> list[Row]:
        """Jobs that have not ended, of a kind or all, the oldest first; before them those of the kind that ended in the
        last hours."""
        going_on = [job for job in store.jobs(QUEUED, RUNNING) if kind in (None, job["kind"])]
        return [*(store.ended_since(kind, time.time() - 3600 * hours) if kind else []), *going_on]

    @app.get("/api/jobs/{id_}")
    def job(id_: str) -> Row:
        """A job: its state, how far it is, how many are before it, and how many seconds these will take."""
        return store.job(id_)

    @app.post("/api/jobs/{id_}/stop", status_code=202)
    def stop(id_: str) -> Row:
        """Ask a job to stop and to keep what there is."""
        store.job(id_)
        return store.ask_to_stop(id_)

    @app.get(
        "/api/jobs/{id_}/notices",
        response_class=StreamingResponse,
        responses=_media("text/event-stream", schema=EVENT),
    )
    async def notices(
        id_: str, request: Request, after: Annotated[int, Query(ge=0, le=MAX_NOTICE)] = 0
    ) -> StreamingResponse:
        """What a job tells, as server-sent events that end with the job; `after` (or Last-Event-ID) skips."""
        await run_in_threadpool(store.job, id_)
        seen = request.headers.get("last-event-id", "")
        start = int(seen) if re.fullmatch("[0-9]{1,15}", seen) else after
        return StreamingResponse(
            _stream(studio, id_, start), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )


def _checked_options(request: ComposeRequest) -> Row:
    """The options, refused if they are not in order; else as they are to be used, with a seed."""
    try:
        options = ComposeOptions(**{"num": 4, **request.options})  # type: ignore[arg-type]
    except TypeError as error:
        raise InputError(f"{error.args[0].split('argument ')[-1]} is no option for composing.") from error
    options.sampling({})
    check(request.music.use if request.music else None, options)
    if options.num > MAX_NUM or options.bars > MAX_STUDIO_BARS:
        raise InputError(f"the studio composes at most {MAX_NUM} pieces of {MAX_STUDIO_BARS} bars at once.")
    if options.seconds is not None and options.seconds > MAX_STUDIO_SECONDS:
        raise InputError(f"the studio composes at most {MAX_STUDIO_SECONDS:g} seconds.")
    return {**options.asked(), "seed": options.seed}


async def _stream(studio: Studio, job: str, after: int) -> AsyncIterator[str]:
    """Server-sent events (WHATWG HTML, 9.2) of a job until it has ended, or the store cannot be read: who watches asks
    again where it broke."""
    try:
        async for event in _events(studio, job, after):
            yield event
    except StorageError as error:
        print(f"cadenza: {error}", file=sys.stderr)


async def _events(studio: Studio, job: str, after: int) -> AsyncIterator[str]:
    """What there is to tell of a job until it has ended; a comment keeps the line open."""
    quiet = 0.0
    told: Row = {}
    place: Row = {}
    with studio.store.watch() as has_changed:
        while True:
            if has_changed():
                # Asked before the notices are read, so that none comes between.
                state = await run_in_threadpool(studio.store.job, job)
                for notice in await run_in_threadpool(studio.store.notices, job, after):
                    after, quiet = notice["number"], 0.0
                    yield f"id: {after}\nevent: {notice['kind']}\ndata: {json.dumps(notice['data'])}\n\n"
                if state["progress"] != told:
                    told, quiet = state["progress"], 0.0
                    yield f"event: progress\ndata: {json.dumps(told)}\n\n"
                if state["state"] == QUEUED and only(state, ("before", "wait")) != place:
                    place, quiet = only(state, ("before", "wait")), 0.0
                    yield f"event: queue\ndata: {json.dumps(place)}\n\n"
                if state["state"] in ENDED:
                    yield f"event: end\ndata: {json.dumps(only(state, ('state', 'reason')))}\n\n"
                    return
            await asyncio.sleep(NOTICE_SECONDS)
            quiet += NOTICE_SECONDS
            if quiet >= KEEP_ALIVE_SECONDS:
                quiet = 0.0
                yield ": still there\n\n"


def _refuse_while_running(studio: Studio, model: str) -> None:
    for job in studio.store.jobs(QUEUED, RUNNING):
        if job["request"].get("model") == model:
            raise HTTPException(409, "this model is composing; wait until it has ended.")


# -- pieces ---------------------------------------------------------------------------------------


def _add_pieces(app: FastAPI, studio: Studio) -> None:
    store = studio.store

    @app.get("/api/pieces")
    def pieces(
        limit: Annotated[int, Query(ge=1, le=200)] = 50, before: float | None = None, job: str | None = None
    ) -> list[Row]:
        """Composed pieces, the newest first."""
        if job is not None:
            store.job(job)
        return [_without_statistics(row) for row in store.pieces(limit, before, job)]

    @app.get("/api/pieces.zip", response_class=Response, responses=_media("application/zip"))
    def zipped(id_: Annotated[list[str], Query(alias="id", min_length=1, max_length=50)]) -> Response:
        """Pieces in every format, with their settings."""
        path = _zip(studio, [store.piece(each) for each in dict.fromkeys(id_)])
        return FileResponse(
            path, media_type="application/zip", filename="pieces.zip", background=BackgroundTask(path.unlink)
        )

    @app.get("/api/pieces/{id_}/score")
    def piece_score(id_: str) -> Row:
        """A piece's notes."""
        return score_of(read_midi(store.path_of_piece(store.piece(id_)["id"])))

    @app.get("/api/pieces/{id_}/origin")
    def origin(id_: str) -> Row:
        """The passage that a piece resembles most, and where it comes from."""
        return studio.origin(store.piece(id_))

    @app.get("/api/pieces/{id_}.{suffix}", response_class=Response, responses=_media(*MEDIA.values()))
    def piece_as(id_: str, suffix: str) -> Response:
        """A piece in a format."""
        row = store.piece(id_)
        return _attached(_written(studio, row, f".{suffix}"), MEDIA[f".{suffix}"], f"{row['name']}.{suffix}")

    @app.get("/api/pieces/{id_}")
    def piece(id_: str) -> Row:
        """A piece with all that is known of it."""
        return store.piece(id_)

    @app.patch("/api/pieces/{id_}")
    def change(id_: str, change: PieceChange) -> Row:
        """Rename or star a piece."""
        changes = change.model_dump(exclude_none=True)
        return store.change_piece(id_, **changes) if changes else store.piece(id_)

    @app.delete("/api/pieces/{id_}", status_code=204)
    def delete(id_: str) -> None:
        """Forget a piece."""
        store.delete_piece(id_)


def _without_statistics(row: Row) -> Row:
    sidecar = row["sidecar"]
    return {**row, "sidecar": {name: sidecar[name] for name in sidecar if name != "statistics"}}


def _written(studio: Studio, row: Row, suffix: str) -> bytes:
    """A piece's file in a format; raises NotFoundError for one that there is not."""
    path = studio.store.path_of_piece(row["id"])
    if suffix == ".json":
        return json.dumps(row["sidecar"], indent=1).encode()
    if suffix == ".mid":
        return path.read_bytes()
    if suffix not in _formats():
        raise NotFoundError(f"there is no format {suffix}; choose one of {', '.join(_formats())}.")
    return _rendered(studio, path, row["name"], suffix)


def _rendered(studio: Studio, midi: Path, name: str, suffix: str) -> bytes:
    """What is made of a MIDI file, under a name that becomes its title."""
    with TemporaryDirectory(dir=studio.store.temporary) as folder:
        target = Path(folder) / f"{_file_name(name)}{suffix}"
        write_score(read_midi(midi), target)
        return target.read_bytes()


def _formats() -> list[str]:
    """Suffixes of what a piece can be taken home as."""
    return [
        each for each in MEDIA if each == ".json" or (each in WRITERS and (each != ".wav" or has_libraries()))
    ]


def _zip(studio: Studio, rows: list[Row]) -> Path:
    """A temporary file, which whoever sends it removes: the sound of many pieces is large."""
    with NamedTemporaryFile(dir=studio.store.temporary, suffix=".zip", delete=False) as file:
        path = Path(file.name)
    try:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for number, row in enumerate(rows, 1):
                for suffix in _formats():
                    name = f"{number:02d} {_file_name(row['name'])}{suffix}"
                    archive.writestr(name, _written(studio, row, suffix))
    except BaseException:
        path.unlink()
        raise
    return path


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in " -_," else "_" for c in printable(name)) or "piece"


def _attached(content: bytes, media: str, name: str) -> Response:
    """A download; its name is told as RFC 6266 has it."""
    plain = _file_name(Path(name).stem).encode("ascii", "replace").decode() + Path(name).suffix
    encoded = quote(_file_name(Path(name).stem) + Path(name).suffix)
    disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"
    return Response(content, media_type=media, headers={"content-disposition": disposition})
