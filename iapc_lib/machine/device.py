"""The machine that a run uses: device, precision, repeatability, and how images reach a network."""

import os
import platform
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, default_collate

from iapc_lib.config.errors import ConfigError
from iapc_lib.config.sections import Hardware as HardwareConfig
from iapc_lib.files import Refusal
from iapc_lib.method.deeplab import Prediction, network_input


class _Items(Dataset):
    """The items of a dataset, or the refusal that reading one ended in."""

    def __init__(self, dataset: Dataset | Sequence[Any]):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, position: int) -> Any:
        try:
            return self.dataset[position]
        except Refusal as error:
            return error


def _collated(items: list[Any], collate: Callable[[list[Any]], Any]) -> Any:
    for item in items:
        if isinstance(item, Refusal):
            return item
    try:
        return collate(items)
    except Refusal as error:
        return error


class _Loader(DataLoader):
    """Raises a refusal as it was; torch would wrap one of another process in that one's traceback."""

    def __init__(self, dataset: Dataset | Sequence[Any], *arguments: Any, **options: Any):
        super().__init__(_Items(dataset), *arguments, **options)

    def __iter__(self) -> Iterator[Any]:
        for batch in super().__iter__():
            if isinstance(batch, Refusal):
                raise batch
            yield batch


@dataclass(frozen=True)
class Machine:
    """Where tensors live and how precisely networks compute.

    | device | networks | losses, prototypes, importance, weights |
    | --- | --- | --- |
    | CPU | float32 | float32 |
    | CUDA | bfloat16 (autocast) | float32 |
    """

    device: torch.device
    autocast: bool
    workers: int = 0

    @property
    def description(self) -> str:
        """The device in words, for provenance."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"CPU {platform.machine()}, {torch.get_num_threads()} threads"

    @property
    def busy(self) -> str | None:
        """Why the CPU may be slow now, and what helps; None where it is idle enough."""
        threads, cores = torch.get_num_threads(), usable_cores()
        if self.device.type == "cuda" or threads == 1 or not hasattr(os, "getloadavg"):  # Windows
            return None
        load = os.getloadavg()[0]
        if load < cores - threads + 1:
            return None
        return (
            f"{threads} threads on {cores} cores that others keep busy (load {load:.1f}): threads "
            "wait for one another at every operation, and fewer may be several times faster: "
            "hardware.threads=1"
        )

    def forward(self, network: nn.Module, images: Tensor) -> Prediction:
        """uint8 RGB images (N, 3, H, W) through a network; logits and features in full precision."""
        weights = next(network.parameters())
        inputs = network_input(images.to(weights.device, non_blocking=True)).to(weights.dtype)
        # Saves a quarter of a small network's time on a CPU, up to half in bfloat16 on a GPU
        # (docs/running.md), and is slower in float32 there. In bfloat16 on a CPU torch's gradients
        # of dilated depthwise convolutions would be wrong.
        if self.autocast == (weights.device.type == "cuda"):
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            prediction = network(inputs)
        return Prediction(*(output.to(weights.dtype) for output in prediction))

    def load(
        self,
        dataset: Dataset | Sequence[Any],
        batch_size: int,
        positions: Iterable[int] | None = None,
        collate: Callable | None = None,
    ) -> DataLoader:
        """Batches of a dataset's items at `positions` (all of them if None), in that order.

        Args:
            dataset: or any sequence.
            batch_size: items of a batch.
            positions: of the items.
            collate: list of items -> batch; runs in the `workers`, so it may read files, but must
                be something that a process can receive: no lambda. None: torch's own.
        """
        return _Loader(
            dataset,
            batch_size,
            sampler=range(len(dataset)) if positions is None else positions,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            collate_fn=partial(_collated, collate=collate or default_collate),
        )

    def to_device(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A batch of tensors on the machine's device."""
        return {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}


def usable_cores() -> int:
    """Cores that this process may use: on a cluster fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def prepare_machine(config: HardwareConfig) -> Machine:
    """The machine that `config.hardware` names, set to repeatable arithmetic.

    Raises:
        ConfigError: CUDA is asked for and not there.
    """
    # cuBLAS repeats its sums in one order only with a fixed work space.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("hardware.device is 'cuda', but torch finds no GPU; allowed: auto, cpu")
    use_cuda = config.device != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if use_cuda else "cpu")
    # As torch.use_deterministic_algorithms(True, warn_only=True), which imports torch's compiler, too.
    torch.set_deterministic_debug_mode("warn")
    # That would also fill every new tensor with NaN, to show what reads before it writes.
    torch.utils.deterministic.fill_uninitialized_memory = False
    # Said of every loss of an image; without a reduction of its own it is repeatable.
    warnings.filterwarnings("ignore", "nll_loss2d_forward_out_cuda_template")
    # `iapc check` says it of a whole run, once.
    warnings.filterwarnings("ignore", "This DataLoader will create")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    autocast = config.precision == "bfloat16" or (config.precision == "auto" and use_cuda)
    return Machine(device, autocast, config.workers)
