"""BatchNorm statistics of the unlabelled target."""

import copy
from collections.abc import Sequence

import torch
from torch import nn
from tqdm.auto import tqdm

from iapc_lib.classes import ALL_19
from iapc_lib.config.sections import Evaluation
from iapc_lib.data.images import ImageDataset
from iapc_lib.data.layouts import Record
from iapc_lib.machine.device import Machine
from iapc_lib.method.deeplab import DeepLabV2


@torch.no_grad()
def recompute_batchnorm(
    network: DeepLabV2, records: Sequence[Record], config: Evaluation, machine: Machine
) -> DeepLabV2:
    """A copy of a network whose BatchNorm statistics are means over unlabelled target images.

    Args:
        network: is left as it is.
        records: target images, without labels.
        config: `bn_batches` batches of `bn_batch_size` images, spread over `records`.
        machine: that computes.
    """
    network = copy.deepcopy(network).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain mean over all batches
    wanted = min(len(records), config.bn_batches * config.bn_batch_size)
    positions = [i * len(records) // wanted for i in range(wanted)]
    dataset = ImageDataset(records, config.image_size, ALL_19)
    loader = machine.load(dataset, config.bn_batch_size, positions)
    for batch in tqdm(loader, desc="BatchNorm statistics"):
        machine.forward(network, batch["image"])
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    return network.eval()
