"""Offline pseudo-labels: the source network's own answer over scales and mirror images.

Soft-max maps at several scales, each with its mirrored twin, are summed at the size of the image;
the class with the largest sum is the pseudo-label of the pixel, with no threshold (method.md, 2).
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from iapc_lib.config.sections import PseudoLabels
from iapc_lib.data.images import read_original, resize_image, to_tensor, write_train_ids
from iapc_lib.data.layouts import Record, label_name
from iapc_lib.files import atomic_path
from iapc_lib.method.deeplab import upsample
from iapc_lib.networks.ready import ReadyNetwork, probabilities


def summed_probabilities(
    ready: ReadyNetwork,
    scaled_images: Sequence[Tensor],
    size: tuple[int, int],
    flip: bool = True,
) -> Tensor:
    """Sum over scales (and mirror images) of the up-sampled soft-max maps.

    Args:
        ready: in evaluation mode.
        scaled_images: the same images at every scale, each (N, 3, h_s, w_s) uint8 RGB.
        size: (H, W) of the result.
        flip: whether the mirrored images are added.

    Returns:
        (N, K, H, W) float; sums to the number of maps (6 as published) over the classes.
    """
    total = None
    for images in scaled_images:
        maps = probabilities(lambda batch: ready.forward(batch).logits, images, flip)
        at_full_size = upsample(maps, size)
        total = at_full_size if total is None else total.add_(at_full_size)
    return total


class PseudoLabel(NamedTuple):
    """The pseudo-label of one image at the image's own size."""

    label: np.ndarray
    """(H, W) uint8 train ids."""
    confidence: np.ndarray
    """(H, W) float32 mean probability of that class over the summed maps, within 0..1."""


def scaled_images(image: Image.Image, config: PseudoLabels) -> tuple[list[Tensor], tuple[int, int]]:
    """The image at every scale, (3, h_s, w_s) uint8 each, and its own (H, W)."""
    sizes = [tuple(round(side * scale) for side in config.image_size) for scale in config.scales]
    return [to_tensor(resize_image(image, size)) for size in sizes], (image.height, image.width)


def make_pseudo_label(ready: ReadyNetwork, image: Image.Image, config: PseudoLabels) -> PseudoLabel:
    """Pseudo-label of an RGB image at its own size; the network is in evaluation mode."""
    scaled, size = scaled_images(image, config)
    return _label(ready, [s[None] for s in scaled], size, config)


def _label(ready, scaled, size, config) -> PseudoLabel:
    best = summed_probabilities(ready, scaled, size, config.flip)[0].max(dim=0)
    maps = len(config.scales) * (2 if config.flip else 1)
    return PseudoLabel(ready.train_ids(best.indices), (best.values / maps).cpu().numpy())


def pseudo_label_path(folder: Path, record: Record) -> Path:
    """Where the pseudo-label of a record lies: the image's own relative name, as a PNG."""
    return folder / label_name(record.name)


def write_pseudo_labels(
    ready: ReadyNetwork,
    records: Sequence[Record],
    config: PseudoLabels,
    folder: Path,
) -> None:
    """Writes the pseudo-labels of all records; those already there are kept, so it can go on.

    Args:
        ready: the teacher, in evaluation mode.
        records: target images.
        config: scales and sizes.
        folder: where the PNGs go, see `pseudo_label_path`.
    """
    missing = [r for r in records if not pseudo_label_path(folder, r).exists()]
    loader = ready.machine.load(missing, 1, collate=partial(_read_scaled, config=config))
    bar = tqdm(
        loader,
        desc="Pseudo-labels",
        initial=len(records) - len(missing),
        total=len(records),
        unit="image",
    )
    for record, (scaled, size) in zip(missing, bar, strict=True):
        made = _label(ready, [s[None] for s in scaled], size, config)
        with atomic_path(pseudo_label_path(folder, record)) as temporary:
            write_train_ids(temporary, made.label)


def _read_scaled(
    records: list[Record], config: PseudoLabels
) -> tuple[list[Tensor], tuple[int, int]]:
    """`scaled_images` of a batch of one record."""
    return scaled_images(read_original(records[0]), config)
