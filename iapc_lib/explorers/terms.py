"""Which loss terms see a pixel, and their symbols."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from iapc_lib.classes import IGNORE
from iapc_lib.explorers.parts import class_name
from iapc_lib.method.settings import Losses

TERM_NAMES = {
    "importance_aware": "L_IA",
    "prototype_symmetric_label": "L_PS1",
    "prototype_symmetric_similarity": "L_PS2",
    "prototype_enhanced": "L_PE",
    "information_maximization": "L_IM",
}


class PixelFacts(NamedTuple):
    """What is known of one pixel; classes are train ids."""

    pixel: tuple[int, int]
    """(row, column)."""
    cell: tuple[int, int]
    """(row, column) in the feature map."""
    similarity: np.ndarray
    """(K,) float, of its cell."""
    nearest: int
    predicted: int
    pseudo_label: int
    label: int | None
    """None where nobody labelled the picture; 255 where the pixel has no class."""
    importance: float

    @property
    def agree(self) -> bool:
        """Whether nearest prototype and pseudo-label are the same class."""
        return self.nearest == self.pseudo_label


class TermSeen(NamedTuple):
    """How one loss term meets one pixel."""

    name: str
    weight: float
    seen: bool
    """Whether the pixel adds to the term."""
    why: str
    """What the term wants of the pixel, or why it passes the pixel by."""


def terms_seen(facts: PixelFacts, losses: Losses) -> list[TermSeen]:
    """Which loss terms a pixel takes part in (method.md, 4)."""
    pseudo, nearest = class_name(facts.pseudo_label), class_name(facts.nearest)
    has_pseudo_label = facts.pseudo_label != IGNORE
    wanted = f"prediction towards pseudo-label: {pseudo}"
    missed = f"prototype ({nearest}) and pseudo-label ({pseudo}) disagree"
    if not has_pseudo_label:
        missed = "there is no pseudo-label"
    symmetric = losses.prototype_symmetric
    return [
        TermSeen(
            "L_IA",
            losses.importance_aware,
            has_pseudo_label,
            f"{wanted}, times importance {facts.importance:.2f}" if has_pseudo_label else missed,
        ),
        TermSeen("L_PS1", symmetric, True, f"prediction towards nearest prototype: {nearest}"),
        TermSeen(
            "L_PS2",
            symmetric,
            True,
            f"similarity towards prediction: {class_name(facts.predicted)}",
        ),
        TermSeen("L_PE", losses.prototype_enhanced, facts.agree, wanted if facts.agree else missed),
        TermSeen("L_IM", losses.information_maximization, True, "prediction towards certainty"),
    ]


def loss_symbol(name: str) -> str:
    """`L_PE` as a formula has it."""
    letter, _, index = name.partition("_")
    return f'<i>{letter}</i><sub style="line-height:0">{index}</sub>'
