"""Features and prototypes in two dimensions, and the drawing of them that can be clicked."""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from iapc_lib.explorers.parts import FINE, diamond

SIZE = (340, 500)
"""(height, width) of the drawing in pixels."""
MARGIN = 100
"""Pixels left and right of the dots, for the names of the prototypes."""


class Projection(NamedTuple):
    """Places in the plane; distances within the plane have no unit."""

    points: np.ndarray
    """(P, 2) float, of the cells in the order of their numbers."""
    stars: np.ndarray
    """(Q, 2) float, of the prototypes."""
    note: str
    """How many cells, and how faithful."""


def principal_components(points: Tensor) -> tuple[Tensor, Tensor, float]:
    """The two directions in which points vary most.

    Args:
        points: (P, D) float.

    Returns:
        Their mean (D,), the components (D, 2), each signed so that its entry of largest magnitude
        is positive, and the share of the variance that the two hold.
    """
    center = points.mean(dim=0)
    deviations = (points - center).double()
    # Of the (D, D) matrix: faster than a singular value decomposition of all points.
    strengths, directions = torch.linalg.eigh(deviations.T @ deviations)  # in rising order
    components = directions[:, [-1, -2]]
    signs = components.gather(0, components.abs().argmax(dim=0, keepdim=True)).sign()
    explained = float(strengths[-2:].sum() / strengths.sum().clamp(min=1e-12))
    return center, (components * signs).to(points.dtype), explained


def project(features: Tensor, prototypes: Tensor) -> Projection:
    """PCA of directions, as the cosine takes them: every vector is scaled to length 1.

    It is fitted to the cells alone.

    Args:
        features: (D, h, w) float.
        prototypes: (Q, D) float, of classes that are present.
    """
    directions = F.normalize(features.flatten(1).T, dim=1, eps=1e-12)
    stars = F.normalize(prototypes, dim=1, eps=1e-12)
    center, components, explained = principal_components(directions)
    points, stars = (directions - center) @ components, (stars - center) @ components
    note = f"all {len(points)} cells; this plane holds {explained:.0%} of their variance"
    return Projection(points.numpy(), stars.numpy(), note)


class Drawing(NamedTuple):
    """A picture of a projection, and where in it everything lies."""

    pixels: np.ndarray
    """(height, width, 3) uint8 RGB, of `SIZE`."""
    dots: np.ndarray
    """(P, 2) int64, (row, column) of every cell's dot."""
    stars: np.ndarray
    """(Q, 2) int64, of every prototype."""


def draw(
    projection: Projection,
    colors: np.ndarray,
    star_colors: np.ndarray,
    star_names: list[str],
    selected: np.ndarray | None = None,
) -> Drawing:
    """Draws cells as dots and prototypes as named diamonds, one scale for both axes.

    Args:
        projection: of P cells and Q prototypes.
        colors: (P, 3) uint8.
        star_colors: (Q, 3) uint8.
        star_names: of the Q prototypes.
        selected: (P,) bool; these get a black rim and the others fade. None: all alike.
    """
    height, width = SIZE
    everything = np.concatenate([projection.points, projection.stars])
    low, high = everything.min(axis=0), everything.max(axis=0)
    room = np.array([width - 2 * MARGIN, height - 24])
    scale = (room / np.maximum(high - low, 1e-9)).min()
    middle = np.array([width, height]) / 2
    where = (everything - (low + high) / 2) * scale * [1, -1] + middle  # (x, y)
    where = np.floor(where).astype(np.int64)
    dots, stars = where[: len(projection.points)], where[len(projection.points) :]

    canvas = Image.new("RGB", (width * FINE, height * FINE), "white")
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((0, 0, canvas.width - 1, canvas.height - 1), None, (200, 200, 200), FINE)
    chosen = np.ones(len(dots), bool) if selected is None else selected
    faded = np.where(chosen[:, None], colors, 190 + colors.astype(int) // 4)
    for number in np.argsort(chosen, kind="stable"):  # the selected ones on top
        rim = "black" if selected is not None and chosen[number] else None
        pen.circle(_fine(dots[number]), 3 * FINE, tuple(faded[number]), rim, width=FINE)
    _names(pen, stars, star_names)
    for place, color in zip(stars, star_colors, strict=True):
        diamond(pen, _fine(place), tuple(map(int, color)))
    pixels = np.asarray(canvas.reduce(FINE))
    return Drawing(pixels, dots[:, ::-1], stars[:, ::-1])


def _fine(place: np.ndarray) -> tuple[float, float]:
    return tuple((place + 0.5) * FINE)


def _names(pen: ImageDraw.ImageDraw, stars: np.ndarray, names: list[str]) -> None:
    """Names at the nearer edge, each with a line to its prototype: beside it they would overlap."""
    height, width = SIZE
    font, line = ImageFont.load_default(12 * FINE), 16
    on_left = stars[:, 0] < np.median(stars[:, 0])
    for anchor, members in (("lm", np.flatnonzero(on_left)), ("rm", np.flatnonzero(~on_left))):
        members = members[np.argsort(stars[members, 1], kind="stable")]
        rows = _spread(stars[members, 1], line, line // 2, height - line // 2)
        for member, row in zip(members, rows, strict=True):
            length = pen.textlength(names[member], font) + 8 * FINE
            edge, inner = (5 * FINE, length) if anchor == "lm" else (-5 * FINE, -length)
            side, y = 0 if anchor == "lm" else width * FINE, row * FINE
            pen.line([(side + inner, y), _fine(stars[member])], (110, 110, 110), FINE)
            pen.text((side + edge, y), names[member], "black", font, anchor)


def _spread(wanted: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Rising rows at least `gap` apart within low..high, near the wanted ones (rising)."""
    rows = np.array(wanted, float)
    for place in range(len(rows)):
        rows[place] = max(rows[place], low if place == 0 else rows[place - 1] + gap)
    for place in range(len(rows) - 1, -1, -1):
        rows[place] = min(rows[place], high if place == len(rows) - 1 else rows[place + 1] - gap)
    return rows
