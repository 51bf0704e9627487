"""The losses of IAPC and the class weights: pure functions, one term each.

Predictions are log-probabilities (N, K, H, W), the log-soft-max of the up-sampled logits, so that
the terms share one soft-max; labels are (N, H, W) int64, 255 = ignore. Each loss is a mean over
*all* N * H * W pixels: a pixel that does not take part adds nothing to the sum but counts in the
mean, and class weights do not normalise it (method.md, 4).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from iapc_lib.classes import IGNORE


class ClassWeights(NamedTuple):
    """Weights of one update, and the state that the next update needs."""

    weight: Tensor
    """(K,) float, within 1..ceiling^2."""
    absence: Tensor
    """(K,) float, the running factor that rises while a class stays absent; starts at 1."""


def class_counts(labels: Tensor, num_classes: int) -> Tensor:
    """Pixels of every class in a batch: (N, H, W) int64 -> (K,) int64; 255 counts nowhere."""
    # bincount would make a GPU wait for its host, a repeatable scatter_add would sort all pixels.
    classes = torch.arange(num_classes, device=labels.device)
    return (labels.flatten() == classes[:, None]).sum(dim=1)


def class_weights(
    counts: Tensor,
    images: int,
    absence: Tensor,
    ceiling: float = 7.0,
    rare_class_pixels: int = 64 * 64,
) -> ClassWeights:
    """Class weights from the pixel counts of a batch (method.md, 5).

    Args:
        counts: (K,) int64 pixels of every class, see `class_counts`.
        images: in the batch, N.
        absence: (K,) float, as the previous update returned it; ones at the start.
        ceiling: weight of a class that is rare in the batch.
        rare_class_pixels: a class with fewer pixels per image is rare, absent ones included.
    """
    rare = 1 + (ceiling - 1) * (counts < rare_class_pixels * images).to(absence.dtype)
    absent = 1 + (ceiling - 1) * (counts == 0).to(absence.dtype)
    absence = 0.9 * absence + 0.1 * absent
    return ClassWeights(rare * absence, absence)


def weighted_cross_entropy(
    log_probabilities: Tensor, labels: Tensor, weight: Tensor | None = None
) -> Tensor:
    """-w[y] * log p[y] of every pixel, (N, H, W); 0 where the label is 255."""
    # Reduced by the caller: torch's own mean adds a GPU's partial sums in the order they arrive.
    return F.nll_loss(log_probabilities, labels, weight, ignore_index=IGNORE, reduction="none")


def importance_aware_loss(
    log_probabilities: Tensor, labels: Tensor, importance: Tensor, weight: Tensor
) -> Tensor:
    """L_IA: cross-entropy with the pseudo-label, weighted by importance and class.

    Args:
        log_probabilities: (N, K, H, W) of the student.
        labels: (N, H, W) pseudo-labels.
        importance: (N, H, W) of the source network, see `importance_map`.
        weight: (K,) class weights.
    """
    return (importance * weighted_cross_entropy(log_probabilities, labels, weight)).mean()


def prototype_symmetric_loss(
    log_probabilities: Tensor,
    similarity: Tensor,
    prototype_labels: Tensor,
    predicted_labels: Tensor,
) -> tuple[Tensor, Tensor]:
    """L_PS: prediction towards prototype label, and similarity towards predicted label.

    Args:
        log_probabilities: (N, K, H, W) of the student.
        similarity: (N, K, H, W) up-sampled cosine similarities, taken as logits.
        prototype_labels: (N, H, W) class of the nearest prototype, up-sampled.
        predicted_labels: (N, H, W) class with the student's largest logit.

    Returns:
        The two terms: the first has a gradient on `log_probabilities`, the second on `similarity`.
    """
    towards_prototype = weighted_cross_entropy(log_probabilities, prototype_labels)
    towards_prediction = weighted_cross_entropy(similarity.log_softmax(dim=1), predicted_labels)
    return towards_prototype.mean(), towards_prediction.mean()


def prototype_enhanced_loss(
    log_probabilities: Tensor, labels: Tensor, prototype_labels: Tensor, weight: Tensor
) -> Tensor:
    """L_PE: cross-entropy with the pseudo-label where the nearest prototype agrees with it.

    Shapes as in `prototype_symmetric_loss`; `labels` (N, H, W), `weight` (K,).
    """
    agreed = labels.where(labels == prototype_labels, IGNORE)
    return weighted_cross_entropy(log_probabilities, agreed, weight).mean()


def entropy_map(log_probabilities: Tensor) -> Tensor:
    """-sum_k p_k log(p_k + 1e-5) of every pixel, in nats: (N, K, H, W) -> (N, H, W)."""
    probabilities = log_probabilities.exp()
    return -(probabilities * torch.log(probabilities + 1e-5)).sum(dim=1)


def information_maximization_loss(log_probabilities: Tensor) -> Tensor:
    """L_IM: mean entropy of the predictions; the published code has no diversity term."""
    return entropy_map(log_probabilities).mean()
