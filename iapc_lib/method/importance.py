"""The importance map: how much a pixel's pseudo-label is to be trusted.

A pseudo-label is risky where the source network hesitates between two classes. The importance
compares its two largest values s1 >= s2 at a pixel: I = 1 - s2 / s1 (paper, section III-B;
method.md, 4).
"""

import torch
from torch import Tensor

from iapc_lib.method.settings import Importance


def importance_map(logits: Tensor, kind: Importance = "logits") -> Tensor:
    """How clearly the first class of every pixel leads, from its two largest values s1 >= s2.

    Args:
        logits: (N, K, H, W) float, up-sampled to the size of the pseudo-label.
        kind: see the table; all but the first lie within 0..1.

    | kind | I | |
    | --- | --- | --- |
    | `logits` | 1 - s2 / s1 of the raw logits | published code: mostly within 0..1, above 1 where s1 > 0 > s2, negative where both are, unbounded near s1 = 0 |
    | `probabilities` | 1 - s2 / s1 | as the paper's text reads |
    | `first` | s1 | variant of the paper's Table IV (method.md, 11) |
    | `second` | 1 - s2 | variant of the paper's Table IV |
    | `none` | 1 | every pixel counts alike: what L_IA does without importance |

    Returns:
        (N, H, W) float, the dtype of `logits`.
    """
    if kind == "none":
        return torch.ones_like(logits[:, 0])
    scores = logits if kind == "logits" else logits.softmax(dim=1)
    first, second = scores.topk(2, dim=1).values.unbind(dim=1)
    if kind == "first":
        return first
    if kind == "second":
        return 1 - second
    return 1 - second / first
