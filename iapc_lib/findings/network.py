"""What the source network is, and how it was trained."""

from collections.abc import Mapping

import numpy as np


def where_influence_lies(influence: np.ndarray, field: int) -> str:
    """How near the pixels are that matter most for one logit.

    Args:
        influence: (H, W) of every pixel, not negative.
        field: side of the receptive field in pixels.
    """
    height, width = influence.shape
    if not influence.any():
        return "No pixel has any influence on this logit."
    rows, columns = np.indices(influence.shape)
    weights = influence / influence.sum()
    distance = np.hypot(rows - (weights * rows).sum(), columns - (weights * columns).sum())
    order = distance.ravel().argsort()
    reached = weights.ravel()[order].cumsum()
    half, most = (distance.ravel()[order][np.searchsorted(reached, s)] for s in (0.5, 0.9))
    fits = "larger than the image" if field > max(height, width) else "inside the image"
    return (
        f"The receptive field, {field} pixels wide, is {fits} ({height} x {width}). Half of the "
        f"influence comes from within {half:.0f} pixels of its middle, nine tenths from within "
        f"{most:.0f}."
    )


def nearest_to_the_sum(agreement: Mapping[int, float]) -> str:
    """Which branch of the head comes closest to the sum of all.

    Args:
        agreement: share of the pixels at which a branch alone names the class of the sum, by its
            dilation.
    """
    if len(agreement) < 2:
        return "The head has one branch only."
    best, worst = max(agreement, key=agreement.get), min(agreement, key=agreement.get)
    return (
        f"Alone, the branch with dilation {best} names the same class as the sum at "
        f"{agreement[best]:.0%} of the pixels, that with dilation {worst} at {agreement[worst]:.0%}."
    )


def course_of_loss(losses: Mapping[int, float]) -> str:
    """How a training's loss falls.

    Args:
        losses: by update, in order; may be empty.
    """
    if not losses:
        return "Nobody wrote down how this network's training went."
    if len(losses) == 1:
        return "The training is too short for a curve."
    updates, values = list(losses), list(losses.values())
    first, last = values[0], values[-1]
    if last >= first:
        return f"The loss does not fall: {first:.2f} at the start, {last:.2f} at the end."
    there = next(
        u for u, value in zip(updates, values, strict=True) if value <= 0.9 * last + 0.1 * first
    )
    return (
        f"The loss falls from {first:.2f} to {last:.2f}; after {there:.0f} of {updates[-1]:.0f} "
        "updates it has done nine tenths of that way."
    )
