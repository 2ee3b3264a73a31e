"""The clocks of rotary positions (Su et al. 2021): which clock turns a pair of a query or key, in what period."""

from __future__ import annotations

# Periods are 2^n and 3 * 2^n, most of them musical when counted in grid steps. All of them divide CYCLE, so
# a clock may start again from 0 there and stays exact, however long the piece is.
CYCLE = 3 * 2**14
TIME, ORDER = 0, 1  # clocks: steps that have passed, events that have passed

_PERIODS = sorted([2.0**n for n in range(1, 15)] + [3 * 2.0**n for n in range(15)])


def rotary_clocks(pairs: int, has_time: bool) -> tuple[list[int], list[float]]:
    """The clock and the period of each pair: half of them by time, if there is one, the others by order."""
    by_time = pairs // 2 if has_time else 0
    by_order = pairs - by_time
    return [TIME] * by_time + [ORDER] * by_order, _spread(by_time) + _spread(by_order)


def _spread(count: int) -> list[float]:
    """So many periods, from short ones that tell neighbours apart to CYCLE, within which nothing looks alike."""
    last = len(_PERIODS) - 1
    return [_PERIODS[last - n * last // max(1, count - 1)] for n in reversed(range(count))]
