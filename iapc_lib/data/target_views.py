"""The views of a target image that adaptation trains on (method.md, 3).

The source network sees a rescaled view, the student the same view after a photometric
AutoAugment, the memory network a plain view of the same place in the unscaled image. A view is a
function of (seed, position in training) alone: with any number of workers, and after a stop, the
data are the same.
"""

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
from iapc_lib.data.order import draw_order, random_crop


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

    for _ in range(views.crop_tries):
        crop = random_crop(scaled_size, views.crop_size, rng)
        if len(np.unique(label[crop])) > views.min_classes:
            break
    plain_crop = tuple(
        _same_place(place, scaled, full)
        for place, scaled, full in zip(crop, scaled_size, views.image_size, strict=True)
    )
    cropped = TargetViews(
        plain[plain_crop],
        _cut(rescaled, crop),
        _cut(augmented, crop),
        plain_label[plain_crop],
        label[crop],
    )
    if rng.random() < 0.5:
        cropped = TargetViews(*(array[:, ::-1] for array in cropped))
    return cropped


def _cut(image: Image.Image, crop: tuple[slice, slice]) -> np.ndarray:
    """(h, w, 3) uint8: a crop (rows, columns); the whole image is never copied."""
    rows, columns = crop
    return np.asarray(image.crop((columns.start, rows.start, columns.stop, rows.stop)))


def _same_place(place: slice, scaled: int, full: int) -> slice:
    """Where a slice of a side of `scaled` pixels lies, relatively, on one of `full` pixels."""
    side = place.stop - place.start
    start = place.start * (full - side) // max(scaled - side, 1)
    return slice(start, start + side)


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
            "clean": to_tensor(clean[random_crop(clean.shape, self.views.crop_size, rng)]),
            "label": to_channels(views.label, self.classes),
        }
