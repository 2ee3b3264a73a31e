"""The studio's page in a browser: what a user does with it, seen and heard.

Needs Chromium and Playwright; the server is a process of its own, as users start it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import wave
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from cadenza.audio import has_libraries
from cadenza.midi import midi_bytes, read_midi
from music import tune

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("fastapi", reason="the studio is not installed")
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)
if CHROMIUM is None:
    pytest.skip("there is no Chromium", allow_module_level=True)

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking "
    "--autoplay-policy=no-user-gesture-required"
).split()
AXE = Path(__file__).parents[1] / "page/node_modules/axe-core/axe.min.js"
NOTE_HEADS = "document.querySelectorAll('.sheet-paper .vf-notehead').length"
SOON = 10_000  # milliseconds for what takes a moment
# Lets tests listen: all that goes to the loudspeakers passes an analyser.
LISTENER = """
(() => {
  const connect = AudioNode.prototype.connect;
  let ear = null;
  window.loudness = () => {
    if (!ear) return 0;
    const samples = new Float32Array(ear.fftSize);
    ear.getFloatTimeDomainData(samples);
    return Math.max(...samples.map(Math.abs));
  };
  AudioNode.prototype.connect = function (to, ...rest) {
    if (!(to instanceof AudioDestinationNode)) return connect.call(this, to, ...rest);
    if (!ear) {
      ear = new AnalyserNode(this.context, { fftSize: 8192 });
      connect.call(ear, to);
    }
    return connect.call(this, ear);
  };
})();
"""


@contextmanager
def served(data: Path, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a studio on this folder, and its process."""
    command = [sys.executable, "-m", "cadenza", "serve", "--data", str(data), *arguments]
    environment = {**os.environ, "CADENZA_CACHE": str(data / "cache")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1], process
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running studio with nothing in it."""
    with served(tmp_path_factory.mktemp("studio"), "--port", "0") as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for all tests; each gets a profile of its own."""
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, studio: str) -> Iterator[Any]:
    """The page, freshly opened; whatever it throws or asks of other hosts fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(SOON)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda m: wrong.append(m.text) if "Content Security Policy" in m.text else None)
    page.on("request", lambda asked: wrong.append(asked.url) if not is_own(asked.url, studio) else None)
    page.add_init_script(LISTENER)
    page.goto(studio)
    page.get_by_role("button", name="Compose", exact=True).wait_for()
    yield page
    context.close()
    assert not wrong


def is_own(url: str, studio: str) -> bool:
    return url.startswith((studio, "blob:", "data:"))


def is_sound(path: Path) -> bool:
    with wave.open(str(path)) as file:
        return file.getnframes() > 5 * file.getframerate() and any(file.readframes(10**6))


# How each file that is taken home is read back.
READ_BACK: dict[str, Callable[[Path], Any]] = {
    ".mid": lambda path: len(read_midi(path)) > 20,
    ".wav": is_sound,
    ".musicxml": lambda path: len(list(ElementTree.parse(path).iter("note"))) > 20,
    ".svg": lambda path: ElementTree.parse(path).getroot().tag.endswith("svg"),
    ".json": lambda path: json.loads(path.read_text())["seed"] >= 0,
    ".zip": lambda path: {"01 Piece 1.mid", "01 Piece 1.json"} <= set(zipfile.ZipFile(path).namelist()),
}


def compose(page: Any) -> None:
    page.get_by_role("button", name="Compose", exact=True).click()


def until(page: Any, holds: str) -> None:
    """Wait for an expression, asked from outside: the page's own policy allows no script that waits for one."""
    for _ in range(SOON // 50):
        if page.evaluate(holds):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{holds} did not come true")


def hear(page: Any) -> None:
    until(page, "window.loudness() > 0.001")


def cards(page: Any) -> Any:
    return page.get_by_role("radio")


def open_view(page: Any, name: str) -> None:
    page.get_by_role("link", name=name).click()
    page.get_by_role("heading", name=name, level=1).wait_for()


def roll(page: Any) -> Any:
    return page.get_by_role("slider", name="Piano roll").first


def picture(page: Any) -> str:
    """The roll as it is drawn."""
    return str(page.evaluate("document.querySelector('.roll canvas').toDataURL()"))


def redrawn(page: Any, before: str) -> None:
    """Wait until the roll shows something else; it is drawn with the screen's next picture."""
    for _ in range(SOON // 50):
        if picture(page) != before:
            return
        page.wait_for_timeout(50)
    raise AssertionError("the roll stayed as it was")


def place(page: Any) -> float:
    return float(page.get_by_label("Place in the piece").input_value())


def test_one_press_composes_four_pieces_that_are_heard_and_switched_between_by_keys(page: Any) -> None:
    compose(page)
    hear(page)
    sync_api.expect(cards(page)).to_have_count(4)
    until(
        page, "[...document.querySelectorAll('.card-note')].every((e) => e.textContent.includes('16 bars'))"
    )
    first = picture(page)
    page.wait_for_timeout(400)
    before = place(page)
    page.keyboard.press("3")
    sync_api.expect(cards(page).nth(2)).to_be_checked()
    redrawn(page, first)
    assert place(page) >= before > 0  # the place goes on
    hear(page)
    page.keyboard.press(" ")
    page.get_by_role("button", name="Play", exact=True).wait_for()
    until(page, "window.loudness() < 0.0005")


def test_what_cannot_be_done_is_told_beside_the_button(page: Any) -> None:
    page.get_by_text("More wishes").click()
    page.get_by_label("Metre").fill("17/13")
    compose(page)
    sync_api.expect(page.get_by_role("alert").filter(has_text="17/13")).to_be_visible()
    page.get_by_label("Metre").fill("3/4")
    compose(page)
    sync_api.expect(cards(page)).to_have_count(4)
    sync_api.expect(page.get_by_role("alert").filter(has_text="17/13")).to_have_count(0)


def test_files_get_their_verdicts_and_are_heard_gone_on_from_and_removed(page: Any, tmp_path: Path) -> None:
    for style, seed in (("hymns", 1), ("dances", 2)):
        (tmp_path / style).mkdir()
        (tmp_path / style / f"{style}.mid").write_bytes(midi_bytes(tune(seed)))
    (tmp_path / "dances" / "broken.mid").write_bytes(b"MThd, or so it says")
    open_view(page, "My music")
    page.locator("input[type=file]").nth(1).set_input_files(tmp_path)
    files = page.locator(".file")
    sync_api.expect(files).to_have_count(3)
    sync_api.expect(files.filter(has_text="broken.mid")).to_contain_text("Could not be read")
    sync_api.expect(files.filter(has_text="hymns.mid")).to_contain_text("Learned from")
    sync_api.expect(page.locator(".totals")).to_contain_text("pieces to learn from2")
    sync_api.expect(page.locator(".preview")).to_contain_text("dances")
    page.get_by_role("button", name="Hear hymns.mid").click()
    hear(page)
    page.get_by_role("button", name="See hymns.mid").click()
    roll(page).wait_for()
    page.get_by_role("button", name="Sheet").click()
    until(page, f"{NOTE_HEADS} >= {len(tune(1))}")
    page.get_by_role("button", name="Roll", exact=True).click()
    files.filter(has_text="hymns.mid").get_by_role("button", name="Continue").click()
    page.get_by_label("From its first bars").fill("2")
    page.locator(".go .primary").click()
    sync_api.expect(cards(page)).to_have_count(5)
    open_view(page, "My music")
    page.get_by_role("button", name="Remove broken.mid").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    sync_api.expect(files).to_have_count(2)


def test_a_model_is_learned_over_a_reload_and_composes(page: Any, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    open_view(page, "My music")
    for n in range(3):
        (tmp_path / f"{n}.mid").write_bytes(midi_bytes(tune(n + 20, bars=24)))
    page.wait_for_load_state("networkidle")
    if page.get_by_role("combobox", name="Set").count():
        page.get_by_role("combobox", name="Set").select_option("")
    page.locator("input[type=file]").first.set_input_files(sorted(tmp_path.glob("*.mid")))
    page.get_by_role("button", name="Learn from this").click()
    page.get_by_label("Minutes").fill("0.05")
    page.get_by_label("Name of the model").fill("Little tunes")
    page.get_by_role("button", name="Learn", exact=True).click()
    training = page.get_by_role("region", name="Training of Little tunes")
    training.wait_for()
    page.reload()
    training.get_by_role("progressbar").wait_for()
    training.get_by_role("button", name="Compose with it").wait_for(timeout=6 * SOON)
    page.reload()
    training.get_by_text(re.compile("^Learned")).wait_for()
    training.get_by_role("button", name="Compose with it").click()
    sync_api.expect(page.get_by_label("Model")).to_contain_text("Little tunes")
    compose(page)
    sync_api.expect(page.locator(".of-piece")).to_be_visible()


def test_without_torch_the_button_says_what_to_type(page: Any, studio: str) -> None:
    def without(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(json={**answer.json(), "can_train": False, "how_to_train": "pip install this"})

    page.route("**/api/info", without)
    page.goto(f"{studio}#learn")
    page.reload()
    sync_api.expect(page.get_by_role("button", name="Learn", exact=True)).to_be_disabled()
    sync_api.expect(page.get_by_text("pip install this")).to_be_visible()


def test_history_keeps_what_was_composed_over_a_reload(page: Any) -> None:
    compose(page)
    sync_api.expect(page.locator(".of-piece")).to_be_visible()
    page.reload()
    sync_api.expect(cards(page)).to_have_count(4)
    open_view(page, "History")
    rows = page.locator(".piece")
    row = rows.first
    row.get_by_role("button", name="Rename").click()
    page.get_by_role("textbox", name="New name").fill("Morning")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Star Morning").click()
    page.get_by_role("button", name="Take the star from Morning").wait_for()
    page.reload()
    page.get_by_role("checkbox", name="Starred only").check()
    sync_api.expect(rows).to_have_count(1)
    sync_api.expect(page.locator(".request-top").first).to_contain_text("seed")
    page.get_by_role("checkbox", name="Starred only").uncheck()
    page.get_by_label("Compare").nth(0).check()
    page.get_by_label("Compare").nth(1).check()
    sync_api.expect(page.locator(".compare-one .roll")).to_have_count(2)
    with page.expect_download(timeout=2 * SOON) as taken:
        page.get_by_role("button", name="All 4 as zip").first.click()
    with zipfile.ZipFile(taken.value.path()) as archive:
        assert sum(name.endswith(".mid") for name in archive.namelist()) == 4
    page.get_by_role("button", name="Delete Morning").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    sync_api.expect(page.get_by_text("Morning")).to_have_count(0)


def test_a_piece_is_taken_home_looped_and_its_players_muted(page: Any, tmp_path: Path) -> None:
    compose(page)
    hear(page)
    page.locator(".of-piece").wait_for()
    for suffix, is_whole in READ_BACK.items():
        if suffix == ".wav" and not has_libraries():
            continue
        button = "All as zip" if suffix == ".zip" else f"Save {suffix}"
        with page.expect_download(timeout=2 * SOON) as taken:
            page.get_by_role("button", name=button).click()
        assert taken.value.suggested_filename == f"Piece 1{suffix}"
        taken.value.save_as(tmp_path / f"x{suffix}")
        assert is_whole(tmp_path / f"x{suffix}"), suffix
    dragged = page.evaluate(
        "(() => { const data = new DataTransfer(); document.querySelector('.drag').dispatchEvent("
        "new DragEvent('dragstart', {dataTransfer: data})); return data.getData('DownloadURL'); })()"
    )
    assert dragged.startswith("audio/midi:Piece 1.mid:blob:")
    page.keyboard.press("Home")
    roll(page).focus()
    page.keyboard.press("Home")
    page.keyboard.press("[")
    page.keyboard.press("]")
    page.get_by_role("button", name="Loop bars 1 to 1").wait_for()
    page.wait_for_timeout(3500)
    assert roll(page).get_attribute("aria-valuetext") in ("bar 1 of 16", "bar 2 of 16")
    for each in page.get_by_role("button", name="Mute").all():
        each.click()
    until(page, "window.loudness() < 0.0005")


def test_sheet_music_is_engraved_and_followed(page: Any) -> None:
    compose(page)
    hear(page)
    page.locator(".of-piece").wait_for()
    page.get_by_role("button", name="Sheet").click()
    until(page, f"{NOTE_HEADS} > 20")
    cursor = page.locator(".sheet-paper img").first
    before = cursor.bounding_box()
    page.wait_for_timeout(2500)
    assert cursor.bounding_box() != before
    with page.expect_download() as taken:
        page.get_by_role("button", name="Save .musicxml").click()
    assert taken.value.path().read_text().count("<measure ") >= 16
    page.get_by_role("button", name="Roll", exact=True).click()


def test_a_composition_that_is_stopped_leaves_the_page_as_it_should_be(page: Any) -> None:
    page.get_by_label("Length in bars").fill("256")
    compose(page)
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Compose", exact=True).wait_for()
    page.get_by_label("Length in bars").fill("8")
    compose(page)
    sync_api.expect(page.locator(".card-note").filter(has_text="8 bars")).to_have_count(4)


def test_everything_can_be_reached_and_done_by_keyboard_alone(page: Any) -> None:
    def tab_to(name: str, most: int = 60) -> None:
        for _ in range(most):
            page.keyboard.press("Tab")
            focused = page.evaluate(
                "(e => `${e.ariaLabel ?? ''} ${e.textContent ?? ''} ${e.labels?.[0]?.textContent ?? ''}`)(document.activeElement)"
            )
            visible = page.evaluate("getComputedStyle(document.activeElement).outlineStyle !== 'none'")
            assert visible, f"the focus on {focused!r} is not seen"
            if name in focused:
                return
        raise AssertionError(f"{name} was not reached")

    tab_to("To the content")
    page.keyboard.press("Enter")
    tab_to("Length in bars")
    page.keyboard.press("Control+a")
    page.keyboard.type("8")
    tab_to("Compose")
    page.keyboard.press("Enter")
    hear(page)
    page.locator(".of-piece").wait_for()
    tab_to("1:")
    page.keyboard.press("ArrowRight")
    sync_api.expect(cards(page).nth(1)).to_be_checked()
    tab_to("Piano roll")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    sync_api.expect(roll(page)).to_have_attribute("aria-valuetext", "bar 2 of 8")
    tab_to("Star this piece")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Take the star away").wait_for()


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed; run: make page")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_against_wcag(page: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    compose(page)
    page.locator(".of-piece").wait_for()
    page.get_by_text("More wishes").click()
    assert violations(page) == []
    for view in ("My music", "Learn", "History"):
        open_view(page, view)
        page.wait_for_load_state("networkidle")
        assert violations(page) == [], view


def violations(page: Any) -> list[str]:
    page.evaluate(AXE.read_text())
    tags = json.dumps(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"])
    found = page.evaluate(f"axe.run(document, {{runOnly: {tags}}}).then((all) => all.violations)")
    return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found]


def test_no_view_is_wider_than_a_phone(browser: Any, studio: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True)
    page = context.new_page()
    page.goto(studio)
    compose(page)
    page.locator(".of-piece").wait_for()
    for view in ("Compose", "My music", "Learn", "History"):
        open_view(page, view)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, view
    context.close()


def test_a_studio_with_a_token_is_used_from_its_address(browser: Any, tmp_path: Path) -> None:
    with served(tmp_path, "--port", "0", "--token", "secret") as (address, _):
        page = browser.new_page()
        page.goto(address)
        page.get_by_role("button", name="Compose", exact=True).click(timeout=SOON)
        page.locator(".of-piece").wait_for(timeout=SOON)
        assert "token" not in page.url
        page.close()


def test_a_training_goes_on_after_the_server_was_killed(browser: Any, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    (tmp_path / "in").mkdir()
    for n in range(4):
        (tmp_path / "in" / f"{n}.mid").write_bytes(midi_bytes(tune(n, bars=24)))
    page = browser.new_page()
    training = page.get_by_role("region", name="Training of My music")
    with served(tmp_path / "data", "--port", "0") as (address, process):
        page.goto(address)
        open_view(page, "My music")
        page.locator("input[type=file]").first.set_input_files(sorted((tmp_path / "in").glob("*.mid")))
        page.get_by_role("button", name="Learn from this").click()
        page.get_by_label("Minutes").fill("0.2")
        page.get_by_label("Name of the model").fill("My music")
        page.get_by_role("button", name="Learn", exact=True).click()
        training.get_by_text("notes a second").wait_for(timeout=3 * SOON)
        process.send_signal(signal.SIGKILL)
        process.wait()
    port = address.rstrip("/").rpartition(":")[2]
    with served(tmp_path / "data", "--port", port):
        page.goto(f"{address}#learn")
        page.reload()
        training.get_by_text(re.compile("^Learned")).wait_for(timeout=6 * SOON)
    page.close()
