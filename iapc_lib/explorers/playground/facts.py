"""A few pixels set by hand, and what every loss and its gradient says of them.

No network: where an update takes logits and features from networks, here they are the variables.
The objective is the library's own.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from iapc_lib.classes import ClassSet
from iapc_lib.explorers.terms import PixelFacts
from iapc_lib.method.deeplab import Prediction
from iapc_lib.method.objective import iapc_losses
from iapc_lib.method.settings import Fidelity, Importance, Losses

CLASSES = ClassSet((0, 8, 13))
"""Road, vegetation, car: three classes whose colours are told apart easily."""
PIXELS = "abcd"
"""Names of the pixels."""
START_LOSSES = Losses(class_weight_ceiling=1.0, rare_class_pixels=2)
"""The published weights of the terms; all classes weigh 1. With a higher ceiling a class with
fewer than two of the pixels is rare."""


@dataclass(frozen=True, eq=False)
class ToyPixels:
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


_numbers = partial(torch.tensor, dtype=torch.float64)

START = ToyPixels(
    logits=_numbers([[3.0, 0.5, 0.25], [1.25, 0.75, 1.0], [0.25, 2.0, 0.5], [0.5, 1.5, 1.0]]),
    features=_numbers([[1.5, 0.5], [1.0, 0.875], [0.375, 1.25], [0.75, 1.5]]),
    labels=torch.tensor([0, 0, 1, 2]),
    source_logits=_numbers(
        [[2.75, 0.5, 0.25], [1.25, 1.0, 0.75], [0.25, 1.75, 0.75], [0.5, 1.0, 1.25]]
    ),
    prototypes=_numbers([[1.75, 0.25], [0.25, 1.75], [1.375, 1.125]]),
)
"""a: sure and undisputed. b: called road, looks like a car. c: undisputed. d: called car, and
prediction and prototype both say vegetation."""


class Term(NamedTuple):
    """One loss, or their weighted sum, and the gradient of its weighted value."""

    value: float
    """Mean over the pixels, before its weight."""
    weight: float
    logit_gradient: Tensor | None
    """(P, K); None where the loss does not depend on the logits."""
    feature_gradient: Tensor | None
    """(P, 2); None where the loss does not depend on the features."""


class LossReport(NamedTuple):
    """What the losses say of toy pixels."""

    terms: dict[str, Term]
    """By name, see `method.objective.TERMS`."""
    total: Term
    """Their weighted sum."""
    probabilities: Tensor
    """(P, K), of the student."""
    similarity: Tensor
    """(P, K), cosines."""
    pixels: list[PixelFacts]
    """The P pixels as the prototypes explorer knows them."""

    @property
    def finite(self) -> bool:
        """Whether the total and its gradients are numbers: the importance divides by a logit."""
        value, _, *gradients = self.total
        return all(bool(one.isfinite().all()) for one in (torch.tensor(value), *gradients))


def losses_of(
    toy: ToyPixels, losses: Losses = START_LOSSES, importance: Importance = "logits"
) -> LossReport:
    """Every loss of toy pixels, as an update would compute it, with its gradients.

    The pixels are one row of an image, at full size and at feature resolution alike.

    Args:
        toy: the pixels.
        losses: weights of the terms and of the classes.
        importance: its definition, see `importance_map`.
    """
    logits = toy.logits.T[None, :, None].clone().requires_grad_()  # (1, K, 1, P)
    features = toy.features.T[None, :, None].clone().requires_grad_()  # (1, 2, 1, P)
    found = iapc_losses(
        Prediction(logits, features),
        toy.prototypes[None],
        toy.source_logits.T[None, :, None],
        toy.labels[None, None],
        torch.ones(len(toy.prototypes), dtype=toy.logits.dtype),
        losses,
        Fidelity(importance=importance),
    )

    def term(value: Tensor, weight: float) -> Term:
        gradients = torch.autograd.grad(
            weight * value, (logits, features), retain_graph=True, allow_unused=True
        )
        by_pixel = (None if gradient is None else gradient[0, :, 0].T for gradient in gradients)
        return Term(value.item(), weight, *by_pixel)

    train_ids = np.array(CLASSES.train_ids)
    channels = (found.prototype_label[0, 0], toy.logits.argmax(dim=1), toy.labels)
    known = (*(train_ids[one].tolist() for one in channels), found.importance[0, 0].tolist())
    return LossReport(
        {name: term(value, found.weights[name]) for name, value in found.values.items()},
        term(found.total, 1.0),
        toy.logits.softmax(dim=1),
        found.similarity[0, :, 0].T,
        [PixelFacts(*one) for one in zip(*known, strict=True)],
    )


def descend(toy: ToyPixels, report: LossReport, rate: float) -> ToyPixels:
    """One step of gradient descent on logits and features; all else stays."""
    return replace(
        toy,
        logits=toy.logits - rate * report.total.logit_gradient,
        features=toy.features - rate * report.total.feature_gradient,
    )
