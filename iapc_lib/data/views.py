"""The views of a target image that adaptation trains on (method.md, 3).

The source network sees a rescaled view, the student the same view after a photometric
AutoAugment, the memory network a plain view of the same place in the unscaled image. A view is a
function of (seed, position in training) alone: workers, resumes and processes see the same data.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch.utils.data import Dataset

from iapc_lib.classes import ClassSet
from iapc_lib.data.dataset import (
    read_original,
    read_resized,
    read_train_ids,
    resize_image,
    resize_label,
    to_channels,
    to_tensor,
)
from iapc_lib.data.layouts import Record
from iapc_lib.sections import Views

# Ten magnitudes per operation, from index 0 to 9. Sharpness, colour and contrast enhance by
# 1 +- m; solarize inverts above a threshold; posterize keeps so many bits.
_ENHANCE = [m / 10 for m in range(10)]
MAGNITUDES = {
    "color": _ENHANCE,
    "contrast": _ENHANCE,
    "sharpness": _ENHANCE,
    "solarize": [256 - 256 * i / 9 for i in range(10)],
    "posterize": [8, 8, 7, 7, 6, 6, 5, 5, 4, 4],
}

# (operation, magnitude index, probability) twice; the photometric part of AutoAugment's ImageNet
# policy, in the published order. Its repetitions matter: one entry is drawn uniformly.
_SOLARIZE_AUTOCONTRAST = (("solarize", 5, 0.6), ("autocontrast", 5, 0.6))
_EQUALIZE_EQUALIZE = (("equalize", 8, 0.8), ("equalize", 3, 0.6))
_EQUALIZE_SOLARIZE = (("equalize", 7, 0.4), ("solarize", 4, 0.2))
_INVERT_EQUALIZE = (("invert", 4, 0.6), ("equalize", 8, 1.0))
_COLOR_CONTRAST = (("color", 4, 0.6), ("contrast", 8, 1.0))
AUTOAUGMENT_POLICY = (
    _SOLARIZE_AUTOCONTRAST,
    _EQUALIZE_EQUALIZE,
    (("posterize", 7, 0.6), ("posterize", 6, 0.6)),
    _EQUALIZE_SOLARIZE,
    (("solarize", 3, 0.6), ("equalize", 7, 0.6)),
    (("posterize", 5, 0.8), ("equalize", 2, 1.0)),
    (("equalize", 8, 0.6), ("posterize", 6, 0.4)),
    (("equalize", 7, 0.0), ("equalize", 8, 0.8)),
    _INVERT_EQUALIZE,
    _COLOR_CONTRAST,
    (("color", 8, 0.8), ("solarize", 7, 0.8)),
    (("sharpness", 7, 0.4), ("invert", 8, 0.6)),
    (("color", 0, 0.4), ("equalize", 3, 0.6)),
    _EQUALIZE_SOLARIZE,
    _SOLARIZE_AUTOCONTRAST,
    _INVERT_EQUALIZE,
    _COLOR_CONTRAST,
    _EQUALIZE_EQUALIZE,
)

_ENHANCERS = {
    "color": ImageEnhance.Color,
    "contrast": ImageEnhance.Contrast,
    "sharpness": ImageEnhance.Sharpness,
}


def apply_operation(
    image: Image.Image, operation: str, magnitude_index: int, rng: random.Random
) -> Image.Image:
    """One photometric operation of AutoAugment; the enhancers draw their sign from `rng`."""
    if operation in _ENHANCERS:
        change = MAGNITUDES[operation][magnitude_index] * rng.choice([-1, 1])
        return _ENHANCERS[operation](image).enhance(1 + change)
    if operation in MAGNITUDES:
        return getattr(ImageOps, operation)(image, MAGNITUDES[operation][magnitude_index])
    return getattr(ImageOps, operation)(image)


def autoaugment(image: Image.Image, rng: random.Random) -> Image.Image:
    """One random sub-policy on the whole image; labels stay valid, nothing moves."""
    sub_policy = AUTOAUGMENT_POLICY[rng.randint(0, len(AUTOAUGMENT_POLICY) - 1)]
    for operation, magnitude_index, probability in sub_policy:
        if rng.random() < probability:
            image = apply_operation(image, operation, magnitude_index, rng)
    return image


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


def draw_order(seed: int, purpose: str, position: int, length: int) -> int:
    """Which of `length` images is seen at a position of training: each once before any again."""
    epoch, place = divmod(position, length)
    return _epoch_order(seed, purpose, epoch, length)[place]


@functools.lru_cache(maxsize=8)
def _epoch_order(seed: int, purpose: str, epoch: int, length: int) -> list[int]:
    order = list(range(length))
    random.Random(f"{seed}/{purpose}/order/{epoch}").shuffle(order)
    return order


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
