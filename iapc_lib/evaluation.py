"""Scores: confusion matrix, IoU by class, and mIoU over 19, 16 and 13 classes.

Also the first two rows of every results table: the source network as it is, and with its
BatchNorm statistics recomputed on the target.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from iapc_lib.checkpoints import load_network
from iapc_lib.classes import CLASS_SETS, IGNORE, ClassSet
from iapc_lib.config import RunConfig
from iapc_lib.data.dataset import ImageDataset
from iapc_lib.data.layouts import Record, target_records
from iapc_lib.deeplab import DeepLabV2, upsample
from iapc_lib.hardware import Machine, prepare_machine
from iapc_lib.presets import ConfigError
from iapc_lib.sections import Evaluation
from iapc_lib.stalls import progress


@torch.no_grad()
def predict_labels(
    machine: Machine, network: DeepLabV2, images: Tensor, size: tuple[int, int]
) -> Tensor:
    """The class with the largest up-sampled logit at every pixel.

    Args:
        machine: that computes.
        network: used in the mode in which it is.
        images: (N, 3, h, w) uint8 RGB.
        size: (H, W) of the result.

    Returns:
        (N, H, W) int64 channel numbers, on the network's device.
    """
    return upsample(machine.forward(network, images).logits, size).max(dim=1).indices


def confusion_matrix(
    machine: Machine,
    network: DeepLabV2,
    records: Sequence[Record],
    config: Evaluation,
    classes: ClassSet,
    description: str | None = None,
) -> Tensor:
    """Counts of (true, predicted) classes over labelled images, at the labels' own size.

    Args:
        machine: that computes.
        network: evaluated in evaluation mode; its mode is restored afterwards.
        records: with labels.
        config: size of the images and of the batches.
        classes: what the network's channels stand for; other labels are ignored.
        description: of the progress bar; None shows none.

    Returns:
        (K, K) float64 on the CPU, rows are the truth.
    """
    was_training = network.training
    network.eval()
    counts = torch.zeros(len(classes), len(classes), dtype=torch.int64, device=machine.device)
    dataset = ImageDataset(records, config.image_size, classes)
    loader = machine.load(dataset, config.batch_size, collate=list)
    for batch in tqdm(loader, desc=description, disable=description is None):
        progress()
        for size, items in itertools.groupby(batch, key=lambda item: item["size"]):
            images, labels = zip(*((item["image"], item["label"]) for item in items), strict=True)
            predictions = predict_labels(machine, network, torch.stack(images), size)
            counts += count_pairs(torch.stack(labels).to(machine.device), predictions, len(classes))
    network.train(was_training)
    return counts.double().cpu()


def evaluate_checkpoint(path: Path, config: RunConfig, split: str = "val") -> dict[str, Any]:
    """Scores of a network on the target's labelled images; see `scores`.

    Args:
        path: of the checkpoint; it may know other classes than `config.classes`.
        config: gives the target, the size of its images, and the hardware.
        split: `val` or `dev`.

    Raises:
        CheckpointError: the network cannot be read.
        ConfigError: the target has no such labelled split, or there is no such device.
        DataError: images or labels are missing or damaged.
    """
    if split not in ("val", "dev") or getattr(config.target, split) is None:
        raise ConfigError(f"target.{split}: this configuration has no such labelled split")
    machine = prepare_machine(config.hardware)
    network, classes = load_network(path)
    records = target_records(config, split, labels=True)
    found = score_records(
        machine,
        network.to(machine.device),
        records,
        config.evaluation,
        classes,
        f"Scoring {path.name} on {split}",
    )
    return {"checkpoint": str(path), "split": split} | found


def score_records(
    machine: Machine,
    network: DeepLabV2,
    records: Sequence[Record],
    config: Evaluation,
    classes: ClassSet,
    description: str | None = None,
) -> dict[str, Any]:
    """`scores` of a network on labelled images, and the number of these as `images`.

    The arguments are those of `confusion_matrix`.
    """
    counts = confusion_matrix(machine, network, records, config, classes, description)
    return {"images": len(records)} | scores(counts, classes)


def count_pairs(labels: Tensor, predictions: Tensor, num_classes: int) -> Tensor:
    """Pixels by (true, predicted) class, (K, K) int64; labels that are 255 are left out.

    Args:
        labels: int64, any shape, channel numbers or 255.
        predictions: int64 of the same shape, channel numbers.
        num_classes: K.
    """
    # torchmetrics' confusion matrix takes 361 times the memory in torch's deterministic mode.
    known = labels != IGNORE
    pairs = num_classes * labels[known] + predictions[known]
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


def iou_by_class(confusion: Tensor) -> Tensor:
    """(K, K) counts, rows the truth -> (K,) IoU within 0..1; NaN for classes that never occur."""
    hits = confusion.diagonal()
    return hits / (confusion.sum(dim=0) + confusion.sum(dim=1) - hits)


def scores(confusion: Tensor, classes: ClassSet) -> dict[str, Any]:
    """The scores of one row of `results.json`, in per cent.

    Args:
        confusion: (K, K) counts over `classes`, rows the truth.
        classes: the classes that the network knows.

    Returns:
        `miou` over those classes; `miou_19`, `miou_16`, `miou_13`, None where the network does
        not know all of these; `iou` by class name. A class that never occurs is None and does
        not count in a mean.
    """
    iou = 100 * iou_by_class(confusion.double())
    result: dict[str, Any] = {"miou": _number(iou.nanmean())}
    for number, subset in CLASS_SETS.items():
        known = set(subset.train_ids) <= set(classes.train_ids)
        channels = [classes.train_ids.index(i) for i in subset.train_ids] if known else []
        result[f"miou_{number}"] = _number(iou[channels].nanmean())
    result["iou"] = dict(zip(classes.names, map(_number, iou), strict=True))
    return result


def _number(value: Tensor) -> float | None:
    return None if value.isnan() else float(value)


@torch.no_grad()
def recompute_batchnorm(
    machine: Machine, network: DeepLabV2, records: Sequence[Record], config: Evaluation
) -> DeepLabV2:
    """A copy of a network whose BatchNorm statistics are means over unlabelled target images.

    Args:
        machine: that computes.
        network: is left as it is.
        records: target images; labels in them are not used.
        config: `bn_batches` batches of `bn_batch_size` images, spread over `records`.
    """
    network = copy.deepcopy(network).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain mean over all batches
    wanted = min(len(records), config.bn_batches * config.bn_batch_size)
    positions = [i * len(records) // wanted for i in range(wanted)]
    unlabelled = [Record(r.name, r.image, None, r.layout) for r in records]
    dataset = ImageDataset(unlabelled, config.image_size, CLASS_SETS[19])
    for batch in tqdm(
        machine.load(dataset, config.bn_batch_size, positions, collate=list),
        desc="BatchNorm statistics",
    ):
        machine.forward(network, torch.stack([item["image"] for item in batch]))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    return network.eval()
