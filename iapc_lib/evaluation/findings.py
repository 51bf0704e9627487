"""Sentences that say what is seen, filled from data: they stay true for another run."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from torch import Tensor

from iapc_lib.classes import IGNORE


def listed(parts: Sequence[str]) -> str:
    """`a`, `a and b`, or `a, b and c`; `none` of nothing."""
    *others, last = parts or ["none"]
    return f"{', '.join(others)} and {last}" if others else last


def swallowed(counts: Tensor, names: Sequence[str], most: int = 4, share: float = 0.25) -> str:
    """Which class swallows which, and which two the wrong pixels flee to.

    Args:
        counts: (K, K) pixels by (true, predicted) class.
        names: of the K classes.
        most: pairs that are named, those with the largest share first.
        share: of a class's pixels that must be called the other.
    """
    shares = counts.double() / counts.sum(dim=1, keepdim=True).clamp(min=1)
    shares.fill_diagonal_(0)
    order = shares.flatten().argsort(descending=True)[:most].tolist()
    pairs = [divmod(place, len(names)) for place in order]
    found = [
        f"{names[true]} is called {names[called]} ({shares[true, called]:.0%})"
        for true, called in pairs
        if shares[true, called] >= share
    ]
    if not found:
        return f"No class has {share:.0%} of its pixels called another one."
    wrong = (counts - counts.diagonal().diag()).sum(dim=0).double()
    first, second = wrong.argsort(descending=True)[:2].tolist()
    return (
        f"{listed(found).capitalize()}. Of all wrong pixels {wrong[first] / wrong.sum():.0%} are "
        f"called {names[first]} and {wrong[second] / wrong.sum():.0%} {names[second]}."
    )


def largest_wrong_region(truth: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> str:
    """The largest connected piece of one class that is called one other; half a sentence.

    Args:
        truth: (H, W) channel numbers, 255 = ignore.
        predicted: (H, W) channel numbers.
        names: of the classes.
    """
    pairs = np.where(
        (truth != predicted) & (truth != IGNORE), truth.astype(int) * len(names) + predicted, -1
    )
    largest, which = 0, None
    for pair in np.unique(pairs[pairs >= 0]):
        pieces, _ = ndimage.label(pairs == pair)
        size = np.bincount(pieces.ravel())[1:].max()
        if size > largest:
            largest, which = size, divmod(int(pair), len(names))
    if which is None:
        return "no pixel is wrong"
    true, called = which
    return (
        f"the largest wrong region is a piece of {names[true]} that is called {names[called]}, "
        f"{largest / truth.size:.1%} of the image"
    )


def frequencies(predicted: np.ndarray, true: np.ndarray, names: Sequence[str]) -> str:
    """Which classes a prediction likes too much, and which it loses.

    Args:
        predicted: (K,) share of the pixels that are called a class.
        true: (K,) share of the pixels that are it.
        names: of the K classes.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(true > 0, predicted / true, np.nan)
    order = [k for k in np.argsort(ratio) if np.isfinite(ratio[k])]
    if len(order) < 4:
        return "Too few classes occur to compare."
    rare = [f"{names[k]} ({predicted[k]:.1f} of {true[k]:.1f} %)" for k in order[:3]]
    often = [f"{names[k]} ({predicted[k]:.1f} for {true[k]:.1f} %)" for k in order[:-3:-1]]
    return f"Nearly lost: {listed(rare)}. Called too often: {listed(often)}."
