"""The label map of any photograph.

An image is resized so that its shorter side is that of the network's evaluation images; what is
still too large for one forward goes through overlapping windows. Labels have the image's own size.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from iapc_lib.classes import ClassSet
from iapc_lib.data.images import resize_image, size_like, to_tensor
from iapc_lib.method.deeplab import upsample
from iapc_lib.networks.ready import ReadyNetwork, probabilities

WINDOW = 1025
"""Side of a window in pixels. One more than a multiple of 8, the network's stride: windows whose
corners lie at multiples of 8 then share one grid of feature cells."""

OVERLAP = 256
"""Pixels by which neighbouring windows overlap at least."""

ONE_FORWARD = 2 * 1024 * 1024
"""Pixels up to which an image goes through the network in one piece."""

AT_ONCE = 4 * 1024 * 1024
"""Pixels up to which a label map is decided in one piece; larger ones row by row."""

LARGEST_ASPECT = 50
"""An image whose longer side is more than so many times its shorter one keeps its own size."""


@dataclass(frozen=True)
class PredictionSettings:
    """How images are predicted."""

    short_side: int | None = 512
    """Images are resized so that their shorter side has so many pixels; None: not resized."""
    scales: tuple[float, ...] = (1.0,)
    """Scales whose soft-max maps are averaged; the first gives the size of the windows' grid."""
    flip: bool = False
    """Whether the mirrored image is averaged in."""

    @property
    def averages(self) -> bool:
        """Whether soft-max maps are averaged, rather than one map of logits decided."""
        return self.flip or len(self.scales) > 1


class LabelMap(NamedTuple):
    """What is predicted for one image, at the image's own size."""

    labels: np.ndarray
    """(H, W) uint8 train ids."""
    confidence: np.ndarray
    """(H, W) float32 probability of that label, within 0..1."""


def predict_image(
    ready: ReadyNetwork,
    image: Image.Image,
    settings: PredictionSettings = PredictionSettings(),  # noqa: B008
) -> LabelMap:
    """The label map of one RGB image of any size; the network is in evaluation mode."""
    inputs = [tensor[None] for tensor in network_images(image, settings)]
    size = (image.height, image.width)
    return decide(class_maps(ready, inputs, settings)[0], size, settings, ready.classes)


def network_images(image: Image.Image, settings: PredictionSettings) -> list[Tensor]:
    """The image at every scale, (3, h_s, w_s) uint8 each."""
    short, long = sorted(image.size)
    wanted = settings.short_side
    if wanted is None or long > LARGEST_ASPECT * short:
        wanted = short
    sizes = [size_like(image, wanted * scale) for scale in settings.scales]
    return [
        to_tensor(image if size == (image.height, image.width) else resize_image(image, size))
        for size in sizes
    ]


@torch.no_grad()
def class_maps(
    ready: ReadyNetwork, inputs: Sequence[Tensor], settings: PredictionSettings
) -> Tensor:
    """Logits, or averaged soft-max maps, (N, K, h, w) at the resolution of the first scale."""
    if not settings.averages:
        return windowed_logits(ready, inputs[0])
    total = None
    for images in inputs:
        maps = probabilities(partial(windowed_logits, ready), images, settings.flip)
        total = maps if total is None else total + upsample(maps, total.shape[-2:])
    return total / (len(inputs) * (1 + settings.flip))


@torch.no_grad()
def windowed_logits(ready: ReadyNetwork, images: Tensor) -> Tensor:
    """Logits of images of any size, through windows where they are too large for one forward.

    Where windows overlap, their logits are averaged.

    Args:
        ready: in evaluation mode.
        images: (N, 3, H, W) uint8 RGB.

    Returns:
        (N, K, h, w) float, a cell every 8 pixels.
    """
    height, width = images.shape[-2:]
    if height * width <= ONE_FORWARD:
        return ready.forward(images).logits
    total = count = None
    for top, left in itertools.product(_corners(height), _corners(width)):
        bottom = height if top + WINDOW + 8 > height else top + WINDOW
        right = width if left + WINDOW + 8 > width else left + WINDOW
        logits = ready.forward(images[..., top:bottom, left:right]).logits
        if total is None:
            last = [_corners(side)[-1] for side in (height, width)]
            cells = [
                corner // 8 + ready.network.feature_size(side - corner)
                for corner, side in zip(last, (height, width), strict=True)
            ]
            total = logits.new_zeros(*logits.shape[:2], *cells)
            count = logits.new_zeros(*cells)
        place = np.s_[
            top // 8 : top // 8 + logits.shape[-2], left // 8 : left // 8 + logits.shape[-1]
        ]
        total[..., place[0], place[1]] += logits
        count[place] += 1
    return total / count


def _corners(length: int) -> list[int]:
    """Where windows begin along a side: multiples of 8 that cover it, the last one to its end."""
    if length <= WINDOW + 7:
        return [0]
    last = (length - WINDOW) // 8 * 8
    windows = -(-last // (WINDOW - OVERLAP)) + 1
    return [round(last * i / (windows - 1) / 8) * 8 for i in range(windows)]


@torch.no_grad()
def decide(
    maps: Tensor, size: tuple[int, int], settings: PredictionSettings, classes: ClassSet
) -> LabelMap:
    """(K, h, w) logits or probabilities -> the label map at (H, W)."""
    strips = [upsample(maps[None], size)[0]] if size[0] * size[1] <= AT_ONCE else _rows(maps, size)
    labels, confidence = [], []
    for strip in strips:
        best = (strip if settings.averages else strip.softmax(dim=0)).max(dim=0)
        # Soft-max rounds away small differences of logits: these decide the label.
        winner = best.indices if settings.averages else strip.max(dim=0).indices
        labels.append(winner.to(torch.uint8).cpu().numpy())
        confidence.append(best.values.cpu().numpy())
    return LabelMap(classes.train_ids_of(np.concatenate(labels)), np.concatenate(confidence))


def _rows(maps: Tensor, size: tuple[int, int]) -> Iterator[Tensor]:
    """What `upsample` computes, in strips of rows, so that memory does not grow with the image."""
    height, width = size
    wide = upsample(maps[None], (maps.shape[-2], width))[0]
    rows = torch.arange(height, device=maps.device) * ((maps.shape[-2] - 1) / max(height - 1, 1))
    below = rows.long().clamp(max=maps.shape[-2] - 1)
    above = (below + 1).clamp(max=maps.shape[-2] - 1)
    weight = (rows - below).to(maps.dtype)[None, :, None]
    for strip in torch.arange(height, device=maps.device).split(max(AT_ONCE // 8 // width, 1)):
        yield wide[:, below[strip]].lerp(wide[:, above[strip]], weight[:, strip])
