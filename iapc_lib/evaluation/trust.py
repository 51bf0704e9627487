"""How well a measure of trust orders right before wrong pixels."""

import numpy as np
from torch import Tensor


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
    from sklearn.metrics import roc_auc_score  # takes a second

    return float(roc_auc_score(right.numpy(), value.numpy()))


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
    from sklearn.metrics import roc_curve

    kept_wrong, kept_right, _ = roc_curve(right.numpy(), value.numpy())
    return np.interp(wrong_kept, kept_wrong, kept_right)
