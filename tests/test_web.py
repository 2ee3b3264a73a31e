"""The studio's server: what people bring, what they get, what is refused, and what survives."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from starlette.testclient import TestClient

from cadenza.composer import Composition
from cadenza.errors import InputError
from cadenza.midi import midi_bytes, read_midi
from cadenza.model_folder import bundled_corpus
from cadenza.web import store as stores
from cadenza.web import uploads
from cadenza.web.server import MAX_WAITING, create_app
from cadenza.web.store import COMPOSE, QUEUED, RUNNING, TRAIN, NotFoundError, Store, slug
from cadenza.web.uploads import Reader, unpacked
from cadenza.web.worker import BUNDLED, Worker, _first_difference, is_memorising
from cadenza.workers import only_one
from music import tune
from studio import Studio, children, is_alive, midi_of, new_set, send, zipped


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server without workers: what it answers by itself."""
    app = create_app(tmp_path_factory.mktemp("data"), works=False)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as found:
        yield found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "data")


# -- music that is brought ------------------------------------------------------------------------


def test_every_file_gets_its_verdict_and_the_set_its_totals(client: TestClient) -> None:
    id_ = new_set(client)
    told = send(
        client,
        id_,
        ("a.mid", midi_of(1)),
        ("again.mid", midi_of(1)),
        ("bad.mid", b"MThd"),
        ("x.txt", b"hello"),
    ).json()
    verdicts = {file["name"]: file["verdict"] for file in told["files"]}
    assert verdicts.pop("x.txt") == "not MIDI" and verdicts.pop("bad.mid") == "unreadable"
    # Which of two that are alike came first, their ids decide.
    assert sorted(verdicts.values()) == sorted(["ok", f"duplicate of {_ok(verdicts)}"])
    assert told["totals"]["pieces"] == 1 and len(told["added"]) == 4
    assert client.get(f"/api/sets/{id_}").json()["files"] == told["files"]


def _ok(verdicts: dict[str, str]) -> str:
    return next(name for name, verdict in verdicts.items() if verdict == "ok")


def test_folders_of_a_zip_become_styles_and_its_hidden_files_nothing(client: TestClient) -> None:
    files = {
        "music/Bach & Söhne/a.mid": midi_of(2),
        "b.mid": midi_of(3),
        "__MACOSX/music/._a.mid": b"x",
        "readme.txt": b"x",
    }
    told = send(client, new_set(client), ("all.zip", zipped(files))).json()
    assert {(file["name"], file["style"]) for file in told["files"]} == {
        ("a.mid", "bach-sohne"),
        ("b.mid", ""),
    }
    assert told["totals"]["styles"] == {"bach-sohne": 1, "": 1}


def test_a_file_can_be_seen_fetched_and_removed(client: TestClient) -> None:
    id_ = new_set(client)
    file = send(client, id_, ("a.mid", midi_of(4))).json()["files"][0]
    score = client.get(f"/api/files/{file['id']}/score").json()
    assert len(score["onset"]) == len(tune(4)) and score["instruments"] == {"0": "piano"}
    assert client.get(f"/api/files/{file['id']}.mid").content == midi_of(4)
    sheet = client.get(f"/api/files/{file['id']}.musicxml")
    assert "<work-title>a</work-title>" in sheet.text and "recordare" in sheet.headers["content-type"]
    assert client.delete(f"/api/files/{file['id']}").status_code == 204
    assert client.get(f"/api/sets/{id_}").json()["files"] == []
    assert client.get(f"/api/files/{file['id']}/score").status_code == 404


def test_names_are_never_paths(client: TestClient, tmp_path: Path) -> None:
    names = [
        "../../evil.mid",
        "/etc/evil.mid",
        "C:\\evil.mid",
        "a\u202egnp.mid",
        "x" * 4000 + ".mid",
        "..\\..\\up.mid",
    ]
    id_ = new_set(client)
    told = send(client, id_, ("all.zip", zipped({name: midi_of(n) for n, name in enumerate(names)}))).json()
    assert len(told["files"]) == len(names)
    for file in told["files"]:
        assert "/" not in file["name"] and "\\" not in file["name"] and file["name"].isprintable()
        assert set(file["style"]) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@pytest.mark.parametrize("name", ["..", ".", "", "CON", "a/b", "ä ö", "x" * 300, "\0", "日本"])
