"""The feature plane of toy pixels, drawn so that it can be clicked."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from iapc_lib.classes import NAMES, PALETTE
from iapc_lib.explorers.parts import FINE, diamond
from iapc_lib.explorers.playground.facts import CLASSES, PIXELS, LossReport, ToyPixels
from iapc_lib.method.prototypes import prototype_labels, prototype_similarity

SIDE = 340
"""Pixels of the square drawing's side."""
LIMITS = (0.0, 2.0)
"""Between which features and prototypes are set: behind a ReLU they are never negative."""
SHOWN = (-0.4, 2.2)
"""What the drawing shows of both axes, the second one upwards."""
_SCALE = SIDE / (SHOWN[1] - SHOWN[0])  # pixels of a unit
_LONGEST = 42  # pixels of the longest arrow


def to_place(feature: Sequence[float]) -> list[int]:
    """[row, column] in the drawing of a feature vector."""
    x, y = feature
    place = np.floor(np.array([SHOWN[1] - y, x - SHOWN[0]]) * _SCALE)
    return np.clip(place, 0, SIDE - 1).astype(int).tolist()


def to_feature(place: Sequence[int]) -> tuple[float, float]:
    """The feature vector in the middle of the pixel [row, column], within the limits."""
    down, right = (np.array(place) + 0.5) / _SCALE
    x, y = np.clip([SHOWN[0] + right, SHOWN[1] - down], *LIMITS).tolist()
    return x, y


def nearest_map(prototypes: Tensor) -> np.ndarray:
    """The channel whose prototype (K, 2) is nearest, everywhere in the plane.

    Returns:
        (SIDE / 2, SIDE / 2) int64: half the resolution, for speed.
    """
    ticks = SHOWN[0] + (2 * torch.arange(SIDE // 2, dtype=prototypes.dtype) + 1) / _SCALE
    y, x = torch.meshgrid(ticks.flip(0), ticks, indexing="ij")
    similarity = prototype_similarity(torch.stack([x, y])[None], prototypes[None])
    return prototype_labels(similarity)[0].numpy()


def draw_plane(
    toy: ToyPixels, report: LossReport, chosen: int | None = None, trail: Sequence[Tensor] = ()
) -> np.ndarray:
    """Draws features as discs and prototypes as diamonds, over the class of the nearest prototype.

    Arrows point to where a step of gradient descent leads; the longest one has a fixed length.

    Args:
        toy: the pixels.
        report: of the losses.
        chosen: number of the pixel whose disc gets a thick rim.
        trail: (P, 2) features of earlier steps, drawn as lines.

    Returns:
        (SIDE, SIDE, 3) uint8 RGB.
    """
    colors = PALETTE[list(CLASSES.train_ids)]
    ground = np.rint(255 - (255 - colors[nearest_map(toy.prototypes)]) * 0.22)
    canvas = Image.fromarray(ground.astype(np.uint8)).resize([SIDE * FINE] * 2, 0)
    pen = ImageDraw.Draw(canvas)
    center, grey = _fine((0, 0)), (150, 150, 150)
    pen.line([(0, center[1]), (canvas.width, center[1])], grey, 2)
    pen.line([(center[0], 0), (center[0], canvas.height)], grey, 2)
    pen.circle(center, _SCALE * FINE, None, grey, 2)
    for place, color in zip(toy.prototypes.tolist(), colors, strict=True):
        pen.line([center, _fine(place)], tuple(map(int, color)), 2 * FINE)
        diamond(pen, _fine(place), tuple(map(int, color)))
    for number in range(len(toy.features)):
        walked = [_fine(features[number].tolist()) for features in [*trail, toy.features]]
        if len(walked) > 1:
            pen.line(walked, (90, 90, 90), 2)
    _arrows(pen, toy.features, -report.total.feature_gradient)
    for number, place in enumerate(toy.features.tolist()):
        color = tuple(map(int, colors[toy.labels[number]]))
        rim = 3 if number == chosen else 1.2
        pen.circle(_fine(place), (9 + rim) * FINE, "black")
        pen.circle(_fine(place), 9 * FINE, color)
        white = "white" if sum(color) < 380 else "black"
        pen.text(_fine(place), PIXELS[number], white, _font(12), "mm")
    if chosen is not None:  # a cross may lie on its letter
        x, y = _fine(toy.features[chosen].tolist())
        _letters(pen, (x - 17 * FINE, y - 14 * FINE), PIXELS[chosen])
    for prototype, train_id in zip(toy.prototypes, CLASSES.train_ids, strict=True):
        _name(pen, prototype, NAMES[train_id])
    return np.asarray(canvas.reduce(FINE))


def _fine(feature: Sequence[float]) -> tuple[float, float]:
    """(x, y) on the enlarged canvas."""
    x, y = feature
    return (x - SHOWN[0]) * _SCALE * FINE, (SHOWN[1] - y) * _SCALE * FINE


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size * FINE)


def _name(pen, prototype: Tensor, name: str) -> None:
    """A prototype's name, on its far side as seen from the origin."""
    x, y = _fine(prototype.tolist())
    away = prototype / prototype.norm().clamp(min=1e-12)
    half, line = pen.textlength(name, _font(12)) / 2, 16 * FINE
    x += float(away[0]) * (half + 14 * FINE)
    y -= float(away[1]) * 18 * FINE
    x = min(max(x, half + line / 4), SIDE * FINE - half - line / 4)
    y = min(max(y, line / 2), SIDE * FINE - line / 2)
    _letters(pen, (x, y), name)


def _letters(pen, place, text: str) -> None:
    pen.text(place, text, "black", _font(12), "mm", stroke_width=2 * FINE, stroke_fill="white")


def _arrows(pen, features: Tensor, directions: Tensor) -> None:
    longest = directions.norm(dim=1).max()
    if not longest.isfinite() or longest < 1e-12:
        return
    for start, vector in zip(features.tolist(), directions / longest, strict=True):
        length = float(vector.norm())
        if length < 0.02:
            continue
        unit = np.array([vector[0], -vector[1]]) / length
        tail = np.array(_fine(start))
        tip = tail + unit * (12 + (_LONGEST - 12) * length) * FINE
        side = np.array([-unit[1], unit[0]]) * 4 * FINE
        base = tip - unit * 8 * FINE
        pen.line([tuple(tail), tuple(base)], "black", 2 * FINE)
        pen.polygon([tuple(tip), tuple(base + side), tuple(base - side)], "black")
