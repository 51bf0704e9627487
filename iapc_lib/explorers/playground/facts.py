"""A handful of pixels set by hand, and what every loss and its gradient says of them.

No network: where an update takes logits and features from networks, here they are the variables.
The losses are the library's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from iapc_lib.classes import ClassSet
from iapc_lib.explorers.terms import PixelFacts
from iapc_lib.method.importance import importance_map
from iapc_lib.method.losses import (
    class_counts,
    class_weights,
    importance_aware_loss,
    information_maximization_loss,
    prototype_enhanced_loss,
    prototype_symmetric_loss,
)
from iapc_lib.method.prototypes import prototype_labels, prototype_similarity
from iapc_lib.method.settings import Importance, Losses

CLASSES = ClassSet((0, 8, 13))
"""Road, vegetation, car: three classes whose colours are told apart easily."""


PIXELS = "abcd"
"""Names of the pixels at the start."""


START_LOSSES = Losses(class_weight_ceiling=1.0, rare_class_pixels=2)
"""The published weights of the terms; all classes weigh 1. With a higher ceiling a class with
fewer than two of the pixels is rare."""


@dataclass(frozen=True, eq=False)
class Handful:
    """P pixels of K classes with two-dimensional features; float64, labels are channels."""

    logits: Tensor
    """(P, K), of the student."""
    features: Tensor
    """(P, 2), of the student."""
    labels: Tensor
    """(P,) int64, pseudo-labels."""
    source_logits: Tensor
    """(P, K), of the source network: what the importance is made of."""
    prototypes: Tensor
    """(K, 2); the zero vector is an absent class."""

    @classmethod
    def of(
        cls,
        logits: Sequence[Sequence[float]],
        features: Sequence[Sequence[float]],
        labels: Sequence[int],
        source_logits: Sequence[Sequence[float]],
        prototypes: Sequence[Sequence[float]],
    ) -> Handful:
        """Made of plain lists of numbers."""
        logits, features, source_logits, prototypes = (
            torch.tensor(values, dtype=torch.float64)
            for values in (logits, features, source_logits, prototypes)
        )
        return cls(logits, features, torch.tensor(labels), source_logits, prototypes)


START = Handful.of(
    logits=[[3.0, 0.5, 0.25], [1.25, 0.75, 1.0], [0.25, 2.0, 0.5], [0.5, 1.5, 1.0]],
    features=[[1.5, 0.5], [1.0, 0.875], [0.375, 1.25], [0.75, 1.5]],
    labels=[0, 0, 1, 2],
    source_logits=[[2.75, 0.5, 0.25], [1.25, 1.0, 0.75], [0.25, 1.75, 0.75], [0.5, 1.0, 1.25]],
    prototypes=[[1.75, 0.25], [0.25, 1.75], [1.375, 1.125]],
)
"""a: sure and undisputed. b: called road, looks like a car. c: undisputed. d: called car, and
prediction and prototype both say vegetation."""


class Term(NamedTuple):
    """One loss, and the gradient of its weighted value."""

    value: float
    """Mean over the pixels, before its weight."""
    weight: float
    logit_gradient: Tensor | None
    """(P, K); None where the loss does not depend on the logits."""
    feature_gradient: Tensor | None
    """(P, 2); None where the loss does not depend on the features."""


class Verdict(NamedTuple):
    """What the losses say of a handful."""

    terms: dict[str, Term]
    """By name: L_IA, L_PS1, L_PS2, L_PE, L_IM."""
    total: float
    """Sum of the weighted terms."""
    logit_gradient: Tensor
    """(P, K), of the total."""
    feature_gradient: Tensor
    """(P, 2), of the total."""
    probabilities: Tensor
    """(P, K), of the student."""
    predicted: Tensor
    """(P,) int64, the student's class."""
    importance: Tensor
    """(P,), of the source network's logits."""
    class_weight: Tensor
    """(K,)."""
    similarity: Tensor
    """(P, K), cosines."""
    nearest: Tensor
    """(P,) int64, class of the nearest prototype."""

    @property
    def finite(self) -> bool:
        """Whether the total and its gradients are numbers: the importance divides by a logit."""
        found = (torch.tensor(self.total), self.logit_gradient, self.feature_gradient)
        return all(bool(value.isfinite().all()) for value in found)


