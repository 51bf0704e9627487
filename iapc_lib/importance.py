"""The importance map: how much a pixel's pseudo-label is to be trusted.

A pseudo-label is risky where the source network hesitates between two classes. The importance
compares its two largest values s1 >= s2 at a pixel: I = 1 - s2 / s1 (paper, section III-B;
method.md, 4).
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor


def importance_map(logits: Tensor, kind: Literal["logits", "probabilities"] = "logits") -> Tensor:
    """I = 1 - s2 / s1 from the two largest class values of every pixel.

    Args:
        logits: (N, K, H, W) float, up-sampled to the size of the pseudo-label.
        kind: `logits` takes the raw logits, as the published code does: mostly within 0..1, but
            above 1 where s1 > 0 > s2, negative where both are negative, unbounded near s1 = 0.
            `probabilities` takes their soft-max, as the paper's text reads: always within 0..1.

    Returns:
        (N, H, W) float, the dtype of `logits`.
    """
    scores = logits if kind == "logits" else logits.softmax(dim=1)
    first, second = scores.topk(2, dim=1).values.unbind(dim=1)
    return 1 - second / first
