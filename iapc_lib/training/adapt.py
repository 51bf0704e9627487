"""Adaptation: what it trains on, and how it steps (method.md, 4)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from iapc_lib.config.run_config import RunConfig
from iapc_lib.data.fingerprints import data_fingerprint
from iapc_lib.data.layouts import Record
from iapc_lib.data.target_views import ViewsDataset
from iapc_lib.method.deeplab import DeepLabV2
from iapc_lib.method.optimizer import make_optimizer
from iapc_lib.method.step import Forward, Networks, adaptation_step, clean_forward, descend
from iapc_lib.networks.weights import weights_hash
from iapc_lib.rows import Row
from iapc_lib.runs.folder import Run
from iapc_lib.training.baselines import BASELINES
from iapc_lib.training.first_prototypes import initial_prototypes
from iapc_lib.training.loop import Training, train
from iapc_lib.training.monitor import Monitor
from iapc_lib.training.saved_state import restore_optimizer

STATISTICS_MEMORY = 100
"""Updates. The two forwards of each leave 0.9 * 0.9 of BatchNorm's running statistics, so that what
came before as many weighs 0.81^100 = 7e-10, a hundredth of what float32 resolves."""


def statistics_are_read(step: int, steps: int, look_every: int) -> bool:
    """Whether a step's part in the running statistics is still there when somebody reads them.

    Args:
        step: of the update.
        steps: of the training; its end reads them.
        look_every: steps; so does a look before every so many.
    """
    next_reading = min((step // look_every + 1) * look_every, steps)
    return next_reading - step <= STATISTICS_MEMORY


class Adaptation:
    """What a stopped adaptation needs to go on.

    Args:
        row: of the results: what is trained.
        networks: identical at the start.
        config: of the run.
    """

    def __init__(self, row: Row, networks: Networks, config: RunConfig):
        self.networks = networks
        if row.trains == "batchnorm":
            networks.student.requires_grad_(False)
            for module in networks.student.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.requires_grad_(True)
        visits = config.fidelity.parameter_visits == "published" and row.trains == "weights"
        self.optimizer = make_optimizer(networks.student, config.adaptation.optimizer, visits)
        device = next(networks.student.parameters()).device
        self.absence = torch.ones(config.classes, device=device)
        """(K,) state of the class weights."""
        self.prototypes: Tensor | None = None
        """(K, D) state of the prototypes."""
        self.history: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        return {
            "student": self.networks.student.state_dict(),
            "memory": self.networks.memory.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "often": self.absence,  # its name in saved states of every version
            "prototypes": self.prototypes,
            "history": self.history,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.networks.student.load_state_dict(state["student"])
        self.networks.memory.load_state_dict(state["memory"])
        restore_optimizer(self.optimizer, state["optimizer"])
        self.absence, self.history = state["often"].to(self.absence), state["history"]
        if state["prototypes"] is not None:
            self.prototypes = state["prototypes"].to(self.absence)


def update(
    row: Row,
    state: Adaptation,
    batch: Mapping[str, Tensor],
    config: RunConfig,
    forward: Forward,
    statistics_read: bool = True,
) -> dict[str, Tensor]:
    """One update of a row, the published method's or a baseline's.

    Args:
        row: of the results.
        state: is changed.
        batch: of `ViewsDataset`, on the device.
        config: of the run.
        forward: runs a network on images.
        statistics_read: see `clean_forward`.

    Returns:
        Detached scalars: `loss` and, of the published method, its weighted terms, `importance` and
        `agreement` (means over the batch).
    """
    networks, optimizer = state.networks, state.optimizer
    if row.update in BASELINES:
        loss = BASELINES[row.update](networks, batch, config, forward)
        descend(optimizer, loss)
        if config.fidelity.clean_forward:
            clean_forward(networks.student, batch["clean"], forward, statistics_read)
        return {"loss": loss.detach()}
    made = adaptation_step(
        networks,
        optimizer,
        batch,
        state.absence,
        config.step_settings,
        forward,
        state.prototypes,
        statistics_read,
    )
    state.absence, state.prototypes = made.terms.absence, made.prototypes
    return made.terms.numbers


def adapt(
    run: Run,
    row: Row,
    teacher: DeepLabV2,
    records: Sequence[Record],
    pseudo_labels: Sequence[Path],
    monitor: Monitor | None = None,
    look_every: int = 50,
) -> tuple[DeepLabV2, list[dict[str, Any]]]:
    """Adapts a network to unlabelled target images, or goes on where a stopped run was.

    Args:
        run: open run folder.
        row: of the results; one with an update.
        teacher: where all three networks start, and the one that stays.
        records: target images; their labels are not used.
        pseudo_labels: file of every record's pseudo-label.
        monitor: looks at the networks every `look_every` steps and at both ends.
        look_every: steps.

    Returns:
        The student in evaluation mode, and the history, see `loop.train`; a step has what `update`
        returns.

    Raises:
        TrainingDiverged: it became NaN or infinite; names the step and the terms.
        StallError: a step took longer than `hardware.stall_seconds`.
    """
    config, machine = run.config, run.machine
    state = Adaptation(row, Networks(teacher.to(machine.device)), config)
    views = ViewsDataset(
        records,
        pseudo_labels,
        config.views,
        config.class_set,
        config.seed,
        config.adaptation.steps * config.adaptation.batch_size,
    )
    training = Training(
        name=row.stage,
        log=row.name,
        title=f"adaptation ({row.name})",
        section="adaptation",
        made_from={
            "teacher": weights_hash(teacher),
            "data": data_fingerprint(config, "target", records),
        },
    )

    def start_prototypes() -> None:
        if row.memory and state.prototypes is None:
            state.prototypes = initial_prototypes(state.networks.memory, records, config, machine)

    def update_on(batch: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        read = statistics_are_read(step, config.adaptation.steps, look_every)
        return update(row, state, batch, config, machine.forward, read)

    history = train(
        run,
        training,
        state,
        views,
        update_on,
        begin=start_prototypes,
        look=monitor and (lambda step: monitor.look(step, state.networks)),
        look_every=look_every,
    )
    return state.networks.student.eval(), history
