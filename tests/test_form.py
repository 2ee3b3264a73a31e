"""Form: which bars of a piece return is found, written down, and given to a new piece."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cadenza import ComposeOptions, Composer, InputError
from cadenza.events import NoteEvents
from cadenza.form import LONGEST, SAME, Form, Parts, Reprise, bonus
from cadenza.grammar import NoteGrammar
from cadenza.listening import repeats
from cadenza.repertoire import MOST_FORMS, Repertoire
from cadenza.schema import NOT_APPLICABLE
from cadenza.score import IntArray, Score
from music import tune

NOTES = NoteEvents()
BAR = 4 * 480


def _joined(*parts: Score) -> Score:
    """Tunes of two bars, one after the other."""
    notes = [part.notes[part.notes["onset"] < 2 * BAR].copy() for part in parts]
    for n, each in enumerate(notes):
        each["onset"] += 2 * BAR * n
    return replace(parts[0], notes=np.concatenate(notes))


A, B = tune(1, bars=2), tune(2, bars=2)


def _drawn(grammar: NoteGrammar, seed: int) -> IntArray:
    """Events (T, fields) drawn as a network does to which all is alike."""
    rng, rows = np.random.default_rng(seed), []
    while not grammar.done:
        event, context = [NOT_APPLICABLE] * len(NOTES.schema.fields), grammar.no_context()
        for k in range(len(event)):
            bias = grammar.bias(k, event)
            if bias is not None:
                share = np.exp(bias.astype(np.float64))
                event[k] = grammar.taken(k, int(rng.choice(len(share), p=share / share.sum())))
            grammar.fill_context(k, event, context)
        grammar.advance(event)
        rows.append(event)
    return np.array(rows)


def test_the_form_of_a_piece_is_found() -> None:
    form = Form.of(NOTES.encode(_joined(A, B, A, A)), NOTES)
    assert str(form) == "- - - - 4:9 4:9 2:9 2:9"
    assert form.alike[4:] == (1.0,) * 4
    assert "9" not in str(Form.of(NOTES.encode(_joined(A, B)), NOTES))


def test_a_long_form_is_cut_and_silence_returns_to_nothing() -> None:
    loop = _joined(*[A] * (LONGEST // 2 + 3))
    assert len(Form.of(NOTES.encode(loop), NOTES).back) == LONGEST
    quiet = A.notes[A.notes["onset"] < BAR].copy()
    quiet["onset"] += 3 * BAR
    holes = replace(A, notes=np.concatenate([A.notes[A.notes["onset"] < BAR], quiet]))
    assert str(Form.of(NOTES.encode(holes), NOTES)) == "- - - 3:9"


@pytest.mark.parametrize("text", ["", "-", "- 1:3 2:9", "64:1"])
def test_forms_come_back_from_what_is_written(text: str) -> None:
    if not text:
        with pytest.raises(ValueError, match="form"):
            Form.parse(text)
    else:
        assert str(Form.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["0:3", "1:0", "1:10", "100:3", "- ", "a", "-\n", " ".join("-" * (LONGEST + 1))]
)
def test_what_is_no_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="form"):
        Form.parse(text)


def test_letters_are_parts_of_equal_length() -> None:
    parts = Parts.parse("AA'BA")
    back = [parts.returns(bar, 8) for bar in range(8)]
    assert [b for b, _ in back] == [0, 0, 2, 2, 0, 0, 6, 6]
    assert back[6][1] > back[2][1] > 0 > back[0][1] > back[4][1]
    # Of 10 bars the parts have 2, 3, 2 and 3: what has no counterpart is new.
    assert [parts.returns(bar, 10)[0] for bar in range(10)] == [0, 0, 2, 2, 0, 0, 0, 7, 7, 0]
    assert Parts.parse("A").returns(5, 8)[0] == 0


@pytest.mark.parametrize("form", ["", "aaba", "A-B", "'A", "A''", "AB A", "Free"])
def test_other_letters_are_refused(form: str) -> None:
    with pytest.raises(InputError, match="AABA"):
        ComposeOptions(form=form)


def test_the_more_alike_the_larger_the_bonus() -> None:
    found = [bonus(tenth / 10) for tenth in range(1, 10)]
    assert found == sorted(found) and found[0] >= 0 and found[-1] > 3


@pytest.mark.parametrize("form", [Parts.parse("ABAB"), Form((0,) * 4 + (4,) * 4, (SAME,) * 8)])
def test_a_network_that_knows_nothing_is_led_back(form: Form | Parts) -> None:
    repertoire = Repertoire.of([NOTES.encode(A), NOTES.encode(B)], NOTES)

    def likeness(led: bool) -> float:
        found = []
        for seed in range(12):
            grammar = NoteGrammar(NOTES, repertoire, bars=8)
            grammar.reprise = Reprise(form) if led else None
            score = NOTES.decode(_drawn(grammar.copy(), seed))
            found.append(float(repeats(score)["repeats_after_4"][0]))
        return float(np.mean(found))

    assert likeness(True) > likeness(False) + 0.05


def test_a_corpus_keeps_forms_of_all_kinds() -> None:
    plain = [NOTES.encode(tune(seed, bars=6)) for seed in range(3, 63)]
    loops = [NOTES.encode(_joined(tune(seed, bars=2), *[tune(seed, bars=2)] * 3)) for seed in range(60)]
    whole = Repertoire.of(plain + loops, NOTES)
    assert len(whole.forms) == MOST_FORMS
    looping = [form for form in whole.forms if form == "- - 2:9 2:9 2:9 2:9 2:9 2:9"]
    assert 0.4 * MOST_FORMS <= len(looping) <= 0.6 * MOST_FORMS
    one, other = Repertoire.of(plain, NOTES), Repertoire.of(loops, NOTES)
    mixed = whole.among([one, other], [0.75, 0.25]).forms
    assert sum(form in other.forms for form in mixed) == pytest.approx(0.25 * len(mixed), abs=2)
    assert whole.with_piece(plain[0]).forms == whole.forms
    damaged = whole.to_dict() | {"forms": ["- 1:x"]}
    with pytest.raises(ValueError, match="form"):
        Repertoire.from_dict(damaged)


def test_a_piece_returns_as_its_letters_say() -> None:
    composer = Composer.from_pretrained()
    options = ComposeOptions(bars=8, num=4, seed=5, style="songs")

    def likeness(form: str) -> float:
        pieces = composer.compose_many(options=replace(options, form=form))
        return float(np.mean([repeats(piece.score)["repeats_after_4"][0] for piece in pieces]))

    assert likeness("ABAB") > likeness("free") + 0.2


def test_what_has_its_own_bars_has_no_form() -> None:
    with pytest.raises(InputError, match="form cannot be asked for when filling a gap"):
        Composer.from_pretrained().compose(infill=A, fill_bars="2", form="AABA")
