"""How well a measure of trust orders right before wrong pixels."""

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc


def auroc(value: Tensor, right: Tensor) -> float:
    """Probability that a right pixel has a higher value than a wrong one, ties counting half.

    Args:
        value: (P,) float, of any range.
        right: (P,) bool.

    Returns:
        Within 0..1; NaN where all pixels are right, all are wrong, or there is none.
    """
    if right.all() or not right.any():
        return float("nan")
    # Ranks: torchmetrics squashes values outside 0..1 by a sigmoid, in which large ones are equal.
    rank = torch.unique(value, return_inverse=True)[1].double()  # ties share a rank
    return binary_auroc(rank / rank.max().clamp(min=1), right.long()).item()


def right_kept(value: Tensor, right: Tensor, wrong_kept: np.ndarray) -> np.ndarray:
    """The curve whose area `auroc` is: what a threshold keeps of the right pixels.

    Args:
        value: (P,) float.
        right: (P,) bool.
        wrong_kept: (n,) shares of the wrong pixels that a threshold keeps, rising.

    Returns:
        (n,) share of the right pixels that the same threshold keeps; NaN where `auroc` is.
    """
    if right.all() or not right.any():
        return np.full(len(wrong_kept), np.nan)
    ordered = right[value.argsort(descending=True)].double()
    kept_wrong = (1 - ordered).cumsum(0) / (1 - ordered).sum()
    return np.interp(wrong_kept, kept_wrong, ordered.cumsum(0) / ordered.sum())
