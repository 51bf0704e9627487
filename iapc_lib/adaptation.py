"""Adaptation: the student, source and memory networks, one step, and the loop (method.md, 4).

| network | mode | gradient | moved by |
| --- | --- | --- | --- |
| student | train | yes | the optimiser; BatchNorm statistics by both of its forwards |
| source | eval | no | nothing: it gives the importance |
| memory | train | no | moving average of the student: it gives the prototypes |
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from iapc_lib.checkpoints import weights_hash
from iapc_lib.config import Fidelity, Losses, RunConfig
from iapc_lib.data.layouts import Record, domain_root
from iapc_lib.data.views import ViewsDataset
from iapc_lib.deeplab import DeepLabV2, Prediction, upsample
from iapc_lib.hardware import Machine
from iapc_lib.importance import importance_map
from iapc_lib.losses import (
    class_weights,
    importance_aware_loss,
    information_maximization_loss,
    prototype_enhanced_loss,
    prototype_symmetric_loss,
)
from iapc_lib.optimizers import make_optimizer, set_learning_rate, update_memory
from iapc_lib.prototypes import (
    class_prototypes,
    prototype_labels,
    prototype_similarity,
    resample_labels,
    scrambled_2023,
)
from iapc_lib.resume import Checkpointer
from iapc_lib.runs import Run

Method = Literal["self_training", "iapc"]


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
    """
    size = labels.shape[1:]
    weight, often = class_weights(
        labels, often, losses.class_weight_ceiling, losses.rare_class_pixels
    )
    logits = upsample(student.logits, size)
    log_probabilities = logits.log_softmax(dim=1)
    with torch.no_grad():
        importance = importance_map(upsample(source_logits, size), fidelity.importance)
        memory_label = upsample(memory.logits, size).max(dim=1).indices
        memory_label = resample_labels(memory_label, memory.features.shape[2:])
        prototypes = class_prototypes(memory.features, memory_label, logits.shape[1])
    similarity = prototype_similarity(student.features, prototypes)
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
        importance=importance,
        similarity=similarity.detach(),
        prototype_label=nearest,
        agreement=nearest_up == labels,
    )


class Networks:
    """Student, source and memory network of one adaptation; identical at the start."""

    def __init__(self, source: DeepLabV2, machine: Machine):
        source = copy.deepcopy(source).to(machine.device).freeze_batchnorm_affine()
        self.student = copy.deepcopy(source).train()
        self.memory = copy.deepcopy(source).train().requires_grad_(False)
        self.source = source.eval().requires_grad_(False)


@dataclass
class StepResult:
    """What one update did."""

    terms: LossTerms
    student: Prediction
    memory: Prediction
    source_logits: Tensor


def adaptation_step(
    networks: Networks,
    optimizer: torch.optim.Optimizer,
    batch: dict[str, Tensor],
    often: Tensor,
    config: RunConfig,
    machine: Machine,
) -> StepResult:
    """One update of the student, in the published order (method.md, 4).

    Args:
        networks: are changed: student by the optimiser, memory by its moving average.
        optimizer: of the student, rates already set.
        batch: `plain`, `rescaled`, `augmented`, `clean` (N, 3, H, W) uint8 RGB and `label`
            (N, H, W) int64 pseudo-labels, as `ViewsDataset` gives them.
        often: (K,) state of the class weights, ones at the start.
        config: of the run.
        machine: that computes.
    """
    student, source, memory = networks.student, networks.source, networks.memory
    update_memory(memory, student, config.adaptation.memory_decay)
    with torch.no_grad():
        source_logits = machine.forward(source, batch["rescaled"]).logits
        memory_output = machine.forward(memory, batch["plain"])
    student_output = machine.forward(student, batch["augmented"])
    terms = iapc_losses(
        student_output,
        memory_output,
        source_logits,
        batch["label"],
        often,
        config.losses,
        config.fidelity,
    )
    _descend(student, optimizer, terms.total, batch, config, machine)
    return StepResult(terms, student_output, memory_output, source_logits)


def self_training_step(
    networks: Networks,
    optimizer: torch.optim.Optimizer,
    batch: dict[str, Tensor],
    config: RunConfig,
    machine: Machine,
) -> Tensor:
    """The baseline: plain cross-entropy with the pseudo-labels, all else as in IAPC.

    Returns:
        The loss, a detached scalar.
    """
    logits = machine.forward(networks.student, batch["augmented"]).logits
    labels = batch["label"]
    loss = F.cross_entropy(upsample(logits, labels.shape[1:]), labels, ignore_index=255)
    _descend(networks.student, optimizer, loss, batch, config, machine)
    return loss.detach()


