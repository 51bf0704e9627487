"""Prototypes, and agreement with them."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from iapc_lib.findings.wording import listed


def alike(maps: np.ndarray, names: Sequence[str]) -> str:
    """Which two of some maps are bright in the same places, and which apart.

    Args:
        maps: (n, h, w) cosines.
        names: of the n classes.
    """
    said = f"The cosines lie between {maps.min():.2f} and {maps.max():.2f}."
    if len(maps) < 2:
        return said
    correlation = np.corrcoef(maps.reshape(len(maps), -1))
    pairs = [(i, j) for i in range(len(maps)) for j in range(i)]
    near, far = (pick(pairs, key=lambda p: correlation[p]) for pick in (max, min))
    return (
        f"{said} Most alike are the maps of {names[near[1]]} and {names[near[0]]} (correlation "
        f"{correlation[near]:.2f}), least those of {names[far[1]]} and {names[far[0]]} "
        f"({correlation[far]:.2f})."
    )


def nearest_at_the_error(
    prototype: np.ndarray, truth: np.ndarray, called: np.ndarray, pair: tuple[str, str] | None
) -> str:
    """What the nearest prototype says where the pseudo-label takes one class for another.

    Args:
        prototype: (P,) names of classes; `truth` and `called` (by the pseudo-label) alike.
        pair: true and called class; None where no class is called another one.
    """
    if pair is None:
        return "No class is called another one."
    true, other = pair
    error = (truth == true) & (called == other)
    if not error.any():
        return f"No {true} is called {other}."
    same, mends = np.mean(prototype[error] == other), np.mean(prototype[error] == true)
    return (
        f"Where the pseudo-label calls {true} {other}, the nearest prototype says {other}, too, in "
        f"{same:.0%} of the pixels, and {true} in {mends:.0%}."
    )


def second_opinion(pseudo_right: np.ndarray, prototype_right: np.ndarray) -> str:
    """Whether the errors of two opinions are copies of one another.

    Args:
        pseudo_right: (P,) bool, of the pseudo-label.
        prototype_right: (P,) bool, of the nearest prototype.
    """
    if pseudo_right.all() or not pseudo_right.any():
        return "The pseudo-labels are all of one kind."
    return (
        f"The nearest prototype is right in {prototype_right.mean():.0%} of the pixels, the "
        f"pseudo-label in {pseudo_right.mean():.0%}. Where the pseudo-label is wrong, the prototype "
        f"is right in {prototype_right[~pseudo_right].mean():.0%}; where it is right, the prototype "
        f"is wrong in {1 - prototype_right[pseudo_right].mean():.0%}."
    )


def agreement(agree: np.ndarray, right: np.ndarray) -> str:
    """How often pseudo-labels are right where the second opinion agrees, and where it does not.

    Args:
        agree: (P,) bool.
        right: (P,) bool, of the pseudo-label.
    """
    if agree.all() or not agree.any():
        return "The two agree everywhere or nowhere."
    return (
        f"They agree in {agree.mean():.0%} of the pixels. There {right[agree].mean():.0%} of the "
        f"pseudo-labels are right, elsewhere {right[~agree].mean():.0%}."
    )


def agreement_of_classes(
    agreeing: Mapping[str, float], otherwise: Mapping[str, float], agrees: Mapping[str, float]
) -> str:
    """For which classes agreement is evidence, for which not, and which it hardly leaves.

    Args:
        agreeing: share right where they agree, in per cent by class; NaN where there is no pixel.
        otherwise: share right where they disagree.
        agrees: share of the class's pixels that agree.
    """
    gap = {name: agreeing[name] - otherwise[name] for name in agreeing}
    order = sorted((name for name in gap if np.isfinite(gap[name])), key=gap.get)
    if not order:
        return "No class has pixels of both kinds."

    def named(names: Sequence[str]) -> str:
        return listed([f"{n} ({agreeing[n]:.0f} against {otherwise[n]:.0f} %)" for n in names])

    helped = [name for name in order[::-1] if gap[name] > 0]
    said = [f"Agreement tells most about {named(helped[:2])}."] if helped else []
    empty = [name for name in order if gap[name] <= 0]
    if empty:
        said.append(f"It is no evidence for {named(empty[:3])}.")
    least = min(agrees, key=agrees.get)
    said.append(f"Least is left of {least}: {agrees[least]:.0f} % of its pixels agree.")
    return " ".join(said)


def undecided(value: float, number: int) -> str:
    """L_PS2 beside the two values that one should know.

    Args:
        value: of the term, in nats.
        number: of classes.
    """
    good = math.log(1 + (number - 1) / math.e)
    return (
        f"$L_{{PS2}}$ is {value:.2f}. A guess among {number} classes costs {math.log(number):.2f}; a "
        f"similarity of 1 with the right class and of 0 with all others still costs {good:.2f}, and "
        f"of -1 with all others {math.log(1 + (number - 1) / math.e**2):.2f}."
    )


def neighbours(alike: Mapping[str, float]) -> str:
    """How often the most similar feature belongs to the same class, before and after.

    Args:
        alike: share within 0..1 by title, two of them.
    """
    (first, before), (second, after) = alike.items()
    return (
        f"The feature that is most similar to a place's own belongs to the same class in "
        f"{before:.0%} of the places before ({first}) and in {after:.0%} after ({second})."
    )
