"""The views of a target image that adaptation trains on (method.md, 3).

The source network sees a rescaled view, the student the same view after a photometric
AutoAugment, the memory network a plain view of the same place in the unscaled image. A view is a
function of (seed, position in training) alone: workers, resumes and processes see the same data.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from iapc_lib.classes import ClassSet
from iapc_lib.config.sections import Views
from iapc_lib.data.autoaugment import autoaugment
from iapc_lib.data.images import (
    read_original,
    read_resized,
    read_train_ids,
    resize_image,
    resize_label,
    to_channels,
    to_tensor,
)
from iapc_lib.data.layouts import Record
from iapc_lib.data.order import draw_order


class TargetViews(NamedTuple):
    """The views of one image: (h, w, 3) uint8 RGB, labels (h, w) uint8 train ids."""

    plain: np.ndarray
    """Unscaled, at the same relative place as the others; the memory network's view."""
    rescaled: np.ndarray
    """Randomly rescaled; the source network's view."""
    augmented: np.ndarray
    """`rescaled` after AutoAugment; the student's view."""
    plain_label: np.ndarray
    label: np.ndarray
    """Pseudo-label of `rescaled` and `augmented`."""


def target_views(
    image: Image.Image,
    pseudo_label: np.ndarray,
    views: Views,
    rng: random.Random,
    plain: np.ndarray | None = None,
) -> TargetViews:
    """Draws the views of an image in the published order of random draws.

    Args:
        image: RGB, any size.
        pseudo_label: (H, W) uint8 train ids, any size.
        views: sizes and ranges.
        rng: source of the draws `random`, `randint` and `choice`.
        plain: (h, w, 3) uint8, the image resized to `views.image_size`; None: is made here.
    """
    low, high = views.scale_range
    scale = low + (high - low) * rng.random()
    scaled_size = tuple(round(side * scale) for side in views.image_size)
    if plain is None:
        plain = np.asarray(resize_image(image, views.image_size))
    plain_label = resize_label(pseudo_label, views.image_size)
    rescaled, label = resize_image(image, scaled_size), resize_label(pseudo_label, scaled_size)
    augmented = autoaugment(rescaled, rng) if views.autoaugment else rescaled

    height, width = views.crop_size
    rest = scaled_size[0] - height, scaled_size[1] - width
    for _ in range(views.crop_tries):
        top, left = rng.randint(0, rest[0]), rng.randint(0, rest[1])
        crop = np.s_[top : top + height, left : left + width]
        if len(np.unique(label[crop])) > views.min_classes:
            break
    plain_top, plain_left = (
        offset * (full - side) // max(room, 1)
        for offset, full, side, room in zip(
            (top, left), views.image_size, views.crop_size, rest, strict=True
        )
    )
    plain_crop = np.s_[plain_top : plain_top + height, plain_left : plain_left + width]
    cropped = TargetViews(
        plain[plain_crop],
        np.asarray(rescaled)[crop],
        np.asarray(augmented)[crop],
        plain_label[plain_crop],
        label[crop],
    )
    if rng.random() < 0.5:
        cropped = TargetViews(*(array[:, ::-1] for array in cropped))
    return cropped


def random_crop(image: np.ndarray, size: tuple[int, int], rng: random.Random) -> np.ndarray:
    """A random (height, width) crop of an image (H, W, 3) uint8."""
    top = rng.randint(0, image.shape[0] - size[0])
    left = rng.randint(0, image.shape[1] - size[1])
    return image[top : top + size[0], left : left + size[1]]


class ViewsDataset(Dataset):
    """Item `position` (step * batch size + place in the batch) is what adaptation sees there.

    An item is a dict of tensors: `plain`, `rescaled`, `augmented`, `clean` (3, h, w) uint8 and
    `label` (h, w) int64, the pseudo-label as channel numbers. `clean` is a crop of another image,
    for the student's clean forward.

    Args:
        records: the target's training images; labels in them are not used.
        pseudo_labels: file of every record's pseudo-label, as `pseudo_labels` writes it.
        views: sizes and ranges.
        classes: the classes that the network knows.
        seed: the run's seed.
        length: number of positions.
    """

    def __init__(
        self,
        records: Sequence[Record],
        pseudo_labels: Sequence[Path],
        views: Views,
        classes: ClassSet,
        seed: int,
        length: int,
    ):
        self.records, self.pseudo_labels = records, pseudo_labels
        self.views, self.classes, self.seed, self.length = views, classes, seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, position: int) -> dict[str, torch.Tensor]:
        rng = random.Random(f"{self.seed}/views/{position}")
        index = draw_order(self.seed, "views", position, len(self.records))
        record = self.records[index]
        image, pseudo_label = read_original(record), read_train_ids(self.pseudo_labels[index])
        copied = record.copies is not None and self.views.image_size in record.copies.files
        plain = read_resized(record, self.views.image_size)[0] if copied else None
        views = target_views(image, pseudo_label, self.views, rng, plain)

        clean_index = draw_order(self.seed, "clean", position, len(self.records))
        clean, _ = read_resized(self.records[clean_index], self.views.clean_size)
        return {
            "plain": to_tensor(views.plain),
            "rescaled": to_tensor(views.rescaled),
            "augmented": to_tensor(views.augmented),
            "clean": to_tensor(random_crop(clean, self.views.crop_size, rng)),
            "label": to_channels(views.label, self.classes),
        }
