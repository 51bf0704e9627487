"""The objective of IAPC: from the outputs of three networks to one number (method.md, 4).

L = 0.2 L_IA + 0.04 (L_PS1 + L_PS2) + 0.5 L_PE + 2 L_IM with the published weights.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from iapc_lib.method.deeplab import Prediction, upsample
from iapc_lib.method.importance import importance_map
from iapc_lib.method.losses import (
    class_counts,
    class_weights,
    importance_aware_loss,
    information_maximization_loss,
    prototype_enhanced_loss,
    prototype_symmetric_loss,
)
from iapc_lib.method.prototypes import (
    prototype_labels,
    prototype_similarity,
    resample_labels,
    scrambled_2023,
)
from iapc_lib.method.settings import Fidelity, Losses

TERMS = {
    "importance_aware": "L_IA",
    "prototype_symmetric_label": "L_PS1",
    "prototype_symmetric_similarity": "L_PS2",
    "prototype_enhanced": "L_PE",
    "information_maximization": "L_IM",
}
"""Names of the terms, in histories and logs, and their symbols."""


@dataclass
class LossTerms:
    """What one update minimises, and what it was made of."""

    total: Tensor
    """Scalar with a gradient: the weighted sum of the terms."""
    values: dict[str, Tensor]
    """Each of the `TERMS` before its weight, scalars with gradients."""
    weights: dict[str, float]
    """Weight of each term."""
    class_weight: Tensor
    """(K,) of this update."""
    absence: Tensor
    """(K,) state of the class weights for the next update."""
    importance: Tensor
    """(N, H, W) of the source network."""
    similarity: Tensor
    """(N, K, h, w) of the student's features with the prototypes, detached."""
    prototype_label: Tensor
    """(N, h, w) int64 class of the nearest prototype."""
    agreement: Tensor
    """(N, H, W) bool: nearest prototype and pseudo-label agree."""

    @property
    def weighted(self) -> dict[str, Tensor]:
        """Each term times its weight, detached scalars."""
        return {name: self.weights[name] * value.detach() for name, value in self.values.items()}

    @property
    def numbers(self) -> dict[str, Tensor]:
        """What a history keeps of an update, detached scalars.

        `loss`, the `weighted` terms, and the batch's means of `importance` and `agreement`.
        """
        return {
            "loss": self.total.detach(),
            **self.weighted,
            "importance": self.importance.mean(),
            "agreement": self.agreement.float().mean(),
        }


def iapc_losses(
    student: Prediction,
    prototypes: Tensor,
    source_logits: Tensor,
    labels: Tensor,
    absence: Tensor,
    losses: Losses,
    fidelity: Fidelity,
) -> LossTerms:
    """The complete objective of IAPC.

    Args:
        student: logits (N, K, h, w) and features (N, D, h, w), with gradients.
        prototypes: (N, K, D) of the memory network, constants; see `used_prototypes`.
        source_logits: (N, K, h, w) of the source network, constants.
        labels: (N, H, W) int64 pseudo-labels of the student's view.
        absence: (K,) state of the class weights.
        losses: weights of the terms.
        fidelity: choices where code and paper differ.
    """
    size = labels.shape[1:]
    weight, absence = class_weights(
        class_counts(labels, len(absence)),
        len(labels),
        absence,
        losses.class_weight_ceiling,
        losses.rare_class_pixels,
    )
    logits = upsample(student.logits, size)
    log_probabilities = logits.log_softmax(dim=1)
    with torch.no_grad():
        importance = importance_map(upsample(source_logits, size), fidelity.importance)
    similarity = prototype_similarity(student.features, prototypes)
    nearest = prototype_labels(similarity.detach())
    nearest_up = resample_labels(nearest, size)
    laid_out = scrambled_2023(similarity) if fidelity.revision == "2023" else similarity

    towards_prototype, towards_prediction = prototype_symmetric_loss(
        log_probabilities, upsample(laid_out, size), nearest_up, logits.max(dim=1).indices
    )
    values = {
        "importance_aware": importance_aware_loss(log_probabilities, labels, importance, weight),
        "prototype_symmetric_label": towards_prototype,
        "prototype_symmetric_similarity": towards_prediction,
        "prototype_enhanced": prototype_enhanced_loss(
            log_probabilities, labels, nearest_up, weight
        ),
        "information_maximization": information_maximization_loss(log_probabilities),
    }
    weights = {
        "importance_aware": losses.importance_aware,
        "prototype_symmetric_label": losses.prototype_symmetric,
        "prototype_symmetric_similarity": losses.prototype_symmetric,
        "prototype_enhanced": losses.prototype_enhanced,
        "information_maximization": losses.information_maximization,
    }
    return LossTerms(
        total=sum(weights[name] * value for name, value in values.items()),
        values=values,
        weights=weights,
        class_weight=weight,
        absence=absence,
        importance=importance,
        similarity=similarity.detach(),
        prototype_label=nearest,
        agreement=nearest_up == labels,
    )
