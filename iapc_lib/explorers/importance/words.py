"""What the importance explorer says: lines of plain text, captions and tables as HTML."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np

from iapc_lib.explorers.importance.facts import ClassShares, PixelTrust
from iapc_lib.explorers.parts import BLUE, ORANGE, bar_cell, block, color_scale, square, swatch

INPUT = block("input: hover, or click a pixel")


NO_LABELS = "This picture has no labels: what is right is not known."


CELL = "white-space:nowrap;padding:0 0.8em 0 0.3em"
"""Style of a table's cells."""


def number(value: float, decimals: int = 3) -> str:
    """Value with its decimals; a small one with three digits, so that a formula can be followed."""
    text = f"{value:.{decimals}f}" if value == 0 or abs(value) >= 0.1 else f"{value:.3g}"
    return text.replace("-", "−")


def percent(share: float) -> str:
    """A share as text; NaN, the share of nothing, is `none`."""
    return "none" if math.isnan(share) else f"{share:.1%}"


def labels_text(labelling: str, kept: np.ndarray) -> str:
    """Caption of the labels; `kept` is (H, W) bool."""
    return block(f"{labelling}: {kept.mean():.1%} of it stays")


def importance_text(weight: np.ndarray, low: float, high: float) -> str:
    """Caption of a map of weights (H, W): its scale, and what lies outside 0..1."""
    beyond = [(weight > 1, "above 1"), (weight < 0, "below 0")]
    odd = ", ".join(f"{where.mean():.1%} {name}" for where, name in beyond if where.any())
    return block(f"importance, {color_scale(low, high)}{odd and f' &nbsp; {odd}'}")


def verdict_text(shares: ClassShares) -> str:
    """Caption of the picture of right and wrong labels; shares are those of all classes."""
    rates = ((BLUE, "right", shares.right_kept), (ORANGE, "wrong", 1 - shares.right_kept))
    parts = (f"{square(color)}{percent(rate)} {name}" for color, name, rate in rates)
    return block(f"what stays: {', '.join(parts)}")


def formula(facts: PixelTrust, definition: str, number_of_classes: int) -> list[str]:
    """Lines that work out the importance with a pixel's numbers."""
    result = number(facts.importance)
    if definition == "entropy":
        largest = number(math.log(number_of_classes))
        return [
            f"H = −Σ p ln p = {number(facts.entropy)}, of all {number_of_classes} classes",
            f"I = 1 − H / ln {number_of_classes} = 1 − {number(facts.entropy)} / {largest} = "
            f"{result}",
        ]
    if definition == "first":
        return [f"I = p₁ = {result}"]
    if definition == "second":
        return [f"I = 1 − p₂ = 1 − {number(facts.probabilities[1])} = {result}"]
    letter = "z" if definition == "logits" else "p"
    values = facts.logits if definition == "logits" else facts.probabilities
    # Of two numbers that are nearly the same the ratio needs more digits.
    decimals = 3 if abs(facts.importance) >= 0.05 else 5
    first, second = (number(value, decimals) for value in values)
    first, second = (f"({value})" if value.startswith("−") else value for value in (first, second))
    lines = [f"I = 1 − {letter}₂ / {letter}₁ = 1 − {second} / {first} = {result}"]
    if facts.importance > 1:
        lines.append("Above 1, for z₁ > 0 > z₂: it counts more than a sure one.")
    if facts.importance < 0:
        lines.append("Negative: L_IA would push the prediction away from the pseudo-label.")
    return lines


def decision(facts: PixelTrust, exponent: float, threshold: float) -> str:
    """Whether the pixel stays, with the comparison that decides it."""
    fate = f"≥ {threshold:.2f}: stays" if facts.kept else f"< {threshold:.2f}: falls out"
    if exponent == 1:
        return f"I = {number(facts.importance)} {fate}"
    # The sign stays outside, see `weight_of`.
    sign, size = "−" if facts.importance < 0 else "", number(abs(facts.importance))
    return f"weight = {sign}{size}^{exponent:g} = {number(facts.weight)} {fate}"


def pixel_text(
    facts: PixelTrust,
    pixel: tuple[int, int],
    definition: str,
    exponent: float,
    threshold: float,
    number_of_classes: int,
    hovered: bool,
) -> str:
    """The two leading classes of a pixel, and how its importance follows from them."""
    heads = ("", "leading class", "logit z", "probability p")
    leading = zip(facts.classes, facts.logits, facts.probabilities, strict=True)
    rows = [
        (f"{rank}", swatch(train_id), number(logit), number(probability))
        for rank, (train_id, logit, probability) in enumerate(leading, start=1)
    ]
    truth = "not known, no labels" if facts.label is None else swatch(facts.label)
    lines = [
        *map(html.escape, formula(facts, definition, number_of_classes)),
        html.escape(decision(facts, exponent, threshold)),
        f"pseudo-label: {swatch(facts.pseudo_label)}",
        f"true class: {truth}",
    ]
    return block(
        f"<b>pixel: row {pixel[0]}, column {pixel[1]}</b>, "
        f"{'under the mouse' if hovered else 'picked'}{_table(heads, rows)}"
        f"{'<br>'.join(lines)}",
        line_height=1.5,
    )


def shares_table(shares: Sequence[ClassShares], labelled: bool) -> str:
    """A row for all classes and for each: how much of it stays and, with labels, what is right."""
    heads = ["labelled as", "pixels", ("stay", 2)]
    if labelled:
        heads += [("right of those<br>that stay", 2), ("right of those<br>that fall out", 2)]
    rows = []
    for row in shares:
        name = "<b>all classes</b>" if row.train_id is None else swatch(row.train_id)
        cells = [name, f"{row.pixels}", *_share(row.kept)]
        if labelled:
            cells += [*_share(row.right_kept), *_share(row.right_dropped)]
        rows.append(cells)
    return _table(heads, rows) + ("" if labelled else NO_LABELS)


def _share(share: float) -> tuple[str, str]:
    """A bar and its number; no bar for NaN, where there is no pixel to count."""
    bar = "<td></td>" if math.isnan(share) else bar_cell(share, width="3em")
    return bar, percent(share)


def _table(heads: Sequence[str | tuple[str, int]], rows: Sequence[Sequence[str]]) -> str:
    """Cells that are not yet `<td>` become one; a head may say how many columns it spans."""
    head = ""
    for text in heads:
        text, span = text if isinstance(text, tuple) else (text, 1)
        head += f'<th colspan="{span}" style="text-align:left;{CELL}">{text}</th>'
    cell = f'<td style="{CELL}">'
    body = (
        "".join(text if text.startswith("<td") else f"{cell}{text}</td>" for text in row)
        for row in rows
    )
    lines = "".join(f"<tr>{cells}</tr>" for cells in (head, *body))
    return f'<table style="line-height:1.25">{lines}</table>'
