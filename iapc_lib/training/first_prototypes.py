"""Prototypes that a run keeps from update to update: where they start (paper's Table IV)."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm

from iapc_lib.config.run_config import RunConfig
from iapc_lib.data.images import ImageDataset
from iapc_lib.data.layouts import Record
from iapc_lib.machine.device import Machine
from iapc_lib.machine.stalls import heartbeat
from iapc_lib.method.deeplab import DeepLabV2
from iapc_lib.method.prototypes import memory_prototypes


@torch.no_grad()
def dataset_prototypes(
    memory: DeepLabV2, records: Sequence[Record], config: RunConfig, machine: Machine
) -> Tensor:
    """Prototypes that stay fixed, a variant of the paper's Table IV (method.md, 11).

    Args:
        memory: the memory network at the start; a copy of it sees whole images in train mode.
        records: target images, without labels.
        config: of the run; gives sizes.
        machine: that computes.

    Returns:
        (K, D): per class, the mean of the images' class means over the images that have it.
    """
    memory = copy.deepcopy(memory).train()
    dataset = ImageDataset(records, config.views.image_size, config.class_set)
    total = count = 0
    loader = machine.load(dataset, config.adaptation.batch_size)
    for batch in tqdm(loader, desc="Prototypes of the data set"):
        heartbeat()
        means = memory_prototypes(machine.forward(memory, batch["image"]), config.views.image_size)
        total, count = total + means.sum(dim=0), count + means.any(dim=2).sum(dim=0)
    return total / count.clamp(min=1)[:, None]


def initial_prototypes(
    memory: DeepLabV2, records: Sequence[Record], config: RunConfig, machine: Machine
) -> Tensor | None:
    """State (K, D) of the prototypes before the first update; None where every image has its own."""
    if config.fidelity.prototypes == "dataset":
        return dataset_prototypes(memory, records, config, machine)
    if config.fidelity.prototypes == "momentum":
        return torch.zeros(config.classes, memory.feature_channels, device=machine.device)
    return None
