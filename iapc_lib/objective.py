"""The objective of IAPC: from the outputs of three networks to one number (method.md, 4).

L = 0.2 L_IA + 0.04 (L_PS1 + L_PS2) + 0.5 L_PE + 2 L_IM with the published weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iapc_lib.deeplab import Prediction, upsample
from iapc_lib.importance import importance_map
from iapc_lib.losses import (
    class_weights,
    importance_aware_loss,
    information_maximization_loss,
    prototype_enhanced_loss,
    prototype_symmetric_loss,
)
from iapc_lib.prototypes import (
    class_prototypes,
    moving_prototypes,
    prototype_labels,
    prototype_similarity,
    resample_labels,
    scrambled_2023,
)
from iapc_lib.sections import Fidelity, Losses


@dataclass
class LossTerms:
    """What one update minimises, and what it was made of."""

    total: Tensor
    """Scalar with a gradient."""
    weighted: dict[str, Tensor]
    """Each term times its weight, detached scalars."""
    class_weight: Tensor
    """(K,) of this update."""
    often: Tensor
    """(K,) state of the class weights for the next update."""
    prototypes: Tensor | None
    """(K, D) state of the prototypes for the next update; None where every image has its own."""
    importance: Tensor
    """(N, H, W) of the source network."""
    similarity: Tensor
    """(N, K, h, w) of the student's features with the prototypes, detached."""
    prototype_label: Tensor
    """(N, h, w) int64 class of the nearest prototype."""
    agreement: Tensor
    """(N, H, W) bool: nearest prototype and pseudo-label agree."""


def iapc_losses(
    student: Prediction,
    memory: Prediction,
    source_logits: Tensor,
    labels: Tensor,
    often: Tensor,
    losses: Losses,
    fidelity: Fidelity,
    prototypes: Tensor | None = None,
) -> LossTerms:
    """The complete objective of IAPC from the outputs of the three networks.

    Args:
        student: logits (N, K, h, w) and features (N, D, h, w), with gradients.
        memory: the same from the memory network, constants.
        source_logits: (N, K, h, w) of the source network, constants.
        labels: (N, H, W) int64 pseudo-labels of the student's view.
        often: (K,) state of the class weights.
        losses: weights of the terms.
        fidelity: choices where code and paper differ.
        prototypes: (K, D) state of the prototypes, unless `fidelity.prototypes` is `image`.

    Raises:
        ValueError: `prototypes` is needed and not given.
    """
    if fidelity.prototypes != "image" and prototypes is None:
        raise ValueError(f"fidelity.prototypes is {fidelity.prototypes!r}: give their state")
    size = labels.shape[1:]
    weight, often = class_weights(
        labels, often, losses.class_weight_ceiling, losses.rare_class_pixels
    )
    logits = upsample(student.logits, size)
    log_probabilities = logits.log_softmax(dim=1)
    with torch.no_grad():
        importance = importance_map(upsample(source_logits, size), fidelity.importance)
        used = memory_prototypes(memory, size)
        if fidelity.prototypes == "dataset":
            used = prototypes.expand_as(used)
        elif fidelity.prototypes == "momentum":
            used = moving_prototypes(prototypes, used, fidelity.prototype_momentum)
            prototypes = used[-1]
    similarity = prototype_similarity(student.features, used)
    nearest = prototype_labels(similarity.detach())
    nearest_up = resample_labels(nearest, size)
    laid_out = scrambled_2023(similarity) if fidelity.revision == "2023" else similarity

    towards_prototype, towards_prediction = prototype_symmetric_loss(
        log_probabilities, upsample(laid_out, size), nearest_up, logits.max(dim=1).indices
    )
    terms = {
        "importance_aware": losses.importance_aware
        * importance_aware_loss(log_probabilities, labels, importance, weight),
        "prototype_symmetric_label": losses.prototype_symmetric * towards_prototype,
        "prototype_symmetric_similarity": losses.prototype_symmetric * towards_prediction,
        "prototype_enhanced": losses.prototype_enhanced
        * prototype_enhanced_loss(log_probabilities, labels, nearest_up, weight),
        "information_maximization": losses.information_maximization
        * information_maximization_loss(log_probabilities),
    }
    return LossTerms(
        total=sum(terms.values()),
        weighted={name: term.detach() for name, term in terms.items()},
        class_weight=weight,
        often=often,
        prototypes=prototypes,
        importance=importance,
        similarity=similarity.detach(),
        prototype_label=nearest,
        agreement=nearest_up == labels,
    )


def memory_prototypes(memory: Prediction, size: tuple[int, int]) -> Tensor:
    """Class prototypes (N, K, D) of the memory network's features under its own labels.

    Args:
        memory: its logits (N, K, h, w) and features (N, D, h, w).
        size: (H, W) at which the labels are decided before they go to feature resolution.
    """
    label = upsample(memory.logits, size).max(dim=1).indices
    label = resample_labels(label, memory.features.shape[2:])
    return class_prototypes(memory.features, label, memory.logits.shape[1])
