"""What the importance explorer says: lines of plain text, captions and tables as HTML."""

import html
import math
from collections.abc import Sequence

import numpy as np

from iapc_lib.explorers.gallery import Picture
from iapc_lib.explorers.importance.facts import ClassShares, PixelImportance
from iapc_lib.explorers.parts import (
    block,
    color_scale,
    legend,
    percent,
    swatch,
    table,
)

NO_LABELS = "This picture has no labels: what is right is not known."


def number(value: float, decimals: int = 3) -> str:
    """Value with its decimals; a small one with three digits, so that a formula can be followed."""
    text = f"{value:.{decimals}f}" if value == 0 or abs(value) >= 0.1 else f"{value:.3g}"
    return text.replace("-", "−")


def importance_text(importance: np.ndarray, low: float, high: float) -> str:
    """Caption of an importance map (H, W): its scale, and what lies outside 0..1."""
    beyond = [(importance > 1, "above 1"), (importance < 0, "below 0")]
    odd = ", ".join(f"{where.mean():.1%} {name}" for where, name in beyond if where.any())
    return f"importance, {color_scale(low, high)}{odd and f' &nbsp; {odd}'}"


def correctness_text(shares: ClassShares) -> str:
    """Caption of the picture of right and wrong labels; shares are those of all classes."""
    right, wrong = percent(shares.right_kept), percent(1 - shares.right_kept)
    return f"what stays: {legend(f'{right} right', f'{wrong} wrong')}"


def reading(shares: ClassShares, labelled: bool) -> str:
    """What the threshold does to all classes together, in a sentence."""
    text = f"<b>{percent(shares.kept)}</b> of the pixels stay."
    if labelled:
        text += (
            f" Of these <b>{percent(shares.right_kept)}</b> are right, of those that fall out "
            f"<b>{percent(shares.right_dropped)}</b>."
        )
    return text


def formula(facts: PixelImportance, definition: str, number_of_classes: int) -> list[str]:
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
        return [f"I = p₍₁₎ = {result}"]
    if definition == "second":
        return [f"I = 1 − p₍₂₎ = 1 − {number(facts.probabilities[1])} = {result}"]
    if definition == "none":
        return ["I = 1, whatever the network says"]
    letter = "z" if definition == "logits" else "p"
    values = facts.logits if definition == "logits" else facts.probabilities
    # Of two numbers that are nearly the same the ratio needs more digits.
    decimals = 3 if abs(facts.importance) >= 0.05 else 5
    first, second = (number(value, decimals) for value in values)
    first, second = (f"({value})" if value.startswith("−") else value for value in (first, second))
    lines = [f"I = 1 − {letter}₍₂₎ / {letter}₍₁₎ = 1 − {second} / {first} = {result}"]
    if facts.importance > 1:
        lines.append("Above 1, for z₍₁₎ > 0 > z₍₂₎: it counts more than a sure one.")
    if facts.importance < 0:
        lines.append("Negative: L_IA would push the prediction away from the pseudo-label.")
    return lines


def decision(importance: float, threshold: float, kept: bool) -> str:
    """Whether a pixel stays, with the comparison that decides it."""
    fate = f"≥ {threshold:.2f}: stays" if kept else f"< {threshold:.2f}: falls out"
    return f"I = {number(importance)} {fate}"


def pixel_text(
    heading: str, facts: PixelImportance, lines: Sequence[str], picture: Picture, pixel
) -> str:
    """The two leading classes of a pixel (row, column), and what follows from them.

    Args:
        heading: HTML.
        facts: of the pixel.
        lines: plain text, see `formula` and `decision`.
        picture: with its labels.
    """
    leading = table(
        {
            "": ["1", "2"],
            "leading class": map(swatch, facts.classes),
            "logit z": facts.logits,
            "probability p": facts.probabilities,
        },
        dict.fromkeys(("logit z", "probability p"), number),
    )
    truth = "not known, no labels" if picture.label is None else swatch(picture.label[pixel])
    lines = [
        *map(html.escape, lines),
        f"pseudo-label: {swatch(picture.pseudo_label[pixel])}",
        f"true class: {truth}",
    ]
    return block(f"{heading}{leading}{'<br>'.join(lines)}")


def shares_table(shares: Sequence[ClassShares], labelled: bool) -> str:
    """A row for all classes and for each: how much of it stays and, with labels, what is right."""
    names = [
        "<b>all classes</b>" if row.train_id is None else swatch(row.train_id) for row in shares
    ]
    columns = {"labelled as": names, "pixels": [row.pixels for row in shares]}
    rates = {"stay": [row.kept for row in shares]}
    if labelled:
        rates["right of those<br>that stay"] = [row.right_kept for row in shares]
        rates["right of those<br>that fall out"] = [row.right_dropped for row in shares]
    made = table(
        columns | rates,
        {"pixels": str, **dict.fromkeys(rates, percent)},
        dict.fromkeys(rates, (0, 1)),
    )
    return made + ("" if labelled else NO_LABELS)
