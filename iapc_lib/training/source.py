"""The source network: supervised training on the rendered images (method.md, 13)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from iapc_lib.classes import IGNORE, ClassSet
from iapc_lib.config.run_config import RunConfig
from iapc_lib.data.fingerprints import data_fingerprint
from iapc_lib.data.images import read_label
from iapc_lib.data.layouts import Record
from iapc_lib.data.source_views import SourceDataset
from iapc_lib.files import file_hash
from iapc_lib.machine.stalls import heartbeat
from iapc_lib.method.deeplab import DeepLabV2, upsample
from iapc_lib.method.losses import weighted_cross_entropy
from iapc_lib.method.optimizer import make_optimizer
from iapc_lib.method.step import descend
from iapc_lib.networks.build import build_network
from iapc_lib.networks.imagenet import imagenet_file, load_imagenet_body
from iapc_lib.runs.folder import Run
from iapc_lib.training.loop import Training, train
from iapc_lib.training.saved_state import restore_optimizer


def frequency_weights(records: Sequence[Record], classes: ClassSet, power: float) -> Tensor:
    """(median frequency / frequency) ** power of every class, (K,) float32; 0 for absent ones."""
    counts = np.zeros(256, np.int64)
    for record in tqdm(records, desc="Class frequencies"):
        heartbeat()
        counts += np.bincount(read_label(record).ravel(), minlength=256)
    frequency = torch.from_numpy(counts[list(classes.train_ids)]).float()
    present = frequency > 0
    weights = (frequency[present].median() / frequency.clamp(min=1)) ** power
    return weights * present


def mean_cross_entropy(logits: Tensor, labels: Tensor, weight: Tensor | None) -> Tensor:
    """Cross-entropy over the labelled pixels, their mean weighted by class; a scalar.

    Args:
        logits: (N, K, h, w) float.
        labels: (N, H, W) int64, 255 = ignore.
        weight: (K,) float; None: all classes alike.
    """
    log_probabilities = upsample(logits, labels.shape[1:]).log_softmax(dim=1)
    summed = weighted_cross_entropy(log_probabilities, labels, weight).sum()
    known = labels != IGNORE
    return summed / (known if weight is None else weight[labels[known]]).sum().clamp(min=1)


class SourceTrainingState:
    """What a stopped source training needs to go on."""

    def __init__(self, config: RunConfig, device: torch.device, imagenet: Path | None):
        self.network = build_network(config.classes, config.model).initialize(config.seed)
        if imagenet is not None:
            load_imagenet_body(self.network, imagenet)
        self.network.to(device).train()
        self.optimizer = make_optimizer(self.network, config.source_training.optimizer)
        self.history: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        restore_optimizer(self.optimizer, state["optimizer"])
        self.history = state["history"]


def train_source(run: Run, records: Sequence[Record]) -> tuple[DeepLabV2, list[dict[str, Any]]]:
    """Trains the source network, or goes on where a stopped training was.

    Args:
        run: open run folder.
        records: labelled source images.

    Returns:
        The network in evaluation mode, and the history, see `loop.train`; a step has its `loss`.

    Raises:
        TrainingDiverged: it became NaN or infinite; names the step.
        StallError: a step took longer than `hardware.stall_seconds`.
    """
    config, machine, settings = run.config, run.machine, run.config.source_training
    imagenet = imagenet_file(config)
    state = SourceTrainingState(config, machine.device, imagenet)
    weight: Tensor | None = None

    def weigh_classes() -> None:
        nonlocal weight
        if settings.class_weight_power > 0:
            weights = frequency_weights(records, config.class_set, settings.class_weight_power)
            weight = weights.to(machine.device)

    def update(batch: dict[str, Tensor], _: int) -> dict[str, Tensor]:
        logits = machine.forward(state.network, batch["image"]).logits
        loss = mean_cross_entropy(logits, batch["label"], weight)
        descend(state.optimizer, loss)
        return {"loss": loss.detach()}

    training = Training(
        name="source_training",
        log="source",
        title="source training",
        section="source_training",
        made_from={
            "data": data_fingerprint(config, "source", records),
            "imagenet": imagenet and file_hash(imagenet),
        },
    )
    dataset = SourceDataset(records, settings, config.class_set, config.seed)
    history = train(run, training, state, dataset, update, begin=weigh_classes)
    return state.network.eval(), history
