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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from iapc_lib.checkpoints import weights_hash
from iapc_lib.classes import IGNORE
from iapc_lib.config import RunConfig
from iapc_lib.data.layouts import Record
from iapc_lib.data.names import data_name
from iapc_lib.data.views import ViewsDataset
from iapc_lib.deeplab import DeepLabV2, Prediction, upsample
from iapc_lib.first_prototypes import initial_prototypes
from iapc_lib.hardware import Machine
from iapc_lib.logs import TrainingLog, Watcher
from iapc_lib.losses import information_maximization_loss
from iapc_lib.objective import LossTerms, iapc_losses
from iapc_lib.optimizers import (
    make_optimizer,
    restore_optimizer,
    set_learning_rate,
    update_memory,
)
from iapc_lib.resume import Checkpointer
from iapc_lib.runs import Run
from iapc_lib.sections import IAPC_ROWS, AdaptedRow
from iapc_lib.stalls import StallWatch


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
    prototypes: Tensor | None = None,
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
        prototypes: (K, D) state of the prototypes, unless `fidelity.prototypes` is `image`.
    """
    student, source, memory = networks.student, networks.source, networks.memory
    update_memory(memory, student, config.adaptation.memory_decay)
    with torch.no_grad():
        source_logits = machine.forward(source, batch["rescaled"]).logits
        memory_output = machine.forward(memory, batch["plain"])
    student_output = machine.forward(networks.student, batch["augmented"])
    terms = iapc_losses(
        student_output,
        memory_output,
        source_logits,
        batch["label"],
        often,
        config.losses,
        config.fidelity,
        prototypes,
    )
    _descend(student, optimizer, terms.total, batch, config, machine)
    return StepResult(terms, student_output, memory_output, source_logits)


def self_training_step(
    networks: Networks,
    optimizer: torch.optim.Optimizer,
    batch: dict[str, Tensor],
    config: RunConfig,
    machine: Machine,
    threshold: float | None = None,
) -> Tensor:
    """The baseline: plain cross-entropy with the pseudo-labels, all else as in IAPC.

    Args:
        networks, optimizer, batch, config, machine: as in `adaptation_step`.
        threshold: only pixels count of which the source network, on its own view, is at least so
            sure (largest probability, within 0..1); None: all.

    Returns:
        The loss, a detached scalar.
    """
    labels = batch["label"]
    size = labels.shape[1:]
    if threshold is not None:
        with torch.no_grad():
            source_logits = machine.forward(networks.source, batch["rescaled"]).logits
            confidence = upsample(source_logits, size).softmax(dim=1).amax(dim=1)
        labels = labels.where(confidence >= threshold, IGNORE)
    logits = machine.forward(networks.student, batch["augmented"]).logits
    summed = F.cross_entropy(upsample(logits, size), labels, ignore_index=IGNORE, reduction="sum")
    loss = summed / (labels != IGNORE).sum().clamp(min=1)
    _descend(networks.student, optimizer, loss, batch, config, machine)
    return loss.detach()


def entropy_step(
    networks: Networks,
    optimizer: torch.optim.Optimizer,
    batch: dict[str, Tensor],
    config: RunConfig,
    machine: Machine,
) -> Tensor:
    """The baseline TENT (Wang et al., ICLR 2021): minimises the entropy of the predictions.

    Needs no pseudo-labels. `optimizer` holds BatchNorm's weights and biases alone, which
    `adapt` sees to; arguments as in `adaptation_step`.

    Returns:
        The mean entropy, a detached scalar in nats.
    """
    logits = machine.forward(networks.student, batch["plain"]).logits
    log_probabilities = upsample(logits, batch["label"].shape[1:]).log_softmax(dim=1)
    loss = information_maximization_loss(log_probabilities)
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

    def __init__(self, networks: Networks, row: AdaptedRow, config: RunConfig, machine: Machine):
        self.networks = networks
        visits = config.fidelity.parameter_visits == "published" and row != "tent"
        if row == "tent":
            networks.student.requires_grad_(False)
            for module in networks.student.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.requires_grad_(True)
        self.optimizer = make_optimizer(networks.student, config.adaptation.optimizer, visits)
        self.often = torch.ones(config.classes, device=machine.device)
        self.prototypes: Tensor | None = None
        self.history: list[dict[str, Any]] = []

    def state_dict(self) -> dict:
        return {
            "student": self.networks.student.state_dict(),
            "memory": self.networks.memory.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "often": self.often,
            "prototypes": self.prototypes,
            "history": self.history,
        }

    def load_state_dict(self, state: dict) -> None:
        self.networks.student.load_state_dict(state["student"])
        self.networks.memory.load_state_dict(state["memory"])
        restore_optimizer(self.optimizer, state["optimizer"])
        self.often, self.history = state["often"].to(self.often), state["history"]
        if state["prototypes"] is not None:
            self.prototypes = state["prototypes"].to(self.often)


def adapt(
    run: Run,
    row: AdaptedRow,
    teacher: DeepLabV2,
    records: Sequence[Record],
    pseudo_labels: Sequence[Path],
    watch: Watcher | None = None,
    watch_every: int = 50,
) -> tuple[DeepLabV2, list[dict[str, Any]]]:
    """Adapts a network to unlabelled target images, or goes on where a stopped run was.

    Args:
        run: open run folder.
        row: of the results: `iapc` is the published method, as is `iapc_bn_teacher`, with another
            teacher; the others are baselines. Names the saved state.
        teacher: source network: where all three networks start, and the one that stays.
        records: target images; their labels are not used.
        pseudo_labels: file of every record's pseudo-label.
        watch: called with (step, networks) every `watch_every` steps and at both ends; what it
            returns is kept in the history.
        watch_every: steps.

    Returns:
        The student in evaluation mode, and the history: a dict per step with `step`, `loss`,
        the weighted terms, `importance` and `agreement` (means over the batch), and the rates
        `learning_rate` and `learning_rate_head`.

    Raises:
        TrainingDiverged: it became NaN or infinite; names the step and the terms.
        StallError: a step took longer than `hardware.stall_seconds`.
    """
    stall = StallWatch(f"adaptation ({row})", run.config.hardware.stall_seconds)
    with stall, TrainingLog(run, row) as log:
        return _adapt(
            run, row, teacher, records, pseudo_labels, watch, watch_every, stall=stall, log=log
        )


def _adapt(run, row, teacher, records, pseudo_labels, watch, watch_every, *, stall, log):
    config, machine = run.config, run.machine
    steps, batch_size = config.adaptation.steps, config.adaptation.batch_size
    state = _Adaptation(Networks(teacher, machine), row, config, machine)
    iapc = row in IAPC_ROWS
    made_from = {"teacher": weights_hash(teacher), "data": data_name(config, "target", records)}
    checkpointer = Checkpointer(run, f"adaptation_{row}", state, made_from)
    start = checkpointer.restore(steps)
    log.begin(start, state.history)
    dataset = ViewsDataset(
        records, pseudo_labels, config.views, config.class_set, config.seed, steps * batch_size
    )
    positions = range(start * batch_size, steps * batch_size)
    loader = machine.load(dataset, batch_size, positions)
    student = state.networks.student
    if iapc and state.prototypes is None:
        state.prototypes = initial_prototypes(state.networks.memory, records, config, machine)
    stall.phase(start, "loading its batch")
    bar = tqdm(loader, desc=f"Adaptation ({row})", initial=start, total=steps)
    for step, batch in enumerate(bar, start=start):
        if watch is not None and step % watch_every == 0:
            stall.phase(step, "looking at the score")
            _watch(watch, step, state, log)
        stall.phase(step, "computing")
        rates = set_learning_rate(state.optimizer, config.adaptation.optimizer, step)
        batch = machine.to_device(batch)
        if iapc:
            terms = adaptation_step(
                state.networks,
                state.optimizer,
                batch,
                state.often,
                config,
                machine,
                state.prototypes,
            ).terms
            state.often, state.prototypes = terms.often, terms.prototypes
            shown = {
                "loss": terms.total.detach(),
                **terms.weighted,
                "importance": terms.importance.mean(),
                "agreement": terms.agreement.float().mean(),
            }
        else:
            shown = {"loss": _baseline_step(row, state, batch, config, machine)}
        # One transfer for all: every other would make a GPU wait again.
        numbers = torch.stack(list(shown.values())).tolist()
        entry = dict(zip(shown, numbers, strict=True))
        broken = [f"{key} = {v}" for key, v in entry.items() if not math.isfinite(v)]
        if broken:
            raise checkpointer.diverged(step, ", ".join(broken))
        entry |= {"learning_rate": rates[0], "learning_rate_head": rates[1]}
        state.history.append({"step": step, **entry})
        log.write(state.history[-1])
        if step % 10 == 0:
            bar.set_postfix(loss=f"{entry['loss']:.3f}")
        stall.phase(step, "saving its state")
        checkpointer.save_if_due(step + 1)
        stall.phase(step + 1, "loading its batch")
    stall.phase(steps, "looking at the score")
    checkpointer.require_finite(steps)
    if watch is not None:
        _watch(watch, steps, state, log)
    return student.eval(), state.history


def _baseline_step(row, state, batch, config, machine) -> Tensor:
    if row == "tent":
        return entropy_step(state.networks, state.optimizer, batch, config, machine)
    threshold = config.adaptation.confidence_threshold if row == "self_training_confident" else None
    return self_training_step(state.networks, state.optimizer, batch, config, machine, threshold)


def _watch(watch: Watcher, step: int, state: _Adaptation, log: TrainingLog) -> None:
    state.history.append({"step": step, "watched": watch(step, state.networks)})
    log.write(state.history[-1], watch.pictures(step))
