"""Which pixels a threshold on the importance keeps, and how many of them are right."""

import math
from typing import NamedTuple

import numpy as np
from torch import Tensor

from iapc_lib.classes import IGNORE
from iapc_lib.explorers.gallery import Gallery, Picture
from iapc_lib.explorers.parts import dimmed, marked
from iapc_lib.explorers.terms import IMPORTANCE_NAMES
from iapc_lib.method.importance import importance_map
from iapc_lib.method.losses import entropy_map

DEFINITIONS = IMPORTANCE_NAMES | {"entropy": "entropy of all classes"}
"""Names of the kinds of `importance_map`, and of `entropy`, 1 - H / ln K."""
LABELLINGS = ("source prediction", "pseudo-label")
"""Labels that may be judged: of one forward pass, and as `pseudo_labels` makes them."""
WIDEST = (-1.0, 2.0)
"""Range of importance that is shown at most: the logit ratio has no bound."""


class ClassShares(NamedTuple):
    """What a selection of pixels does to one class of the labels; shares are within 0..1."""

    train_id: int | None
    """None stands for all classes together."""
    pixels: int
    kept: float
    """Share of the class's pixels."""
    right_kept: float
    """Share of right ones among kept pixels whose truth is known; NaN where there are none."""
    right_dropped: float
    """The same among dropped pixels."""


class PixelImportance(NamedTuple):
    """What the source network says of one pixel, and how important that makes it."""

    classes: tuple[int, int]
    """Train ids of the two largest logits."""
    logits: tuple[float, float]
    probabilities: tuple[float, float]
    entropy: float
    """Of all classes, in nats."""
    importance: float


def importance_of(logits: Tensor, definition: str) -> np.ndarray:
    """The importance of every pixel, (H, W) float32.

    Args:
        logits: (K, H, W) float, up-sampled, as `Gallery.source_logits` gives them.
        definition: of `DEFINITIONS`.
    """
    if definition != "entropy":
        return importance_map(logits[None], definition)[0].numpy()
    entropy = entropy_map(logits[None].log_softmax(dim=1))[0]
    # `entropy_map` of a sure pixel is just below 0, for the 1e-5 in its logarithm.
    return (1 - entropy / math.log(len(logits))).clamp(0, 1).numpy()


def shown_range(importance: np.ndarray) -> tuple[float, float]:
    """Range in which to show it: 0..1, wider in tenths where 1 % lies beyond, see `WIDEST`."""
    finite = importance[np.isfinite(importance)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.quantile(finite, (0.01, 0.99))
    low, high = math.floor(10 * low) / 10, math.ceil(10 * high) / 10
    return max(min(low, 0.0), WIDEST[0]), min(max(high, 1.0), WIDEST[1])


def labels_of(gallery: Gallery, picture: int, labelling: str) -> np.ndarray:
    """Train ids (H, W) uint8 of one of the `LABELLINGS`."""
    if labelling == "pseudo-label":
        return gallery.pictures[picture].pseudo_label
    return gallery.source.train_ids(gallery.source_logits(picture).argmax(dim=0))


def known_pixels(labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Pixels (H, W) bool that have both a label and a true class, so that they can be judged."""
    return (labels != IGNORE) & (truth != IGNORE)


def correctness_picture(picture: Picture, labels: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: right labels blue, wrong ones orange; for a picture with a truth.

    Pixels that cannot be judged keep the picture's own colour; those not kept are darkened.
    """
    correct, known = labels == picture.label, known_pixels(labels, picture.label)
    return dimmed(marked(picture.pixels, known & correct, known & ~correct), kept)


def class_shares(
    labels: np.ndarray, kept: np.ndarray, truth: np.ndarray | None
) -> list[ClassShares]:
    """All classes together, then each class that occurs in the labels.

    Args:
        labels: (H, W) uint8 train ids that are judged, and by which pixels are grouped.
        kept: (H, W) bool.
        truth: (H, W) uint8 train ids, 255 = not known; None without labels.
    """
    known = np.zeros_like(kept) if truth is None else known_pixels(labels, truth)
    right = known & (labels == truth)

    def rate(part: np.ndarray, whole: np.ndarray) -> float:
        return float((part & whole).sum() / whole.sum()) if whole.any() else math.nan

    members = {None: np.ones_like(kept)}
    members |= {train_id: labels == train_id for train_id in np.unique(labels).tolist()}
    return [
        ClassShares(
            train_id,
            int(own.sum()),
            rate(kept, own),
            rate(right, own & known & kept),
            rate(right, own & known & ~kept),
        )
        for train_id, own in members.items()
    ]


def pixel_importance(
    gallery: Gallery, picture: int, pixel: tuple[int, int], importance: np.ndarray
) -> PixelImportance:
    """Reads all that decides at the pixel (row, column); importance is (H, W) float."""
    logits = gallery.source_logits(picture)[:, *pixel]  # (K,)
    leading = logits.topk(2)
    log_probabilities = logits.log_softmax(dim=0)
    return PixelImportance(
        tuple(gallery.source.train_ids(leading.indices).tolist()),
        tuple(leading.values.tolist()),
        tuple(log_probabilities[leading.indices].exp().tolist()),
        max(entropy_map(log_probabilities[None, :, None, None]).item(), 0.0),
        float(importance[pixel]),
    )
