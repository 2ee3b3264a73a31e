"""Laws of the networks, in torch and as exported graphs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from cadenza.dataset import AugmentedScores, padded_batches, value_counts
from cadenza.errors import InputError, ModelError
from cadenza.evaluation import evaluate_graph
from cadenza.events import NoteEvents
from cadenza.graph import BLOCK, eight_bits, halved
from cadenza.models import LanguageModel, ModelConfig, build_model
from cadenza.models.language_model import Dropout
from cadenza.models.transformer import attention
from cadenza.presets import ARCHITECTURES
from cadenza.rotary import CYCLE
from cadenza.runtime import GraphModel, GraphState, Stepper
from cadenza.training import evaluate_model, write_graphs
from music import random_score, tune

REPRESENTATION = NoteEvents(microtiming=True)


def _model(architecture: str, residual: bool = True) -> LanguageModel:
    torch.manual_seed(1)
    config = ModelConfig(
        architecture, width=24, layers=2, head_width=12, heads=3, memory=8, residual_heads=residual
    )
    return build_model(config, REPRESENTATION.schema).eval()


def _told(field: int) -> list[int]:
    """Columns of the context that are known once this field is."""
    return [len(REPRESENTATION.schema.fields) + c for c in REPRESENTATION.schema.context_after(field)]


def _batch(n: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    pieces = [REPRESENTATION.encode_piece(random_score(seed, 40 + 9 * seed)) for seed in range(n)]
    batch = padded_batches(pieces)[0]
    return torch.from_numpy(batch.events), torch.from_numpy(batch.context)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_stepping_equals_one_full_pass(architecture: str) -> None:
    model = _model(architecture)
    events, context = _batch()
    whole, after = model(events, context)
    state, pieces = None, []
    for at in (slice(0, 1), slice(1, 2), slice(2, 30), slice(30, None)):
        hidden, state = model(events[:, at], context[:, at], state)
        pieces.append(hidden)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-5, rtol=1e-4)
    for one, other in zip(after, state or (), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_the_transformers_clocks_start_again_without_a_trace() -> None:
    model = _model("transformer")
    events, context = _batch()
    expected, after = model(events, context)
    state = model.initial_state(len(events))
    state[-1][:] = CYCLE - 5
    late, late_after = model(events, context, state)
    torch.testing.assert_close(late, expected, atol=1e-5, rtol=1e-4)
    assert [part.shape for part in after] == [part.shape for part in state]
    assert late_after[-1].max() < CYCLE


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_prediction_does_not_depend_on_later_fields_or_events(architecture: str) -> None:
    model = _model(architecture)
    events, context = _batch(1)
    hidden, _ = model(events[:, :-1], context[:, :-1])
    logits = model.logits(hidden, events[:, 1:], context[:, 1:])
    for k in range(len(REPRESENTATION.schema.fields)):
        changed, changed_context = events.clone(), context.clone()
        changed[:, 10, k:] = 0
        later = [c for c, f in enumerate(REPRESENTATION.schema.context) if f.after >= k]
        changed_context[:, 10, later] = 0
        hidden, _ = model(changed[:, :-1], changed_context[:, :-1])
        again = model.logits(hidden, changed[:, 1:], changed_context[:, 1:])
        for j in range(k + 1):
            torch.testing.assert_close(again[j][:, :10], logits[j][:, :10])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("residual", [True, False])
def test_exported_graphs_equal_the_network(architecture: str, residual: bool, tmp_path: Path) -> None:
    model = _model(architecture, residual)
    weights = dict(model.state_dict())
    write_graphs(tmp_path, weights, asdict(model.config), REPRESENTATION, ("fp32",))
    graph = GraphModel(tmp_path / "graph-fp32", REPRESENTATION.schema)
    events, context = _batch()
    with torch.no_grad():
        expected, _ = model(events, context)
        logits = model.logits(expected[:, :-1], events[:, 1:], context[:, 1:])
    columns = torch.cat([events, context], dim=2).numpy()
    state = graph.initial_state(len(events))
    for n in range(events.shape[1]):
        x, first_logits, state = graph.advance(columns[:, n : n + 1], state)
        np.testing.assert_allclose(x[:, 0], expected[:, n].numpy(), atol=1e-4)
        if n < logits[0].shape[1]:
            np.testing.assert_allclose(first_logits[:, 0], logits[0][:, n].numpy(), atol=1e-4)
    x = expected[:, 4].numpy()
    for k, field_logits in list(enumerate(logits))[1:]:
        told = REPRESENTATION.schema.context_after(k - 1)
        known = torch.cat([events[:, 5, k - 1 : k], context[:, 5, told]], dim=1).numpy()
        x, found = graph.field_logits(k, x, known)
        np.testing.assert_allclose(found, field_logits[:, 4].numpy(), atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_exported_graphs_take_events_in_parts_of_any_length(architecture: str, tmp_path: Path) -> None:
    """Fewer and more than the Transformer remembers, and across the end of its clocks' cycle."""
    model = _model(architecture)
    write_graphs(tmp_path, dict(model.state_dict()), asdict(model.config), REPRESENTATION, ("fp32",))
    graph = GraphModel(tmp_path / "graph-fp32", REPRESENTATION.schema)
    events, context = _batch()
    columns = torch.cat([events, context], dim=2).numpy()
    with torch.no_grad():
        expected, _ = model(events, context)
    for start in (0, CYCLE - 13):
        state = graph.initial_state(len(events))
        if "state_clocks" in state:
            state["state_clocks"][:, 1] = start
        parts = []
        for at in (slice(0, 3), slice(3, 4), slice(4, 6), slice(6, 30), slice(30, None)):
            x, _, state = graph.advance(columns[:, at], state)
            parts.append(x)
        np.testing.assert_allclose(np.concatenate(parts, axis=1), expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("start", [0, CYCLE - 25], ids=["from the start", "across the clocks' end"])
def test_a_stepper_equals_the_graphs_also_when_candidates_leave_and_begin_anew(
    start: int, architecture: str, tmp_path: Path
) -> None:
    model = _model(architecture)
    write_graphs(tmp_path, dict(model.state_dict()), asdict(model.config), REPRESENTATION, ("fp32",))
    graph = GraphModel(tmp_path / "graph-fp32", REPRESENTATION.schema)
    events, context = (part.numpy() for part in _batch())
    columns = np.concatenate([events, context], axis=2)
    told = columns[:1, :20]

    def at_first() -> GraphState:
        state = graph.initial_state(1)
        if "state_clocks" in state:
            state["state_clocks"][:] = start
        return state

    x, logits, state = graph.advance(told, at_first())
    steps = Stepper(graph, state, x[:, -1], logits[:, -1], 3)
    rows, begun = [0, 1, 2], [20, 20, 20]  # what each of them is given, and from when on
    for n in range(20, 45):
        if n == 27:
            steps.keep([2, 0])
            rows, begun = [2, 0], [20, 20]
        first = steps.advance(columns[rows, n].tolist())
        if n == 31:
            steps.restart(1)
            begun[1] = n + 1
        for place, (row, since) in enumerate(zip(rows, begun, strict=True)):
            heard = np.concatenate([told, columns[row : row + 1, since : n + 1]], axis=1)
            x, expected, _ = graph.advance(heard, at_first())
            np.testing.assert_allclose(first[place], expected[0, -1], atol=1e-4)
            hidden = x[:, -1]
            for k in range(1, len(REPRESENTATION.schema.fields)):
                known = columns[rows, n][:, [k - 1, *_told(k - 1)]]
                hidden, wanted = graph.field_logits(k, hidden, known[place : place + 1])
                found = steps.field_logits(k, known.tolist())
                np.testing.assert_allclose(found[place], wanted[0], atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_predicted_does_not_depend_on_who_is_beside_a_candidate_nor_on_who_had_its_place(
    architecture: str, precision: str, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    config = ModelConfig(architecture, width=192, layers=2, head_width=192, heads=6, memory=64)
    weights = dict(build_model(config, REPRESENTATION.schema).state_dict())
    write_graphs(tmp_path, weights, asdict(config), REPRESENTATION, (precision,))
    graph = GraphModel(tmp_path / f"graph-{precision}", REPRESENTATION.schema)
    events, context = (part.numpy() for part in _batch(8))
    columns = np.concatenate([events, context], axis=2)
    x, logits, state = graph.advance(columns[:1, :1], graph.initial_state(1))
    predicted = []
    for company, begun in ((1, 1), (2, 1), (3, 1), (8, 1), (8, 30), (8, 97)):
        steps, found = Stepper(graph, state, x[:, -1], logits[:, -1], company), []
        for n in range(1, begun):
            steps.advance(columns[range(company), n % 40].tolist())
        if begun > 1:
            steps.restart(0)
        for n in range(1, 40):
            rows = [k % 8 for k in range(7, 7 + company)]  # the first of them is always the same one
            found.append(steps.advance(columns[rows, n].tolist())[0].tobytes())
            for k in range(1, len(REPRESENTATION.schema.fields)):
                known = columns[rows, n][:, [k - 1, *_told(k - 1)]]
                found.append(steps.field_logits(k, known.tolist())[0].tobytes())
        predicted.append(found)
    assert all(found == predicted[0] for found in predicted)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_likelihood_is_the_same_from_torch_and_from_graphs_and_close_in_small_ones(
    architecture: str, tmp_path: Path
) -> None:
    model = _model(architecture)
    write_graphs(tmp_path, dict(model.state_dict()), asdict(model.config), REPRESENTATION, ("fp32", "int8"))
    (tmp_path / "graph-half").mkdir()
    for path in (tmp_path / "graph-fp32").iterdir():
        (tmp_path / "graph-half" / path.name).write_bytes(halved(onnx.load(path)).SerializeToString())
    pieces = [REPRESENTATION.encode_piece(tune(seed)) for seed in range(5)]
    ours = evaluate_model(model, REPRESENTATION, padded_batches(pieces, 200), torch.device("cpu"))
    for precision, loss in (("fp32", 1e-4), ("half", 0.01), ("int8", 0.2)):
        graph = GraphModel(tmp_path / f"graph-{precision}", REPRESENTATION.schema)
        found = evaluate_graph(graph, REPRESENTATION, pieces)
        assert found.notes == ours.notes == sum(len(tune(seed)) for seed in range(5))
        assert found.nats_per_note == pytest.approx(ours.nats_per_note, abs=loss)
        assert sum(found.by_field().values()) == pytest.approx(found.nats_per_note)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_before_anything_is_learned_values_are_as_likely_as_they_are_frequent(architecture: str) -> None:
    events = NoteEvents()
    source = AugmentedScores([tune(n, bars=4) for n in range(6)], events, None, seed=0)
    counts = value_counts(source, events.schema)
    assert [int(c.sum()) for c in counts[:2]] == [sum(len(source.draw(n)) for n in range(6))] * 2
    torch.manual_seed(0)
    model = build_model(ModelConfig(architecture, width=32, layers=1, head_width=32), events.schema)
    batches, cpu = padded_batches([source.draw(0)]), torch.device("cpu")
    fresh = evaluate_model(model, events, batches, cpu).nats_per_note
    model.guess(counts)
    entropy = sum(float(-(c / c.sum() * np.log((c + 1) / (c + 1).sum())).sum()) for c in counts)
    assert evaluate_model(model, events, batches, cpu).nats_per_note < min(fresh - 3, entropy + 3)


def test_a_memory_that_the_clocks_cannot_count_is_refused() -> None:
    with pytest.raises(InputError, match="memory 100"):
        build_model(ModelConfig("transformer", width=24, heads=3, memory=100), REPRESENTATION.schema)


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(InputError, match="unknown model"):
        ModelConfig("perceptron")


def test_a_damaged_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trunk.onnx").write_bytes(b"not a graph")
    with pytest.raises(ModelError, match="not a usable graph"):
        GraphModel(tmp_path, REPRESENTATION.schema)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.999])
def test_dropout_drops_its_share_and_keeps_the_mean(share: float) -> None:
    torch.manual_seed(0)
    dropout, x = Dropout(share), torch.ones(1000, 1001)
    dropped = dropout(x)
    assert (dropped == 0).float().mean().item() == pytest.approx(share, abs=0.005)
    assert dropped.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.corrcoef(torch.stack([dropped[:, :-1].ravel(), dropped[:, 1:].ravel()]))[0, 1].abs() < 0.02
    assert torch.equal(dropout.eval()(x), x)
    torch.manual_seed(0)
    assert torch.equal(dropout.train()(x), dropped)


def test_attention_written_out_is_the_fused_one() -> None:
    torch.manual_seed(0)
    query, keys, values = (torch.randn(2, n, 3, 8) for n in (5, 9, 9))
    mask = torch.arange(9) <= torch.arange(5)[:, None] + 4
    with torch.no_grad():
        fused = attention(query, keys, values, mask.expand(2, 1, 5, 9))
    with torch.autocast("cpu", torch.bfloat16):
        written = attention(query.requires_grad_(), keys, values, mask.expand(2, 1, 5, 9))
    assert torch.allclose(written.float(), fused, atol=0.03)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_in_bfloat16_stepping_equals_one_full_pass_within_its_rounding(architecture: str) -> None:
    model = _model(architecture)
    events, context = _batch()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        whole, _ = model(events, context)
        first, state = model(events[:, :20], context[:, :20])
        rest, _ = model(events[:, 20:], context[:, 20:], state)
    torch.testing.assert_close(torch.cat([first, rest], dim=1), whole, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("width", [1, BLOCK, BLOCK + 3])
def test_eight_bits_are_half_a_step_off_at_most(width: int) -> None:
    matrix = np.random.default_rng(0).normal(size=(5, width)).astype(np.float32)
    matrix[2] = 0
    numbers, scales = eight_bits(matrix)
    back = ((numbers.astype(np.float32) - 128) * scales[..., None]).reshape(5, -1)[:, :width]
    step = scales.repeat(BLOCK, axis=1)[:, :width]
    assert (np.abs(back - matrix) <= 0.5001 * step).all()
