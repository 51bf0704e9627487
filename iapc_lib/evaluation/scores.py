"""Scores: confusion matrix, IoU by class, and mIoU over 19, 16, 13 and 11 classes."""

import itertools
from collections.abc import Sequence
from math import nan
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from iapc_lib.classes import ALL_19, CLASS_SETS, IGNORE, ClassSet
from iapc_lib.config.sections import Evaluation
from iapc_lib.data.images import ImageDataset
from iapc_lib.data.layouts import DataError, Record
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
    return {"images": len(records)} | scores(counts.sum(dim=0), ready.classes, judged_by(records))


def judged_by(records: Sequence[Record]) -> ClassSet:
    """The classes that the records' data set labels: of no others can its labels judge.

    All 19 where nothing is labelled.
    """
    if records[0].label is None:
        return ALL_19
    return ClassSet(tuple(i for i in ALL_19.train_ids if (records[0].id_table == i).any()))


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

    Raises:
        DataError: an image or label cannot be used, or no label has a pixel of a known class.
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
    found = torch.stack(counts).cpu()
    if not found.any():
        raise DataError(
            f"{records[0].label}: neither this label nor any of the {len(records)} has a pixel of a "
            "class that the network knows: are these the files with label ids?"
        )
    return found


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


def scores(confusion: Tensor, classes: ClassSet, judged: ClassSet = ALL_19) -> dict[str, Any]:
    """The scores of one row of `results.json`, in per cent.

    Args:
        confusion: (K, K) counts over `classes`, rows the truth.
        classes: the classes that the network knows.
        judged: the classes that are labelled.

    Returns:
        `miou` over the known classes that are labelled; `miou_19`, `miou_16`, `miou_13`,
        `miou_11`, None where not all of these are known and labelled; `iou` by class name. A class
        that never occurs, or is not labelled, is None and does not count in a mean.
    """
    iou = 100 * iou_by_class(confusion.double())
    iou[[channel for channel, i in enumerate(classes.train_ids) if i not in judged.train_ids]] = nan
    result: dict[str, Any] = {"miou": _number(iou.nanmean())}
    for number, subset in CLASS_SETS.items():
        known = set(subset.train_ids) <= {*classes.train_ids} & {*judged.train_ids}
        channels = [classes.train_ids.index(i) for i in subset.train_ids] if known else []
        result[f"miou_{number}"] = _number(iou[channels].nanmean())
    result["iou"] = dict(zip(classes.names, map(_number, iou), strict=True))
    return result


def _number(value: Tensor) -> float | None:
    return None if value.isnan() else float(value)


def largest_confusion(counts: Tensor) -> tuple[int, int] | None:
    """The (true, predicted) pair with the largest share of a true class's pixels, if one is wrong.

    It is the one that `swallowed` names first.

    Args:
        counts: (K, K) pixels by (true, predicted) class.
    """
    shares = counts.double() / counts.sum(dim=1, keepdim=True).clamp(min=1)
    shares.fill_diagonal_(0)
    if not shares.any():
        return None
    true, called = divmod(int(shares.argmax()), len(counts))
    return true, called
