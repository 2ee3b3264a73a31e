"""Schema: the shape of an event, all that models and sampling know of music.

An event is a tuple of categorical fields, predicted one after the other. Beside it stands a context:
categorical facts that follow from the events so far, such as the position in the bar. Each is known
as soon as a certain field of its event is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

NOT_APPLICABLE = -1  # the value of a field that an event of its kind does not have
NEVER = -1e30  # added to the logit of what must not be drawn; finite, so that differences stay numbers


@dataclass(frozen=True)
class Field:
    """A categorical variable with values 0 .. size - 1, or NOT_APPLICABLE.

    spread: that its chances are spread over many values, each of them unlikely, which min-p therefore leaves in.
    """

    name: str
    size: int
    spread: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class ContextField(Field):
    """A fact that is known once field number `after` of its event is.

    like: the name of another one, known at the same time, that is told to the network in the same vectors.
    """

    after: int = 0
    like: str | None = None


def rows_of(columns: Sequence[Field]) -> tuple[list[int], int]:
    """Where in a table the vectors of each column's value 0 stand, each after one for "not applicable", and the
    table's size; columns that are `like` another one share its vectors."""
    starts: dict[str, int] = {}
    found, size = [], 0
    for column in columns:
        name = column.like if isinstance(column, ContextField) and column.like else column.name
        if name not in starts:
            starts[name] = size + 1
            size += column.size + 1
        found.append(starts[name])
    return found, size


@dataclass(frozen=True)
class Schema:
    """Fields of an event in the order in which they are predicted, and of its context."""

    fields: tuple[Field, ...]
    context: tuple[ContextField, ...] = ()
    clock: int | None = None  # the field that tells how much time has passed since the event before

    @cached_property
    def _context_after(self) -> list[list[int]]:
        numbered = list(enumerate(self.context))
        return [[c for c, column in numbered if column.after == k] for k in range(len(self.fields))]

    def context_after(self, field: int) -> list[int]:
        """Numbers of the context fields that are known once this field is."""
        return self._context_after[field]
