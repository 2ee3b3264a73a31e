"""Held-out likelihood in nats per note, field by field, from a trained model's graphs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cadenza.dataset import Batch, Representation, padded_batches
from cadenza.events import EncodedPiece, NoteEvents
from cadenza.runtime import FloatArray, GraphModel, no_numbers
from cadenza.schema import NOT_APPLICABLE, Schema
from cadenza.vocabulary import END_KIND, KIND, METRE_KIND, REST_KIND, TEMPO_KIND

_OTHER_EVENTS = {METRE_KIND: "metre", TEMPO_KIND: "tempo", REST_KIND: "rest", END_KIND: "end"}


@dataclass
class Likelihood:
    """Sums over pieces: nats by field, and how many notes they were spent on."""

    nats: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    notes: int = 0

    def add(self, representation: Representation, events: NDArray[Any], nats: NDArray[Any]) -> None:
        """Count the nats (N, fields) of predicted events (N, fields).

        A note's nats go to its fields; all nats of a metre, tempo, rest or end event to that name.
        The unit is the note; in representations without notes it is the event.
        """
        exists = events[:, 0] != NOT_APPLICABLE
        events, nats = events[exists], nats[exists].astype(np.float64)
        is_note = np.ones(len(events), bool)
        if isinstance(representation, NoteEvents):
            for kind, name in _OTHER_EVENTS.items():
                rows = events[:, KIND] == kind
                self.nats[name] += float(nats[rows].sum())
                is_note &= ~rows
        for k, column in enumerate(representation.schema.fields):
            self.nats[_display_name(column.name)] += float(nats[is_note, k].sum())
        self.notes += int(is_note.sum())

    @property
    def nats_per_note(self) -> float:
        """Total over fields."""
        return sum(self.nats.values()) / max(1, self.notes)

    def by_field(self) -> dict[str, float]:
        """Nats per note of each field."""
        return {name: nats / max(1, self.notes) for name, nats in self.nats.items()}


def _display_name(field_name: str) -> str:
    return "instrument" if field_name == "kind" else field_name


def evaluate_graph(
    model: GraphModel, representation: Representation, pieces: Sequence[EncodedPiece]
) -> Likelihood:
    """Likelihood of whole pieces, each from its start."""
    likelihood = Likelihood()
    for batch in padded_batches(pieces):
        columns = np.concatenate([batch.events, batch.context], axis=2)[:, :-1]
        x, logits, _ = model.advance_far(columns, model.initial_state(len(columns)))
        nats = _nats(model, representation.schema, x, logits, batch)
        if not np.isfinite(nats).all():
            raise no_numbers(model)
        for row, events in enumerate(batch.events[:, 1:]):
            likelihood.add(representation, events, nats[row])
    return likelihood


def _nats(
    model: GraphModel, schema: Schema, hidden: FloatArray, first_logits: FloatArray, batch: Batch
) -> NDArray[np.float64]:
    """-log p (B, T, fields) of the batch's targets, 0 where a field does not apply."""
    targets, contexts = batch.events[:, 1:], batch.context[:, 1:]
    shape = targets.shape
    x = np.ascontiguousarray(hidden.reshape(-1, hidden.shape[-1]))
    logits = first_logits.reshape(len(x), -1)
    flat = targets.reshape(-1, shape[-1])
    context = contexts.reshape(len(flat), contexts.shape[-1])
    nats = np.zeros(flat.shape)
    for k in range(shape[-1]):
        if k > 0:
            known = [flat[:, k - 1, None], context[:, schema.context_after(k - 1)]]
            x, logits = model.field_logits(k, x, np.concatenate(known, axis=1))
        highest = logits.max(axis=1)
        log_total = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
        rows = np.flatnonzero(flat[:, k] != NOT_APPLICABLE)
        nats[rows, k] = log_total[rows] - logits[rows, flat[rows, k]]
    return nats.reshape(shape)