def test_slugs_are_safe_names_of_folders(name: str) -> None:
    assert set(slug(name)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") and len(slug(name)) <= 40


def test_a_zip_that_lies_is_refused_before_it_fills_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_FILE_BYTES", 1000)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.mid", b"\0" * 10_000_000)
    (upload,) = unpacked("bomb.zip", content)
    assert upload.content is None


def test_one_file_that_is_too_large_does_not_keep_the_others_out(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_FILE_BYTES", 10_000)
    packed = zipped({"large.mid": b"\0" * 20_000, "b.mid": midi_of(2)})
    told = send(client, new_set(client), ("a.zip", packed), ("large.mid", b"\0" * 20_000)).json()
    assert [file["verdict"] for file in told["files"]] == ["unreadable", "ok", "unreadable"]
    assert "larger than" in told["files"][0]["reason"]


def test_what_is_too_much_for_a_set_is_refused_and_the_rest_judged(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_SET_FILES", 2)
    id_ = new_set(client)
    answer = send(client, id_, *((f"{n}.mid", midi_of(n)) for n in range(3)))
    assert answer.status_code == 413 and "2 of the new files were added" in answer.json()["detail"]
    assert client.get(f"/api/sets/{id_}").json()["totals"]["pieces"] == 2


def test_a_set_that_is_learned_from_stays_as_it_is(client: TestClient) -> None:
    id_ = new_set(client)
    file = send(client, id_, ("a.mid", midi_of(1))).json()["files"][0]["id"]
    job = client.post("/api/train", json={"set": id_}).json()["id"]
    assert send(client, id_, ("b.mid", midi_of(2))).status_code == 409
    assert client.delete(f"/api/files/{file}").status_code == 409
    assert client.delete(f"/api/sets/{id_}").status_code == 409
    client.post(f"/api/jobs/{job}/stop")
    assert client.delete(f"/api/sets/{id_}").status_code == 204


def test_a_set_that_is_deleted_while_files_come_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = store.add_set("mine")["id"]
    monkeypatch.setattr(Store, "set", lambda *_: store._delete("sets", id_))  # as soon as it was looked at
    with pytest.raises(NotFoundError, match="deleted in the meantime"):
        store.add_file(id_, "a.mid", "", midi_of(1), {})
    assert not store.folder_of_set(id_).exists()


def test_links_in_a_zip_are_left_alone() -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        link = zipfile.ZipInfo("link.mid")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert list(unpacked("a.zip", content)) == []


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_zip_whose_content_is_damaged_is_told(method: int) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        archive.writestr("a.mid", bytes(range(256)) * 40)
    damaged = bytearray(content.getvalue())
    damaged[50:90] = b"\xff" * 40
    with pytest.raises(InputError, match="cannot be unpacked"):
        list(unpacked("a.zip", io.BytesIO(damaged)))


def test_a_damaged_zip_is_told_and_the_other_files_are_kept(client: TestClient) -> None:
    damaged = bytearray(zipped({"a.mid": midi_of(5)}))
    damaged[40:60] = b"\xff" * 20
    told = send(client, new_set(client), ("bad.zip", bytes(damaged)), ("b.mid", midi_of(6))).json()
    assert [file["name"] for file in told["files"]] == ["b.mid"]
    assert "bad.zip: cannot be unpacked" in told["problems"][0]


def test_a_reader_that_crashes_is_the_verdict_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader()
    path = tmp_path / "a.mid"
    path.write_bytes(midi_of(7))
    try:
        assert reader._call(os.abort) is None
        assert reader._call(time.sleep, 30, patience=0.2) is None
        assert reader.report(path)["verdict"] == "ok"
        for process in list(reader._pool._processes.values()):  # type: ignore[union-attr]
            process.kill()  # while it has nothing to do
            process.join()
        assert reader.report(path)["verdict"] == "ok"
    finally:
        reader.close()


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": ""}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"origin": "http://localhost"}, 201),
        ({"origin": "http://[::1"}, 403),
        ({"host": "[::1"}, 421),
        ({"host": "192.0.2.7"}, 421),
        ({"content-length": "1_0"}, 400),
    ],
)
def test_other_pages_and_other_names_are_refused(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    assert client.post("/api/sets", json={"name": "x"}, headers=headers).status_code == status


def test_the_token_is_asked_for(tmp_path: Path) -> None:
    with TestClient(create_app(tmp_path, token="secret", works=False), base_url="http://192.0.2.7") as client:
        assert client.get("/health").status_code == 200
        assert client.get("/health", headers={"host": "evil.example"}).status_code == 421
        assert client.get("/openapi.json").status_code == 401
        assert client.get("/api/info").status_code == 401
        assert client.get("/api/info", headers={"authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/api/info", headers={"authorization": "Bearer secret"}).status_code == 200


def test_too_much_is_refused_with_or_without_a_length(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.app, "max_bytes", 1000)
    id_ = new_set(client)
    assert send(client, id_, ("a.mid", b"\0" * 2000)).status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b"\0" * 100

    answer = client.post(
        f"/api/sets/{id_}/files",
        content=chunks(),
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"options": {"bars": 10**9}}, "bars must be between"),
        ({"options": {"bars": 1000}}, "at most"),
        ({"options": {"seconds": 3000}}, "at most"),
        ({"options": {"num": 100}}, "at most"),
        ({"options": {"temperature": -1}}, "temperature"),
        ({"options": {"temperature": float("nan")}}, ""),
        ({"options": {"top_p": 2}}, "top-p"),
        ({"options": {"bars": "many"}}, "bars"),
        ({"options": {"__class__": 1}}, "is no option"),
        ({"options": {"key": "H minor"}}, "H minor"),
        ({"options": {"num": 1}, "colour": "red"}, ""),
        ({"music": {"use": "infill", "piece": "x"}}, "what to fill"),
        ({"music": {"use": "sing"}}, ""),
    ],
)
def test_what_cannot_be_composed_is_told_in_a_sentence(
    client: TestClient, request_: dict[str, Any], words: str
) -> None:
    answer = client.post(
        "/api/compose", content=json.dumps(request_), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str) and words in answer.json()["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/sets/none",
        "/api/jobs/none",
        "/api/jobs/none/notices",
        "/api/pieces/none",
        "/api/pieces/none.mid",
        "/api/pieces/..%2f..%2fstudio.db",
        "/api/files/none/score",
        "/api/models/none/card",
    ],
)
def test_unknown_ids_are_not_found(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_places_in_the_notices_that_are_none_are_refused_or_left_alone(client: TestClient) -> None:
    job = client.post("/api/compose", json={}).json()["id"]
    client.post(f"/api/jobs/{job}/stop")
    assert client.get(f"/api/jobs/{job}/notices?after={10**22}").status_code == 422
    for place in ("\u00b2".encode(), b"9" * 400):
        answer = client.get(f"/api/jobs/{job}/notices", headers={b"last-event-id": place})
        assert answer.status_code == 200 and "event: end" in answer.text


def test_a_damaged_model_is_told_and_the_others_are_listed(store: Store) -> None:
    set_id = store.add_set("mine")["id"]
    store.add_model("0" * 32, "Broken", "0" * 32, set_id)
    with TestClient(create_app(store.root, works=False), base_url="http://localhost") as client:
        broken, bundled = client.get("/api/models").json()
    assert "no such model folder" in broken["problem"] and not bundled["problem"] and bundled["architecture"]


def test_a_full_queue_says_when_to_come_back(client: TestClient) -> None:
    jobs = []
    for _ in range(MAX_WAITING[COMPOSE]):
        answer = client.post("/api/compose", json={})
        assert answer.status_code == 202
        jobs.append(answer.json())
    assert [job["before"] for job in jobs[:3]] == [0, 1, 2]
    answer = client.post("/api/compose", json={})
    assert answer.status_code == 429 and answer.headers["retry-after"]
    for job in jobs:
        assert client.post(f"/api/jobs/{job['id']}/stop").json()["state"] == "stopped"
    assert client.get("/api/jobs").json() == []
    assert client.get("/api/jobs?hours=1").json() == []
    lately = client.get("/api/jobs?kind=compose&hours=1").json()
    assert {job["kind"] for job in lately} == {COMPOSE} and len(lately) >= len(jobs)


def test_training_on_an_empty_set_is_refused(client: TestClient) -> None:
    answer = client.post("/api/train", json={"set": new_set(client)})
    assert answer.status_code == 422 and "no usable piece" in answer.json()["detail"]


def test_every_answer_tells_browsers_to_hold_to_it(client: TestClient) -> None:
    for path in ("/health", "/api/info", "/api/sets/none"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'" in headers["content-security-policy"]


def test_the_place_that_a_piece_resembles_can_be_heard_under_its_own_name(store: Store) -> None:
    set_id = store.add_set("mine")["id"]
    id_ = store.add_file(set_id, "a song.mid", "songs", midi_of(1), {"verdict": "ok"})
    job = store.add_job(TRAIN, {"set": set_id})["id"]  # whose model has been deleted
    bundled = next(bundled_corpus().rglob("*.mid"))
    for number, (path, name, score) in enumerate(
        (
            (f"songs/{id_}.mid", "a song.mid", tune(1)),
            (bundled.relative_to(bundled_corpus()).as_posix(), None, read_midi(bundled)),
        ),
        1,
    ):
        longest = {"notes": 14, "bars": [1, 2], "piece": path, "bars_there": [3, 4]}
        sidecar = {"originality": {"longest": longest, "share": 0.5}}
        kept = Composition(tune(1), sidecar)
        Worker(store, os.getppid())._keep({"id": job, "request": {}}, job, number, kept, f"mine {number}")
        with TestClient(create_app(store.root, works=False), base_url="http://localhost") as client:
            piece = client.get("/api/pieces").json()[0]
            origin = client.get(f"/api/pieces/{piece['id']}/origin").json()
        assert piece["sidecar"]["originality"]["longest"]["piece"] == origin["piece"] == (name or path)
        assert origin["bars_there"] == [3, 4] and len(origin["score"]["onset"]) == len(score)


def test_the_page_is_served_and_its_assets_kept(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["cache-control"] == "no-cache" and "<title>Cadenza" in page.text
    for name in re.findall(r'"\./(assets/[^"]+)"', page.text):
        asset = client.get(f"/{name}")
        assert "immutable" in asset.headers["cache-control"]
        assert asset.headers["content-type"].startswith(
            "text/javascript" if name.endswith("js") else "text/css"
        )


def test_the_interface_describes_itself(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    for path in described["paths"].values():
        for operation in path.values():
            assert operation["description"], operation


# -- the store ------------------------------------------------------------------------------------


def test_jobs_are_taken_once_each_and_in_their_order(store: Store) -> None:
    ids = [store.add_job(COMPOSE, {"n": n})["id"] for n in range(3)]
    other = store.add_job(TRAIN, {})["id"]
    taken = [store.claim(COMPOSE, "compose-0") for _ in range(4)]
    assert [job["id"] if job else None for job in taken] == [*ids, None]
    assert store.claim(TRAIN, "train-0")["id"] == other  # type: ignore[index]


def test_the_place_in_the_queue_is_told_with_the_time_it_takes(store: Store) -> None:
    minutes = (1.0, 2.0, 5.0)
    first, second, third = (store.add_job(TRAIN, {"minutes": m})["id"] for m in minutes)
    assert [store.job(id_)["wait"] for id_ in (first, second, third)] == [0, 60, 180]
    store.claim(TRAIN, "train-0")
    store.set_progress(first, {"seconds_left": 10.0})
    assert store.job(third)["wait"] == 130 and store.job(third)["before"] == 2
    waiting = [store.add_job(COMPOSE, {})["id"] for _ in range(2)]
    assert store.job(waiting[1])["wait"] is None  # nobody knows how long composing takes here
    store.claim(COMPOSE, "compose-0")
    store.end(waiting[0], "done")
    last = store.add_job(COMPOSE, {})["id"]
    assert 0 <= store.job(last)["wait"] < 1 and store.job(last)["before"] == 1


def test_a_job_that_was_killed_too_often_is_not_tried_again(store: Store) -> None:
    id_ = store.add_job(COMPOSE, {})["id"]
    for _ in range(stores.MAX_TRIES):
        assert store.job(id_)["state"] == QUEUED
        store.claim(COMPOSE, "compose-0")
        store.recover("compose-0")
    assert store.job(id_)["state"] == "failed" and "killed" in store.job(id_)["reason"]


def test_jobs_of_workers_that_there_are_no_longer_wait_again(store: Store) -> None:
    ids = [store.add_job(COMPOSE, {})["id"] for _ in range(2)]
    for number in range(2):
        store.claim(COMPOSE, f"compose-{number}")
    store.recover_all_but(["compose-0"])
    assert [store.job(id_)["state"] for id_ in ids] == [RUNNING, QUEUED]


def test_a_job_whose_server_ends_waits_again(store: Store) -> None:
    id_ = store.add_job(COMPOSE, {})["id"]
    job = store.claim(COMPOSE, "compose-0")
    worker = Worker(store, os.getppid())
    assert job is not None
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # as `work` does; else it may be ignored
    try:
        worker._do(lambda _: (worker._leave(), time.sleep(5)), job)  # type: ignore[arg-type, func-returns-value]
    finally:
        signal.signal(signal.SIGINT, usual)
    assert worker.leaving and store.job(id_)["state"] == QUEUED and store.job(id_)["tries"] == 0


def test_a_fault_of_ours_fails_its_job_with_a_reason(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def faulty(job: dict[str, Any]) -> None:
        raise ZeroDivisionError("so it goes")

    id_ = store.add_job(COMPOSE, {})["id"]
    job = store.claim(COMPOSE, "compose-0")
    assert job is not None
    Worker(store, os.getppid())._do(faulty, job)
    assert "ZeroDivisionError: so it goes" in store.job(id_)["reason"]
    assert "Traceback" in capsys.readouterr().err


def test_a_job_that_is_tried_again_keeps_each_piece_once(store: Store) -> None:
    options = {"num": 2, "bars": 4, "seed": 1, "key": "C major", "density": "1-2"}
    request = {"model": BUNDLED, "name": "Piece", "options": options, "music": {}}
    id_ = store.add_job(COMPOSE, request)["id"]
    for _ in range(2):
        job = store.claim(COMPOSE, "compose-0")
        assert job is not None
        Worker(store, os.getppid()).compose(job)
        store.put_back(id_)
    told = [notice["data"] for notice in store.notices(id_) if notice["kind"] != "draft"]
    assert len(told) == len({json.dumps(data) for data in told})
    assert sorted(row["number"] for row in store.pieces(10, None, id_)) == [1, 2]


def test_drafts_tell_the_notes_that_have_grown(store: Store) -> None:
    first, now = tune(1).notes[:5].copy(), tune(1).notes[:8].copy()
    assert _first_difference(None, first) == 0 and _first_difference(first, now) == 5
    now["duration"][3] += 1
    assert _first_difference(first, now) == 3 and _first_difference(first, first) == 5


def test_an_interruption_in_order_is_no_try(store: Store) -> None:
    id_ = store.add_job(TRAIN, {})["id"]
    for _ in range(5):
        store.claim(TRAIN, "train-0")
        store.put_back(id_)
    assert store.job(id_)["tries"] == 0


def test_a_newer_database_is_refused_and_an_older_one_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(tmp_path)
    monkeypatch.setattr(stores, "MIGRATIONS", (*stores.MIGRATIONS, "CREATE TABLE more (id TEXT);"))
    Store.open(tmp_path)._rows("SELECT * FROM more")
    monkeypatch.setattr(stores, "MIGRATIONS", stores.MIGRATIONS[:1])
    with pytest.raises(InputError, match="newer version"):
        Store.open(tmp_path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "studio.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(InputError, match="is no database"):
        Store.open(tmp_path)


def test_one_process_alone_holds_a_folder(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from cadenza.workers import only_one\n"
        "with only_one(Path(sys.argv[1]), wait=False): print('held', flush=True); time.sleep(60)"
    )
    lock = tmp_path / "a.lock"
    with subprocess.Popen([sys.executable, "-c", script, str(lock)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        with pytest.raises(InputError, match="another process uses this folder"), only_one(lock, wait=False):
            pass
        other.kill()
        other.wait()
    with only_one(lock, wait=True):
        pass


# -- a whole studio -------------------------------------------------------------------------------


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    found = Studio(tmp_path / "data")
    try:
        yield found
    finally:
        found.stop()


def test_composing_tells_its_drafts_and_keeps_its_pieces(studio: Studio) -> None:
    job = studio.client.post("/api/compose", json={"options": {"bars": 24, "num": 2, "seed": 5}}).json()
    told = studio.notices(job["id"])
    assert told[-1] == ("end", {"state": "done", "reason": ""})
    pieces = [data for kind, data in told if kind == "piece"]
    assert [piece["number"] for piece in pieces] == [1, 2]
    score = studio.client.get(f"/api/pieces/{pieces[0]['id']}/score").json()
    midi = studio.client.get(f"/api/pieces/{pieces[0]['id']}.mid")
    assert midi.content.startswith(b"MThd") and "attachment" in midi.headers["content-disposition"]
    assert len(score["onset"]) > 20 and score["end"] > 0
    # The same wish gives the same bytes, by the server as by the library.
    from cadenza import Composer

    first = next(Composer.from_pretrained().compose_many(num=2, bars=24, seed=5))
    assert midi_bytes(first.score) == midi.content
    again = studio.client.post(
        "/api/compose", json={"music": {"use": "vary", "piece": pieces[1]["id"]}}
    ).json()
    assert studio.ended(again["id"])["state"] == "done"
    found = studio.client.get("/api/pieces").json()
    assert len(found) == 6 and "statistics" not in found[0]["sidecar"]
    starred = studio.client.patch(f"/api/pieces/{found[0]['id']}", json={"star": True, "name": "Best"}).json()
    assert starred["star"] is True and starred["name"] == "Best"
    asked = "&".join(f"id={piece['id']}" for piece in found[:2])
    archive = zipfile.ZipFile(io.BytesIO(studio.client.get(f"/api/pieces.zip?{asked}").content))
    suffixes = [Path(name).suffix for name in archive.namelist()]
    assert all(suffixes.count(each) == 2 for each in (".mid", ".svg", ".musicxml", ".json"))
    assert studio.client.delete(f"/api/pieces/{found[0]['id']}").status_code == 204


def test_training_survives_the_servers_death_and_its_model_composes(tmp_path: Path) -> None:
    first = Studio(tmp_path / "data")
    id_ = new_set(first.client)
    send(first.client, id_, *((f"{n}.mid", midi_of(n)) for n in range(8)))
    request = {"set": id_, "name": "Tunes", "minutes": 0.25}
    job = first.client.post("/api/train", json=request).json()["id"]
    first.until(job, lambda row: row["progress"].get("share_done", 0) > 0.3)
    first.stop(signal.SIGKILL)
    second = Studio(tmp_path / "data")
    try:
        resumed = second.until(
            job, lambda row: row["progress"].get("share_done", 0) > 0 and row["state"] == RUNNING
        )
        assert resumed["tries"] <= 1
        assert second.ended(job)["state"] == "done"
        told = second.notices(job)
        assert {"progress", "evaluation", "model"} <= {kind for kind, _ in told}
        models = second.client.get("/api/models").json()
        assert [model["name"] for model in models] == ["Tunes", "Bundled model"]
        composed = second.client.post(
            "/api/compose", json={"model": job, "options": {"bars": 4, "num": 1}}
        ).json()
        assert second.ended(composed["id"])["state"] == "done"
        assert second.client.get(f"/api/models/{job}/card").text.startswith("---")
    finally:
        second.stop()


def test_a_training_that_is_stopped_ends_within_a_second_and_a_killed_worker_is_replaced(
    studio: Studio,
) -> None:
    id_ = new_set(studio.client)
    send(studio.client, id_, *((f"{n}.mid", midi_of(n)) for n in range(8)))
    job = studio.client.post("/api/train", json={"set": id_, "minutes": 60}).json()["id"]
    studio.until(job, lambda row: row["progress"].get("step", 0) > 0)
    studio.client.post(f"/api/jobs/{job}/stop")
    assert studio.ended(job, patience=10)["state"] == "stopped"
    composing = studio.client.post("/api/compose", json={"options": {"bars": 256, "num": 8}}).json()["id"]
    studio.until(composing, lambda row: row["state"] == RUNNING)
    for process in children(studio.process.pid, "compose"):
        os.kill(process, signal.SIGKILL)
    studio.until(composing, lambda row: row["tries"] == 2 and row["state"] == RUNNING)
    studio.client.post(f"/api/jobs/{composing}/stop")
    assert studio.ended(composing, patience=10)["state"] == "stopped"


def test_those_who_wait_are_told_their_place(studio: Studio) -> None:
    asked = {"options": {"bars": 256, "num": 8}}
    jobs = [studio.client.post("/api/compose", json=asked).json()["id"] for _ in range(6)]
    with studio.client.stream("GET", f"/api/jobs/{jobs[-1]}/notices") as stream:
        lines = stream.iter_lines()
        assert next(lines) == "event: queue"
        place = json.loads(next(lines).removeprefix("data: "))
    assert place["before"] >= 2 and place["wait"] is None
    for job in jobs:
        studio.client.post(f"/api/jobs/{job}/stop")


def test_a_second_server_on_the_same_folder_is_refused(studio: Studio, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cadenza", "serve", "--port", "0", "--data", str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "another process uses this folder" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "--token"),
        (["--host", "0.0.0.0", "--token", ""], "--token"),
        (["--token", "a#b"], "--token takes"),
        (["--port", "99999"], "ports go up to"),
        (["--host", "no.such.host.invalid", "--token", "a"], "cannot be listened on"),
        (["--data", __file__], "choose another --data"),
    ],
)
def test_what_cannot_be_served_is_told(arguments: list[str], words: str) -> None:
    command = [sys.executable, "-m", "cadenza", "serve", "--port", "0", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


def test_a_studio_for_others_tells_an_address_at_which_it_answers(tmp_path: Path) -> None:
    studio = Studio(tmp_path / "data", "--host", "0.0.0.0", "--token", "secret")
    try:
        address, _, token = studio.address.partition("#token=")
        assert token == "secret" and "0.0.0.0" not in address
        headers = {"authorization": f"Bearer {token}"}
        assert httpx.get(f"{address}api/info", headers=headers).status_code == 200
    finally:
        studio.stop()


def test_a_killed_server_takes_its_workers_with_it(tmp_path: Path) -> None:
    studio = Studio(tmp_path / "data")
    try:
        assert (
            studio.client.get("/health").status_code == 200
        )  # which it answers once its workers are started
        workers = children(studio.process.pid, "compose")
    finally:
        studio.stop(signal.SIGKILL)
    assert workers
    for _ in range(200):
        if not any(is_alive(worker) for worker in workers):
            return
        time.sleep(0.05)
    raise AssertionError("workers go on without a server")


def test_pieces_read_back_as_they_were(studio: Studio, tmp_path: Path) -> None:
    job = studio.client.post("/api/compose", json={"options": {"bars": 4, "num": 1, "seed": 1}}).json()
    studio.ended(job["id"])
    piece = studio.client.get(f"/api/pieces?job={job['id']}").json()[0]
    (tmp_path / "x.mid").write_bytes(studio.client.get(f"/api/pieces/{piece['id']}.mid").content)
    score = studio.client.get(f"/api/pieces/{piece['id']}/score").json()
    assert read_midi(tmp_path / "x.mid").notes["pitch"].tolist() == score["pitch"]


def test_a_training_memorises_once_its_own_evaluations_gain_nothing() -> None:
    assert not is_memorising([3.0])
    assert not is_memorising([3.0, 2.9, 2.8, 2.85])
    assert is_memorising([3.0, 2.5, 2.6, 2.55])
