"""What explorers call losses and kinds of importance, and which losses see a pixel."""

from typing import NamedTuple

from iapc_lib.classes import IGNORE
from iapc_lib.explorers.parts import class_name
from iapc_lib.method.objective import TERMS
from iapc_lib.method.settings import Losses

IMPORTANCE_NAMES = {
    "logits": "logit ratio (published code)",
    "probabilities": "probability ratio (paper)",
    "first": "first probability only",
    "second": "second probability only",
    "none": "none: every pixel alike",
}
"""Names of the kinds of `importance_map`."""


class PixelFacts(NamedTuple):
    """What decides which losses see a pixel; classes are train ids."""

    nearest: int
    """Class of the nearest prototype."""
    predicted: int
    pseudo_label: int
    importance: float

    @property
    def agree(self) -> bool:
        """Whether nearest prototype and pseudo-label are the same class."""
        return self.nearest == self.pseudo_label


class TermSeen(NamedTuple):
    """How one loss term meets one pixel."""

    name: str
    """Of `method.objective.TERMS`."""
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
    sure = f"{wanted}, times importance {facts.importance:.2f}" if has_pseudo_label else missed
    resembled = f"prediction towards nearest prototype: {nearest}"
    predicted = f"similarity towards prediction: {class_name(facts.predicted)}"
    symmetric = losses.prototype_symmetric
    return [
        TermSeen("importance_aware", losses.importance_aware, has_pseudo_label, sure),
        TermSeen("prototype_symmetric_label", symmetric, True, resembled),
        TermSeen("prototype_symmetric_similarity", symmetric, True, predicted),
        TermSeen(
            "prototype_enhanced",
            losses.prototype_enhanced,
            facts.agree,
            wanted if facts.agree else missed,
        ),
        TermSeen(
            "information_maximization",
            losses.information_maximization,
            True,
            "prediction towards certainty",
        ),
    ]


def loss_symbol(name: str) -> str:
    """HTML: the symbol of one of the `TERMS`, as a formula has it."""
    letter, _, index = TERMS[name].partition("_")
    return f'<i>{letter}</i><sub style="line-height:0;font-size:70%;vertical-align:-0.2em">{index}</sub>'
