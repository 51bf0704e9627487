"""Updates of the rows that the method is compared with: one function each."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from iapc_lib.classes import IGNORE
from iapc_lib.config.run_config import RunConfig
from iapc_lib.method.deeplab import upsample
from iapc_lib.method.losses import information_maximization_loss
from iapc_lib.method.step import Forward, Networks, clean_forward, descend


def self_training_step(
    networks: Networks,
    optimizer: torch.optim.Optimizer,
    batch: Mapping[str, Tensor],
    config: RunConfig,
    forward: Forward,
    threshold: float | None = None,
) -> Tensor:
    """Plain cross-entropy with the pseudo-labels, all else as in IAPC.

    Args:
        networks, optimizer, batch, forward: as in `step.adaptation_step`.
        config: of the run.
        threshold: only pixels count of which the source network, on its own view, is at least so
            sure (largest probability, within 0..1); None: all.

    Returns:
        The loss, a detached scalar.
    """
    labels = batch["label"]
    size = labels.shape[1:]
    if threshold is not None:
        with torch.no_grad():
            source_logits = forward(networks.source, batch["rescaled"]).logits
            confidence = upsample(source_logits, size).softmax(dim=1).amax(dim=1)
        labels = labels.where(confidence >= threshold, IGNORE)
    logits = forward(networks.student, batch["augmented"]).logits
    summed = F.cross_entropy(upsample(logits, size), labels, ignore_index=IGNORE, reduction="sum")
    loss = summed / (labels != IGNORE).sum().clamp(min=1)
    return _move(networks, optimizer, loss, batch, config, forward)


def confident_self_training_step(
    networks: Networks,
    optimizer: torch.optim.Optimizer,
    batch: Mapping[str, Tensor],
    config: RunConfig,
    forward: Forward,
) -> Tensor:
    """`self_training_step` with the threshold `adaptation.confidence_threshold`."""
    threshold = config.adaptation.confidence_threshold
    return self_training_step(networks, optimizer, batch, config, forward, threshold)


def entropy_step(
    networks: Networks,
    optimizer: torch.optim.Optimizer,
    batch: Mapping[str, Tensor],
    config: RunConfig,
    forward: Forward,
) -> Tensor:
    """TENT (Wang et al., ICLR 2021): minimises the entropy of the predictions.

    Needs no pseudo-labels. `optimizer` holds BatchNorm's weights and biases alone, see
    `rows.Row.trains`; arguments as in `self_training_step`.

    Returns:
        The mean entropy, a detached scalar in nats.
    """
    logits = forward(networks.student, batch["plain"]).logits
    log_probabilities = upsample(logits, batch["label"].shape[1:]).log_softmax(dim=1)
    loss = information_maximization_loss(log_probabilities)
    return _move(networks, optimizer, loss, batch, config, forward)


def _move(networks, optimizer, loss, batch, config, forward) -> Tensor:
    descend(optimizer, loss)
    if config.fidelity.clean_forward:
        clean_forward(networks.student, batch["clean"], forward)
    return loss.detach()


BASELINES = {
    "entropy": entropy_step,
    "self_training": self_training_step,
    "confident_self_training": confident_self_training_step,
}
"""Name of an update (`rows.Row.update`) -> its function."""
