"""The clocks of rotary positions (Su et al. 2021): which clock turns a pair of a query or key, in what period."""

from __future__ import annotations

# Periods are 2^n and 3 * 2^n, most of them musical when counted in grid steps. All of them divide CYCLE, so
# a clock may start again from 0 there and stays exact, however long the piece is.
CYCLE = 3 * 2**14
TIME, ORDER = 0, 1  # clocks: steps that have passed, events that have passed


def rotary_clocks(pairs: int, has_time: bool) -> tuple[list[int], list[float]]:
    """The clock and the period of each pair: half of them by time, if there is one, the others by order."""
    periods = sorted([2.0**n for n in range(1, 15)] + [3 * 2.0**n for n in range(15)])
    by_time = pairs // 2 if has_time else 0
    chosen = [periods[n % len(periods)] for n in [*range(by_time), *range(pairs - by_time)]]
    return [TIME] * by_time + [ORDER] * (pairs - by_time), chosen
