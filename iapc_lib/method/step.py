"""One update: three networks, in the published order (method.md, 4).

| network | mode | gradient | moved by |
| --- | --- | --- | --- |
| student | train | yes | the optimiser; BatchNorm statistics by both of its forwards |
| source | eval | no | nothing: it gives the importance |
| memory | train | no | moving average of the student: it gives the prototypes |
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from iapc_lib.method.deeplab import DeepLabV2, Prediction
from iapc_lib.method.objective import LossTerms, iapc_losses
from iapc_lib.method.prototypes import memory_prototypes, used_prototypes
from iapc_lib.method.settings import StepSettings

Forward = Callable[[nn.Module, Tensor], Prediction]
"""Runs a network on uint8 RGB images (N, 3, H, W), in whatever precision: logits and features.

The plainest: `lambda network, images: network(network_input(images))`.
"""


class Networks:
    """Student, source and memory network of one adaptation; identical at the start.

    Args:
        source: is copied; its device is that of all three.
    """

    def __init__(self, source: DeepLabV2):
        source = copy.deepcopy(source).freeze_batchnorm_affine()
        self.student = copy.deepcopy(source).train()
        self.memory = copy.deepcopy(source).train().requires_grad_(False)
        self.source = source.eval().requires_grad_(False)


@dataclass
class StepResult:
    """What one update did."""

    terms: LossTerms
    prototypes: Tensor | None
    """(K, D) state of the prototypes for the next update; None where every image has its own."""
    student: Prediction
    memory: Prediction
    source_logits: Tensor


def adaptation_step(
    networks: Networks,
    optimizer: torch.optim.Optimizer,
    batch: Mapping[str, Tensor],
    absence: Tensor,
    settings: StepSettings,
    forward: Forward,
    prototypes: Tensor | None = None,
    statistics_read: bool = True,
) -> StepResult:
    """One update of the student, in the published order (method.md, 4).

    Args:
        networks: are changed: student by the optimiser, memory by its moving average.
        optimizer: of the student, rates already set.
        batch: `plain`, `rescaled`, `augmented`, `clean` (N, 3, H, W) uint8 RGB, views of the same
            images, and `label` (N, H, W) int64 pseudo-labels of the augmented view.
        absence: (K,) state of the class weights, ones at the start.
        settings: of the update.
        forward: runs a network on images.
        prototypes: (K, D) state of the prototypes, unless `fidelity.prototypes` is `image`.
        statistics_read: see `clean_forward`.

    Returns:
        What it did; `terms.absence` and `prototypes` are the states for the next update.
    """
    student, source, memory = networks.student, networks.source, networks.memory
    fidelity = settings.fidelity
    update_memory(memory, student, settings.memory_decay)
    with torch.no_grad():
        source_logits = forward(source, batch["rescaled"]).logits
        memory_output = forward(memory, batch["plain"])
        means = memory_prototypes(memory_output, batch["label"].shape[1:])
        used, prototypes = used_prototypes(means, prototypes, fidelity)
    student_output = forward(student, batch["augmented"])
    terms = iapc_losses(
        student_output, used, source_logits, batch["label"], absence, settings.losses, fidelity
    )
    descend(optimizer, terms.total)
    if fidelity.clean_forward:
        clean_forward(student, batch["clean"], forward, statistics_read)
    return StepResult(terms, prototypes, student_output, memory_output, source_logits)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Moves an optimiser's parameters against the gradient of a scalar."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def clean_forward(
    student: DeepLabV2, images: Tensor, forward: Forward, statistics_read: bool = True
) -> None:
    """A forward for the student's BatchNorm statistics alone, which the saved network keeps.

    Args:
        student: in train mode; its running statistics move, as the published code moves them.
        images: (N, 3, H, W) uint8 RGB.
        forward: runs a network on images.
        statistics_read: whether somebody reads those statistics before later updates have
            overwritten them. No update does, so the forward is left out where nobody will, and
            its batch is only counted.
    """
    if statistics_read:
        forward(student, images)
    else:
        counts = [m.num_batches_tracked for m in student.modules() if isinstance(m, nn.BatchNorm2d)]
        torch._foreach_add_(counts, 1)


@torch.no_grad()
def update_memory(memory: DeepLabV2, student: DeepLabV2, decay: float) -> None:
    """Moves the memory network's parameters towards the student's and copies its buffers.

    phi <- decay * phi + (1 - decay) * theta; BatchNorm statistics are copied, not averaged
    (method.md, 4).
    """
    # Published arithmetic; torch's own moving average (a lerp) rounds otherwise in float32.
    averages = list(memory.parameters())
    torch._foreach_mul_(averages, decay)
    torch._foreach_add_(averages, list(student.parameters()), alpha=1 - decay)
    torch._foreach_copy_(list(memory.buffers()), list(student.buffers()))
