"""The processes that train together: what they add up, gather and share.

A training in several processes, one a GPU, is the training in one process with its batch divided:
gradients are averaged, BatchNorm sees the images of all, and what is counted over a batch is
counted over all its images. A loss is the mean of the processes' losses, whose batches are equal.
"""

from __future__ import annotations

import copy
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from torch import Tensor, nn

WAIT_HOURS = 12
"""The others wait so long at most while the main process scores `dev`, or one starts late."""


class World:
    """A process that trains alone: nothing to add, gather or average."""

    processes = 1
    rank = 0

    @property
    def main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over the processes, without gradient."""
        return tensor

    def mean(self, tensor: Tensor) -> Tensor:
        """Mean over the processes, without gradient; of float tensors."""
        return tensor

    def gather(self, tensor: Tensor) -> Tensor:
        """(n, ...) of every process -> (processes * n, ...) in the order of the batch."""
        return tensor

    def own(self, gathered: Tensor) -> Tensor:
        """(processes * n, ...) -> the (n, ...) of this process; undoes `gather`."""
        return gathered.chunk(self.processes)[self.rank]

    def batch_share(self, batch_size: int) -> int:
        """Images of a batch that this process takes; `launching` refuses what does not divide."""
        return batch_size // self.processes

    def positions(self, steps: range, batch_size: int) -> list[int]:
        """Positions in the data that this process trains on: its places in every step's batch.

        A batch's places are dealt out in a row, so that all processes together see at every step
        what one alone would see.
        """
        share = self.batch_share(batch_size)
        first = self.rank * share
        return [step * batch_size + first + place for step in steps for place in range(share)]

    def synchronise(self, network: nn.Module) -> None:
        """Lets BatchNorm use the images of all processes in train mode; weights stay as they are."""

    def average_gradients(self, network: nn.Module) -> nn.Module:
        """The network to call where gradients are wanted: theirs are means over the processes."""
        return network


ALONE = World()


class AcceleratedWorld(World):
    """The processes that `torchrun` or accelerate's launchers started.

    Args:
        cpu: talk through gloo instead of NCCL.
    """

    def __init__(self, cpu: bool):
        self.accelerator = Accelerator(
            cpu=cpu,
            mixed_precision="no",  # `Machine.forward` sees to precision
            kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=WAIT_HOURS))],
        )
        self.processes = self.accelerator.num_processes
        self.rank = self.accelerator.process_index

    def sum(self, tensor: Tensor) -> Tensor:
        return self.accelerator.reduce(tensor.detach(), "sum")

    def mean(self, tensor: Tensor) -> Tensor:
        return self.accelerator.reduce(tensor.detach(), "mean")

    def gather(self, tensor: Tensor) -> Tensor:
        return self.accelerator.gather(tensor.detach().contiguous())

    def synchronise(self, network: nn.Module) -> None:
        if self.accelerator.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(network)
            return
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                # The same parameters and statistics, under the same names, with another forward.
                module.__class__ = SynchronisedBatchNorm

    def average_gradients(self, network: nn.Module) -> nn.Module:
        return self.accelerator.prepare_model(network)


class _Sum(torch.autograd.Function):
    """Sum over the processes; so is its gradient, for every process used what all gave."""

    @staticmethod
    def forward(context, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """BatchNorm over the images of all processes, for tensors that `nn.SyncBatchNorm` refuses.

    Every process must hold equally many images of one size, and call it as often as the others.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W); statistics are those of all processes in train mode."""
        if not self.training:
            return super().forward(x)
        processes = torch.distributed.get_world_size()
        values = x.to(self.running_mean.dtype)
        mean = _Sum.apply(values.mean((0, 2, 3), keepdim=True)) / processes
        variance = _Sum.apply((values - mean).square().mean((0, 2, 3), keepdim=True)) / processes
        with torch.no_grad():
            count = processes * values.numel() / values.shape[1]
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean.flatten(), self.momentum)
            self.running_var.lerp_(variance.flatten() * (count / (count - 1)), self.momentum)
        scale = self.weight[:, None, None] * (variance + self.eps).rsqrt()
        return ((values - mean) * scale + self.bias[:, None, None]).to(x.dtype)


def local_copy(network: nn.Module) -> nn.Module:
    """A copy whose BatchNorm uses the images of this process alone, for one that works alone."""
    copied = copy.deepcopy(network)
    for module in copied.modules():
        if isinstance(module, nn.SyncBatchNorm | SynchronisedBatchNorm):
            module.__class__ = nn.BatchNorm2d
    return copied
