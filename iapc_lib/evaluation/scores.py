"""Scores: confusion matrix, IoU by class, and mIoU over 19, 16, 13 and 11 classes."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from iapc_lib.classes import CLASS_SETS, IGNORE, ClassSet
from iapc_lib.config.sections import Evaluation
from iapc_lib.data.images import ImageDataset
from iapc_lib.data.layouts import Record
from iapc_lib.machine.stalls import heartbeat
from iapc_lib.networks.ready import ReadyNetwork


def score_records(
    ready: ReadyNetwork,
    records: Sequence[Record],
    config: Evaluation,
    description: str | None = None,
) -> dict[str, Any]:
    """`scores` of a network on labelled images, at the labels' own size, and `images`: how many.

    The arguments are those of `confusions`.
    """
    counts = confusions(ready, records, config, description)
    return {"images": len(records)} | scores(counts.sum(dim=0), ready.classes)


def confusions(
    ready: ReadyNetwork,
    records: Sequence[Record],
    config: Evaluation,
    description: str | None = None,
) -> Tensor:
    """What a network takes for what on labelled images, at the labels' own size.

    Args:
        ready: evaluated in evaluation mode; its mode is restored afterwards. Labels of classes that
            it does not know are ignored.
        records: with labels.
        config: size of the images and of the batches.
        description: of the progress bar; None shows none.

    Returns:
        (N, K, K) int64 on the CPU: pixels of every image by (true, predicted) class.
    """
    network, classes, machine = ready.network, ready.classes, ready.machine
    was_training = network.training
    network.eval()
    counts = []
    dataset = ImageDataset(records, config.image_size, classes)
    loader = machine.load(dataset, config.batch_size, collate=list)
    for batch in tqdm(loader, desc=description, disable=description is None):
        heartbeat()
        for size, items in itertools.groupby(batch, key=lambda item: item["size"]):
            images, labels = zip(*((item["image"], item["label"]) for item in items), strict=True)
            predictions = ready.predict(torch.stack(images), size)
            pairs = zip(torch.stack(labels).to(machine.device), predictions, strict=True)
            counts += [count_pairs(*pair, len(classes)) for pair in pairs]
    network.train(was_training)
    return torch.stack(counts).cpu()


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
        `miou` over those classes; `miou_19`, `miou_16`, `miou_13`, `miou_11`, None where the network does
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
