"""Form: which bars of a piece return is found, written down, and given to a new piece."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cadenza import ComposeOptions, Composer, InputError
from cadenza.events import NoteEvents
from cadenza.form import CONTRAST, FREE, LONGEST, NOVELTY, SAME, Form, Parts, Reprise, pull
from cadenza.grammar import NoteGrammar
from cadenza.listening import repeats
from cadenza.repertoire import MOST_FORMS, Repertoire
from cadenza.schema import NOT_APPLICABLE
from cadenza.score import Score
from cadenza.tasks import Continuation, NewPiece, task_of
from cadenza.vocabulary import END_KIND, KIND, METRE_KIND, ONSET, PITCH
from music import drawn, tune

NOTES = NoteEvents()
BAR = 4 * 480


def _joined(*parts: Score) -> Score:
    """Tunes of two bars, one after the other."""
    notes = [part.notes[part.notes["onset"] < 2 * BAR].copy() for part in parts]
    for n, each in enumerate(notes):
        each["onset"] += 2 * BAR * n
    return replace(parts[0], notes=np.concatenate(notes))


A, B = tune(1, bars=2), tune(2, bars=2)


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


@pytest.mark.parametrize("text", ["-", "- 1:3 2:9", "64:1"])
def test_forms_come_back_from_what_is_written(text: str) -> None:
    assert str(Form.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "0:3", "1:0", "1:10", "100:3", "- ", "a", "-\n", " ".join("-" * (LONGEST + 1))]
)
def test_what_is_no_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="form"):
        Form.parse(text)


def test_letters_are_parts_of_equal_length() -> None:
    parts = Parts.parse("AA'BA")
    back = [parts.returns(bar, 8) for bar in range(8)]
    assert [b for b, _ in back] == [0, 0, 2, 2, 0, 0, 6, 6]
    assert back[6][1] > back[2][1] > 0
    assert [pull for b, pull in back if not b] == [-NOVELTY] * 2 + [-CONTRAST] * 2
    # Of 10 bars the parts have 2, 3, 2 and 3: what has no counterpart is new.
    assert [parts.returns(bar, 10)[0] for bar in range(10)] == [0, 0, 2, 2, 0, 0, 0, 7, 7, 0]
    assert Parts.parse("A").returns(5, 8)[0] == 0
    assert Parts.parse("a a\u2019 b A") == parts


@pytest.mark.parametrize("form", ["", " ", "A-B", "'A", "A''", "A1", "AB" * LONGEST])
def test_other_letters_are_refused(form: str) -> None:
    with pytest.raises(InputError, match="AABA"):
        ComposeOptions(form=form)


def test_the_more_alike_the_stronger_the_pull() -> None:
    found = [pull(tenth / 10) for tenth in range(11)]
    assert found == sorted(found) and found[0] == 0 and np.isfinite(found[-1]) and found[-1] > 3


@pytest.mark.parametrize("form", [Parts.parse("ABAB"), Form((0,) * 4 + (4,) * 4, (SAME,) * 8)])
def test_a_network_that_knows_nothing_is_led_back(form: Form | Parts) -> None:
    repertoire = Repertoire.of([NOTES.encode(A), NOTES.encode(B)], NOTES)

    def likeness(led: bool) -> float:
        found = []
        for seed in range(12):
            grammar = NoteGrammar(NOTES, repertoire, bars=8)
            grammar.reprise = Reprise(form) if led else None
            score = NOTES.decode(drawn(grammar.copy(), NOTES, seed))
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
    assert whole.with_piece(plain[0]).forms == whole.forms
    for wrong in (["- 1:x"], [""], None):
        with pytest.raises((ValueError, TypeError)):
            Repertoire.from_dict(whole.to_dict() | {"forms": wrong})


@pytest.mark.parametrize("share", [0.05, 0.4, 0.6, 0.95])
def test_a_mixture_has_forms_by_its_shares(share: float) -> None:
    plain = [NOTES.encode(tune(seed, bars=6)) for seed in range(3, 5)]
    loops = [NOTES.encode(_joined(tune(seed, bars=2), *[tune(seed, bars=2)] * 3)) for seed in range(60)]
    one, other = Repertoire.of(plain, NOTES), Repertoire.of(loops, NOTES)
    mixed = Repertoire.of(plain + loops, NOTES).among([one, other], [1 - share, share]).forms
    assert sum(form in other.forms for form in mixed) / len(mixed) == pytest.approx(share, abs=0.03)


def _task(music: Score | None = None, **changes: Any) -> NewPiece | Continuation:
    loops = [NOTES.encode(_joined(A, B, A, B)), NOTES.encode(_joined(B, A, A, B))]
    options = ComposeOptions(**{"bars": 8, **changes})
    task = task_of("prompt" if music else None, music, options, NOTES, Repertoire.of(loops, NOTES), None)
    assert isinstance(task, NewPiece | Continuation)
    return task


def _reprise(task: NewPiece | Continuation, number: int) -> Reprise | None:
    grammar = task.begin(number, 0)
    assert isinstance(grammar, NoteGrammar)
    return grammar.reprise


@pytest.mark.parametrize("music", [None, A])
def test_a_piece_takes_a_form_of_the_corpus_or_none(music: Score | None) -> None:
    drawn = [_reprise(_task(music), number) for number in range(12)]
    forms = [each.form for each in drawn if each is not None]
    assert len(forms) == 12 and len(set(map(str, forms))) == 2
    assert forms == [each.form for number in range(12) if (each := _reprise(_task(music), number))]
    assert _reprise(_task(music, form=FREE), 0) is None


def test_under_letters_the_metre_stays() -> None:
    for form, changes in ((None, True), ("AB", False)):
        grammar = _task(form=form).begin(0, 0)
        assert isinstance(grammar, NoteGrammar)
        assert (METRE_KIND in grammar.changes) == changes


def test_a_continuation_is_led_back_into_its_prompt() -> None:
    task = _task(_joined(A, B), form="AA", bars=4)
    grammar = task.begin(0, 0)
    assert isinstance(grammar, NoteGrammar) and grammar.reprise is not None
    event = [NOT_APPLICABLE] * len(NOTES.schema.fields)
    event[ONSET] = 4 * 48 - grammar.at.now
    tilt = grammar.reprise.tilt(grammar.at, KIND, event)
    assert tilt is not None and tilt == (NOTES.encode(A)[2, KIND], pull(SAME))


def test_silence_returns_as_well() -> None:
    """From the last note of a bar to the first of the next but one, if nothing begins in between."""
    quiet = A.notes[A.notes["onset"] < BAR].copy()
    quiet["onset"] += 2 * BAR
    opening = replace(A, notes=np.concatenate([A.notes[A.notes["onset"] < BAR], quiet]))
    grammar = NoteGrammar(NOTES, Repertoire.of([NOTES.encode(opening)], NOTES), bars=6)
    grammar.reprise = Reprise(Parts.parse("AA"))
    metre, tempo, *notes = [event for event in NOTES.encode(opening).tolist() if event[KIND] != END_KIND]
    for event in (metre, tempo, *notes):
        grammar.advance(event)
    first, *others = notes[: len(notes) // 2]
    for event in ([3 * 48 - grammar.at.now, *first[1:]], *others):
        grammar.advance(event)
    found = grammar.reprise.tilt(grammar.at, ONSET, [NOT_APPLICABLE] * 6)
    assert found is not None and grammar.at.now + found[0] == 5 * 48


def test_nothing_returns_over_a_change_of_metre() -> None:
    grammar = NoteGrammar(NOTES, Repertoire.of([NOTES.encode(A)], NOTES), bars=4)
    grammar.reprise = Reprise(Form((0, 1, 1, 1), (0.0, 0.9, 0.9, 0.9)))
    metre, tempo, *notes = [event for event in NOTES.encode(A).tolist() if event[KIND] != END_KIND]
    step = np.cumsum([event[ONSET] for event in notes])
    for event in (metre, tempo, *(note for note, at in zip(notes, step, strict=True) if at < 48)):
        grammar.advance(event)
    wait = 48 - grammar.at.now
    onset = [wait, *[NOT_APPLICABLE] * 5]
    assert grammar.reprise.tilt(grammar.at, KIND, onset) is not None
    grammar.advance([wait, METRE_KIND, metre[PITCH], *[NOT_APPLICABLE] * 3])
    assert grammar.reprise.tilt(grammar.at, KIND, [0, *[NOT_APPLICABLE] * 5]) is None


def test_copies_go_their_own_ways() -> None:
    grammar = NoteGrammar(NOTES, Repertoire.of([NOTES.encode(A)], NOTES), bars=4)
    grammar.reprise = Reprise(Parts.parse("AB"))
    other = grammar.copy()
    assert other.reprise is not grammar.reprise and other.reprise is not None
    assert other.reprise.form is grammar.reprise.form


def test_more_parts_than_bars_are_refused() -> None:
    with pytest.raises(InputError, match="3 bars are too few for the 4 parts of AABA"):
        _task(form="AABA", bars=3)
    assert _reprise(_task(form="AABA", bars=4), 0) is not None
    assert _reprise(_task(form="AABA", seconds=5.0), 0) is not None


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
