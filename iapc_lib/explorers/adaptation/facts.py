"""What the adaptation explorer computes: a picture at one step of a run, and the run's history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from iapc_lib.classes import IGNORE
from iapc_lib.evaluation.scores import count_pairs, scores
from iapc_lib.explorers.gallery import Gallery
from iapc_lib.method.objective import iapc_losses
from iapc_lib.method.prototypes import memory_prototypes

WINDOW = 20
"""Updates over which the history's loss is averaged."""


@dataclass(frozen=True, eq=False)
class PictureAtStep:
    """One picture as the networks of one step see it; made by `picture_at_step`. Labels are train ids."""

    step: int
    student: np.ndarray
    """(H, W) uint8, predicted in evaluation mode, as it is scored."""
    memory: np.ndarray | None
    """(H, W) uint8, of the memory network in train mode; None where there is none."""
    agreement: float
    """Share of the pseudo-labelled pixels to which the student gives their pseudo-label."""
    miou: float | None
    """In per cent, on this picture alone; None without labels."""
    iou: dict[int, float]
    """Per cent by train id, of the classes that occur in label or prediction; empty without."""
    right: float | None
    """Share of the labelled pixels that the student gets right; None without labels."""
    terms: dict[str, float]
    """`loss`, its weighted terms, `importance` and `agreement` (of nearest prototype and
    pseudo-label) as in the history, on this picture alone; empty without a memory network."""


def picture_at_step(gallery: Gallery, picture: int, step: int) -> PictureAtStep:
    """Computes everything that is shown of a picture at a step of the gallery.

    Raises:
        CheckpointError: a network of that step cannot be read.
    """
    shown, student = gallery.pictures[picture], gallery.student_labels(picture, step)
    known = shown.pseudo_label != IGNORE
    miou, iou = picture_scores(gallery, student, shown.label)
    labelled = shown.label is not None and shown.label != IGNORE
    return PictureAtStep(
        step,
        student,
        gallery.memory_labels(picture, step) if gallery.row.memory else None,
        float((student == shown.pseudo_label)[known].mean()),
        miou,
        iou,
        None if miou is None else float((student == shown.label)[labelled].mean()),
        picture_terms(gallery, picture, step) if gallery.row.memory else {},
    )


def picture_scores(
    gallery: Gallery, predicted: np.ndarray, label: np.ndarray | None
) -> tuple[float | None, dict[int, float]]:
    """mIoU and IoU by train id in per cent; (None, {}) where no pixel is labelled.

    Args:
        gallery: gives the classes.
        predicted: (H, W) uint8 train ids.
        label: the same, the truth.
    """
    if label is None or (label == IGNORE).all():
        return None, {}
    classes = gallery.source.classes
    true, found = (
        torch.from_numpy(classes.channel_of_train_id[labels].astype(np.int64))
        for labels in (label, predicted)
    )
    scored = scores(count_pairs(true, found, len(classes)), classes, gallery.judged)
    values = zip(classes.train_ids, scored["iou"].values(), strict=True)
    return scored["miou"], {train_id: iou for train_id, iou in values if iou is not None}


@torch.no_grad()
def picture_terms(gallery: Gallery, picture: int, step: int) -> dict[str, float]:
    """The objective, were the picture an update's whole batch, with the names of the history.

    As in a first update the class weights know of no earlier batch; the prototypes are the
    picture's own.
    """
    student, memory = gallery.outputs(picture, step)
    labels = gallery.source.classes.channel_of_train_id[gallery.pictures[picture].pseudo_label]
    terms = iapc_losses(
        student,
        memory_prototypes(memory, gallery.size),
        gallery.source_logits(picture)[None],
        torch.from_numpy(labels.astype(np.int64))[None],
        torch.ones(len(gallery.source.classes)),
        gallery.losses,
        gallery.fidelity,
    )
    return {name: float(value) for name, value in terms.numbers.items()}


def update_at(history: Sequence[Mapping[str, Any]], step: int) -> Mapping[str, float]:
    """The history's entry of the update that the networks of a step made; empty without one."""
    updates = (entry for entry in history if "loss" in entry and entry["step"] == step)
    return next(updates, {})


def loss_curve(history: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """(step, running mean of the loss over the last `WINDOW` updates)."""
    losses = pd.Series({entry["step"]: entry["loss"] for entry in history if "loss" in entry})
    means = losses.rolling(WINDOW, min_periods=1).mean()
    return list(means.items())


def nearest_step(steps: Sequence[int], step: int) -> int:
    """The one of `steps` that is closest to `step`, the earlier one of two."""
    return min(steps, key=lambda other: (abs(other - step), other))


def check_same_pictures(gallery: Gallery, other: Gallery) -> None:
    """Two galleries can be compared only on the same pictures.

    Raises:
        ValueError: says what differs.
    """
    names, others = ([picture.name for picture in g.pictures] for g in (gallery, other))
    if names != others or gallery.size != other.size:
        raise ValueError(
            f"{other.title} shows other pictures than {gallery.title}: {len(others)} of size "
            f"{other.size} from {others[0]}, instead of {len(names)} of size {gallery.size} "
            f"from {names[0]}"
        )
