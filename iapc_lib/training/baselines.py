"""Losses of the rows that the method is compared with: one function each.

All take the networks, a batch as `step.adaptation_step` takes it, the configuration of the run and
what runs a network; each returns a scalar with a gradient. All else is as in IAPC.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from iapc_lib.classes import IGNORE
from iapc_lib.config.run_config import RunConfig
from iapc_lib.method.deeplab import upsample
from iapc_lib.method.losses import information_maximization_loss, weighted_cross_entropy
from iapc_lib.method.step import Forward, Networks


def self_training_loss(
    networks: Networks, batch: Mapping[str, Tensor], config: RunConfig, forward: Forward
) -> Tensor:
    """Plain cross-entropy with the pseudo-labels, its mean over the labelled pixels."""
    return _cross_entropy(networks, batch, batch["label"], forward)


def confident_self_training_loss(
    networks: Networks, batch: Mapping[str, Tensor], config: RunConfig, forward: Forward
) -> Tensor:
    """`self_training_loss` where the source network is sure.

    Only pixels count whose largest probability, by the source network on its own view, is at least
    `adaptation.confidence_threshold`.
    """
    labels = batch["label"]
    with torch.no_grad():
        source_logits = forward(networks.source, batch["rescaled"]).logits
        confidence = upsample(source_logits, labels.shape[1:]).softmax(dim=1).amax(dim=1)
    sure = confidence >= config.adaptation.confidence_threshold
    return _cross_entropy(networks, batch, labels.where(sure, IGNORE), forward)


def entropy_loss(
    networks: Networks, batch: Mapping[str, Tensor], config: RunConfig, forward: Forward
) -> Tensor:
    """TENT (Wang et al., ICLR 2021): the mean entropy of the predictions, in nats.

    Needs no pseudo-labels. The optimiser moves BatchNorm's scale and shift alone, see
    `rows.Row.trains`.
    """
    logits = forward(networks.student, batch["plain"]).logits
    log_probabilities = upsample(logits, batch["label"].shape[1:]).log_softmax(dim=1)
    return information_maximization_loss(log_probabilities)


def _cross_entropy(
    networks: Networks, batch: Mapping[str, Tensor], labels: Tensor, forward: Forward
) -> Tensor:
    logits = upsample(forward(networks.student, batch["augmented"]).logits, labels.shape[1:])
    losses = weighted_cross_entropy(logits.log_softmax(dim=1), labels)
    return losses.sum() / (labels != IGNORE).sum().clamp(min=1)


BASELINES = {
    "entropy": entropy_loss,
    "self_training": self_training_loss,
    "confident_self_training": confident_self_training_loss,
}
"""Name of an update (`rows.Row.update`) -> its loss."""
