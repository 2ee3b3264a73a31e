"""The card (README.md) and the loss curve (SVG) of a model folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cadenza.moods import LEVELS, UNITS


def write_card(config: dict[str, Any], thirds: dict[str, tuple[float, float]]) -> str:
    """Markdown that says what the model is, what it learned from and how well; numbers from its config.

    thirds: where the lowest and the highest third of the corpus begin, of what moods are words for.
    """
    corpus, held_out, model = config["corpus"], config["held_out"], config["model"]
    people = config["originality"]
    fields = "\n".join(f"| {name} | {nats:.3f} |" for name, nats in held_out["by_field"].items())
    return f"""---
library_name: cadenza
tags: [music, midi, {model["architecture"]}]
---
# {corpus["folder"]}: a Cadenza model

{_NAMES[model["architecture"]]} of {model["layers"]} layers of {model["width"]} \
({config["parameters"]:,} parameters), preset `{config["preset"]}`, seed {config["seed"]}, {_start(config)} for \
{config["seconds"] / 60:.1f} minutes ({config["steps"]:,} steps, {config["epochs"]} epochs) by \
cadenza {config["cadenza_version"]}.

## What it learned from
{corpus["train_pieces"]} of {corpus["pieces"]} pieces with {corpus["notes"]:,} notes and {corpus["hours"]:.1f} \
hours; the other {corpus["held_out_pieces"]} were held out to judge it.

- Styles: {_counts(corpus["styles"])}
- Instruments: {_counts(corpus["instruments"])}
- Metres: {_counts(corpus["metres"])}
- Moods: {_moods(thirds)}
- Files left out: {_counts(corpus["skipped"])}
- Licence: as the files that it learned from; add it here before you share the model

## How well
Held-out likelihood, in nats per note ({held_out["notes"]:,} notes): **{held_out["nats_per_note"]:.3f}**

| field | nats per note |
|---|---|
{fields}

## Limits
It knows the styles above and no others, has no plan beyond a few bars, and may repeat passages of the
pieces that it learned from.

Of the first bars of {people["pieces"]} pieces by people, 95 in 100 share at most {people["notes"][1]:.0f} notes in a row \
with what it learned from (transposed or at another tempo); longer passages in what it composes may be memorised.

## Use
    cadenza compose THIS_FOLDER --out out --bars 16
"""


_NAMES = {"lstm": "An LSTM", "gru": "A GRU", "transformer": "A Transformer"}


def _start(config: dict[str, Any]) -> str:
    return f"gone on from the model `{config['base']['name']}` and trained" if config["base"] else "trained"


def _moods(thirds: dict[str, tuple[float, float]]) -> str:
    """What the words for levels stand for, in this corpus."""
    found = []
    for name, (low, high) in thirds.items():
        words = LEVELS[name]
        ends = "" if name == "mode" else f" (up to {low:.4g}, from {high:.4g} {UNITS[name]} on)"
        found.append(f"{words[0]} or {words[-1]}{ends}")
    return ", ".join(found) or "all pieces are alike"


def _counts(counts: dict[str, int], most: int = 12) -> str:
    named = [f"{name or 'no sub-folder'} ({count})" for name, count in list(counts.items())[:most]]
    more = f" and {len(counts) - most} more" if len(counts) > most else ""
    return ", ".join(named) + more if named else "none"


def loss_curve_svg(log: Sequence[dict[str, Any]], width: int = 720, height: int = 360) -> str:
    """Training and held-out nats per note over minutes, as an SVG."""
    margin = 50
    points = [(line["seconds"] / 60, line["train_nats"], line["held_out_nats"]) for line in log]
    right = max((m for m, _, _ in points), default=1.0) or 1.0
    values = [v for _, a, b in points for v in (a, b) if v is not None]
    low, high = min(values, default=0.0), max(values, default=1.0)
    high = high if high > low else low + 1.0

    def place(minutes: float, nats: float) -> str:
        x = margin + (width - 2 * margin) * minutes / right
        y = margin + (height - 2 * margin) * (high - nats) / (high - low)
        return f"{x:.1f},{y:.1f}"

    lines = []
    for column, colour, name in ((1, "#8a8a8a", "training"), (2, "#0072b2", "held out")):
        path = " ".join(place(p[0], p[column]) for p in points if p[column] is not None)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        lines.append(
            f'<text x="{width - margin}" y="{15 * column + 15}" text-anchor="end" fill="{colour}">{name}</text>'
        )
    labels = [
        f'<text x="{margin - 5}" y="{margin + 4}" text-anchor="end">{high:.2f}</text>',
        f'<text x="{margin - 5}" y="{height - margin + 4}" text-anchor="end">{low:.2f}</text>',
        f'<text x="{margin}" y="{height - margin + 20}">0</text>',
        f'<text x="{width - margin}" y="{height - margin + 20}" text-anchor="end">{right:.1f} minutes</text>',
        f'<text x="{margin}" y="25">nats per note</text>',
    ]
    axes = f'<path d="M{margin},{margin}V{height - margin}H{width - margin}" fill="none" stroke="#444"/>'
    body = "\n".join([axes, *lines, *labels])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="12" fill="#444" role="img">'
        f'<title>Loss curve</title>\n<rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n'
    )