def judge(
    handful: Handful, losses: Losses = START_LOSSES, importance: Importance = "logits"
) -> Verdict:
    """Every loss of a handful, as an update would compute it, with its gradients.

    The pixels are one row of an image, at full size and at feature resolution alike.

    Args:
        handful: the pixels.
        losses: weights of the terms and of the classes.
        importance: its definition, see `importance_map`.
    """
    logits = handful.logits.T[None, :, None].clone().requires_grad_()  # (1, K, 1, P)
    features = handful.features.T[None, :, None].clone().requires_grad_()  # (1, 2, 1, P)
    labels = handful.labels[None, None]
    classes = len(handful.prototypes)
    weight, _ = class_weights(
        class_counts(labels, classes),
        1,
        torch.ones(classes, dtype=torch.float64),
        losses.class_weight_ceiling,
        losses.rare_class_pixels,
    )
    trust = importance_map(handful.source_logits.T[None, :, None], importance)
    similarity = prototype_similarity(features, handful.prototypes[None])
    nearest, predicted = prototype_labels(similarity.detach()), logits.detach().argmax(dim=1)
    log_probabilities = logits.log_softmax(dim=1)

    towards_prototype, towards_prediction = prototype_symmetric_loss(
        log_probabilities, similarity, nearest, predicted
    )
    found = {
        "L_IA": (
            losses.importance_aware,
            importance_aware_loss(log_probabilities, labels, trust, weight),
        ),
        "L_PS1": (losses.prototype_symmetric, towards_prototype),
        "L_PS2": (losses.prototype_symmetric, towards_prediction),
        "L_PE": (
            losses.prototype_enhanced,
            prototype_enhanced_loss(log_probabilities, labels, nearest, weight),
        ),
        "L_IM": (
            losses.information_maximization,
            information_maximization_loss(log_probabilities),
        ),
    }

    def gradients(value: Tensor) -> list[Tensor | None]:
        """With respect to logits (P, K) and features (P, 2)."""
        made = torch.autograd.grad(value, (logits, features), retain_graph=True, allow_unused=True)
        return [None if gradient is None else gradient[0, :, 0].T for gradient in made]

    total = sum(weight * value for weight, value in found.values())
    return Verdict(
        {
            name: Term(value.item(), weight, *gradients(weight * value))
            for name, (weight, value) in found.items()
        },
        total.item(),
        *gradients(total),
        log_probabilities.detach().exp()[0, :, 0].T,
        predicted[0, 0],
        trust[0, 0],
        weight,
        similarity.detach()[0, :, 0].T,
        nearest[0, 0],
    )


def descend(handful: Handful, verdict: Verdict, rate: float) -> Handful:
    """One step of gradient descent on logits and features; all else stays."""
    return replace(
        handful,
        logits=handful.logits - rate * verdict.logit_gradient,
        features=handful.features - rate * verdict.feature_gradient,
    )


def facts_of(handful: Handful, verdict: Verdict, pixel: int) -> PixelFacts:
    """One pixel as the prototypes explorer knows it; classes are train ids."""
    train_ids = CLASSES.train_ids
    return PixelFacts(
        pixel=(0, pixel),
        cell=(0, pixel),
        similarity=verdict.similarity[pixel].numpy(),
        nearest=train_ids[verdict.nearest[pixel]],
        predicted=train_ids[verdict.predicted[pixel]],
        pseudo_label=train_ids[handful.labels[pixel]],
        label=None,
        importance=float(verdict.importance[pixel]),
    )
