"""Piano rolls: valid, complete and reproducible SVG for all sorts of scores."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from cadenza.pianoroll import MAX_SYSTEMS, PALETTE, WIDTH, render_svg
from cadenza.score import METRE, TEMPO, NoteArray, Score, make_notes

TPQ = 480


def melody(count: int = 16, instrument: int = 0) -> NoteArray:
    return make_notes(np.arange(count) * TPQ, TPQ, 60 + np.arange(count) % 12, 80, instrument)


def metres(*rows: tuple[int, int, int]) -> NoteArray:
    return np.array(list(rows), dtype=METRE)


def busy(count: int) -> Score:
    rng = np.random.default_rng(7)
    onset, length = rng.integers(0, TPQ * 400, count), rng.integers(1, 4 * TPQ, count)
    pitch, velocity = rng.integers(0, 128, count), rng.integers(1, 128, count)
    return Score(TPQ, make_notes(onset, length, pitch, velocity, rng.integers(0, 140, count)))


def elements(svg: str, tag: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(svg).iter(f"{{http://www.w3.org/2000/svg}}{tag}"))


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in elements(svg, "text")]


def systems(svg: str) -> int:
    return sum("transform" in group.attrib for group in elements(svg, "g"))


@pytest.mark.parametrize("count", [1, 5, 300])
def test_every_note_is_one_rectangle(count: int) -> None:
    assert len(elements(render_svg(busy(count)), "rect")) == count


def test_rectangles_lie_on_the_page() -> None:
    svg = render_svg(busy(500))
    for rect in elements(svg, "rect"):
        x, width = float(rect.attrib["x"]), float(rect.attrib["width"])
        assert x >= 0 and x + width <= WIDTH and width > 0
        assert float(rect.attrib["height"]) > 0 and float(rect.attrib["y"]) >= 0


def test_same_score_gives_same_bytes() -> None:
    assert render_svg(busy(200), "A") == render_svg(busy(200), "A")


def test_an_empty_score_says_so() -> None:
    svg = render_svg(Score(TPQ), "Silence")
    assert "no notes" in texts(svg) and "Silence" in texts(svg)
    assert not elements(svg, "rect")


@pytest.mark.parametrize("score", [Score(TPQ), Score(TPQ, melody())])
def test_titles_are_escaped_and_cleaned(score: Score) -> None:
    svg = render_svg(score, "<b>\"Tom\" & 'Jerry'</b>\x00\x1f\ud800\n2")
    assert "<b>\"Tom\" & 'Jerry'</b> 2" in texts(svg)
    assert elements(svg, "title")[0].text == "Piano roll: <b>\"Tom\" & 'Jerry'</b> 2"
    svg.encode("utf-8")


def test_a_long_title_is_shortened_only_to_the_eye() -> None:
    svg = render_svg(Score(TPQ, melody()), "x" * 300)
    assert any(text.endswith("…") for text in texts(svg))
    assert elements(svg, "title")[0].text == "Piano roll: " + "x" * 300


def test_a_piece_without_title_has_an_accessible_name() -> None:
    assert elements(render_svg(Score(TPQ, melody())), "title")[0].text == "Piano roll"


def test_header_names_tempo_metre_and_size() -> None:
    tempi = np.array([(0, 90.0), (TPQ, 60.0)], dtype=TEMPO)
    facts = texts(render_svg(Score(TPQ, melody(12), tempi, metres((0, 3, 4)))))[0]
    assert facts == "♩ = 60\u201390 · 3/4 · 4 bars · 12 notes · 0:12 min"


def test_legend_names_instruments_with_colours_of_their_own() -> None:
    notes = np.concatenate([melody(4, 0), melody(4, 40), melody(4, 128)])
    svg = render_svg(Score(TPQ, notes))
    assert {"piano", "violin", "drums"} <= set(texts(svg))
    fills = {group.attrib["fill"] for group in elements(svg, "g") if "opacity" in group.attrib}
    assert len(fills) == 3


def test_more_instruments_than_colours_differ_by_outline() -> None:
    count = len(PALETTE) + 1
    svg = render_svg(Score(TPQ, make_notes(np.arange(count) * TPQ, TPQ, 60, 80, np.arange(count))))
    looks = {
        (group.attrib["fill"], group.attrib.get("stroke"))
        for group in elements(svg, "g")
        if "opacity" in group.attrib
    }
    assert len(looks) == count


def test_louder_notes_are_more_opaque() -> None:
    svg = render_svg(Score(TPQ, make_notes([0, TPQ, 2 * TPQ], TPQ, 60, [1, 64, 127])))
    opacity = [float(group.attrib["opacity"]) for group in elements(svg, "g") if "opacity" in group.attrib]
    assert opacity == sorted(set(opacity)) and len(opacity) == 3


def test_higher_pitches_lie_higher_and_later_notes_further_right() -> None:
    low, high = elements(render_svg(Score(TPQ, make_notes([0, TPQ], TPQ, [60, 72]))), "rect")
    assert float(high.attrib["y"]) < float(low.attrib["y"])
    assert float(high.attrib["x"]) > float(low.attrib["x"])


def test_unisons_share_a_row_without_overlap() -> None:
    svg = render_svg(Score(TPQ, make_notes([0, 0], TPQ, 60, 80, [40, 41])))
    upper, lower = sorted(elements(svg, "rect"), key=lambda rect: float(rect.attrib["y"]))
    bottom = float(upper.attrib["y"]) + float(upper.attrib["height"])
    assert bottom <= float(lower.attrib["y"]) + 0.1


def test_bars_are_numbered_and_wrap_into_systems() -> None:
    svg = render_svg(Score(TPQ, melody(4 * 20)))
    assert systems(svg) == 3
    assert {str(bar) for bar in range(1, 21)} <= set(texts(svg))


def test_a_note_over_a_system_end_stays_one_rectangle() -> None:
    svg = render_svg(Score(TPQ, make_notes([0], 4 * 20 * TPQ, [60])))
    continued = [g for g in elements(svg, "g") if "opacity" in g.attrib]
    assert len(elements(svg, "rect")) == 1
    assert len(continued) == systems(svg) == 3


def test_changes_of_metre_are_marked() -> None:
    changes = metres((0, 4, 4), (4 * TPQ, 3, 4))
    assert texts(render_svg(Score(TPQ, melody(10), metres=changes))).count("3/4") == 1


def test_free_time_has_times_and_no_bar_numbers() -> None:
    shown = texts(render_svg(Score(TPQ, melody(40), metres=metres((0, 0, 4)))))
    assert {"0:00", "0:16"} <= set(shown) and "1" not in shown
    assert "free metre" in shown[0]


def test_drums_have_named_rows() -> None:
    notes = make_notes([0, TPQ, 2 * TPQ], TPQ, [36, 38, 20], 100, 128)
    svg = render_svg(Score(TPQ, notes))
    assert {"kick", "snare", "key 20"} <= set(texts(svg))
    assert "C4" not in texts(svg)
    assert len({rect.attrib["y"] for rect in elements(svg, "rect")}) == 3


def test_the_longest_pieces_stay_within_a_page_count() -> None:
    score = Score(TPQ, make_notes([0, 2**30], TPQ, [0, 127]))
    svg = render_svg(score)
    assert systems(svg) <= MAX_SYSTEMS + 1 and len(svg) < 1_000_000


def test_ten_thousand_notes_are_quick() -> None:
    score = busy(10_000)
    start = time.process_time()
    svg = render_svg(score)
    assert time.process_time() - start < 2  # about a tenth of a second on a laptop
    assert len(svg) < 130 * len(score)