def _descend(student, optimizer, loss, batch, config, machine) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if config.fidelity.clean_forward:
        # Only for the student's BatchNorm statistics, which the saved model keeps.
        with torch.no_grad():
            machine.forward(student, batch["clean"])


class _Adaptation:
    """What a stopped adaptation needs to go on."""

    def __init__(self, networks: Networks, config: RunConfig, machine: Machine):
        self.networks = networks
        visits = config.fidelity.parameter_visits == "published"
        self.optimizer = make_optimizer(networks.student, config.adaptation.optimizer, visits)
        self.often = torch.ones(config.classes, device=machine.device)
        self.history: list[dict[str, Any]] = []

    def state_dict(self) -> dict:
        return {
            "student": self.networks.student.state_dict(),
            "memory": self.networks.memory.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "often": self.often,
            "history": self.history,
        }

    def load_state_dict(self, state: dict) -> None:
        self.networks.student.load_state_dict(state["student"])
        self.networks.memory.load_state_dict(state["memory"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.often, self.history = state["often"].to(self.often), state["history"]


def adapt(
    run: Run,
    name: str,
    method: Method,
    teacher: DeepLabV2,
    records: Sequence[Record],
    pseudo_labels: Sequence[Path],
    watch: Callable[[int, DeepLabV2], dict[str, Any]] | None = None,
    watch_every: int = 50,
) -> tuple[DeepLabV2, list[dict[str, Any]]]:
    """Adapts a network to unlabelled target images, or goes on where a stopped run was.

    Args:
        run: open run folder.
        name: of the row in the results; names the saved state.
        method: the published method, or plain self-training.
        teacher: source network: where all three networks start, and the one that stays.
        records: target images; their labels are not used.
        pseudo_labels: file of every record's pseudo-label.
        watch: called with (step, student) every `watch_every` steps and at both ends; what it
            returns is kept in the history.
        watch_every: steps.

    Returns:
        The student in evaluation mode, and the history: a dict per step with `step`, `loss`,
        the weighted terms, `importance` and `agreement` (means over the batch).

    Raises:
        FloatingPointError: the loss became NaN or infinite; names the step and the terms.
    """
    config, machine = run.config, run.machine
    steps, batch_size = config.adaptation.steps, config.adaptation.batch_size
    state = _Adaptation(Networks(teacher, machine), config, machine)
    made_from = {"teacher": weights_hash(teacher), "data": domain_root(config, "target").name}
    checkpointer = Checkpointer(run, f"adaptation_{name}", state, made_from)
    start = checkpointer.restore()
    dataset = ViewsDataset(
        records, pseudo_labels, config.views, config.class_set, config.seed, steps * batch_size
    )
    loader = machine.load(dataset, batch_size, range(start * batch_size, steps * batch_size))
    student = state.networks.student
    bar = tqdm(loader, desc=f"Adaptation ({name})", initial=start, total=steps)
    for step, batch in enumerate(bar, start=start):
        if watch is not None and step % watch_every == 0:
            _watch(watch, step, student, state.history)
        set_learning_rate(state.optimizer, config.adaptation.optimizer, step)
        batch = machine.to_device(batch)
        if method == "iapc":
            result = adaptation_step(
                state.networks, state.optimizer, batch, state.often, config, machine
            )
            state.often = result.terms.often
            entry = {
                "loss": result.terms.total.item(),
                **{term: value.item() for term, value in result.terms.weighted.items()},
                "importance": result.terms.importance.mean().item(),
                "agreement": result.terms.agreement.float().mean().item(),
            }
        else:
            loss = self_training_step(state.networks, state.optimizer, batch, config, machine)
            entry = {"loss": loss.item()}
        if not all(map(math.isfinite, entry.values())):
            raise FloatingPointError(f"{name}: step {step} is not finite: {entry}")
        state.history.append({"step": step, **entry})
        if step % 10 == 0:
            bar.set_postfix(loss=f"{entry['loss']:.3f}")
        checkpointer.save_if_due(step + 1)
    if watch is not None:
        _watch(watch, steps, student, state.history)
    return student.eval(), state.history


def _watch(watch, step, student, history) -> None:
    history.append({"step": step, "watched": watch(step, student)})
