"""The importance explorer on paper: the same pictures and numbers for fixed settings."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from iapc_lib.classes import colorize
from iapc_lib.explorers.gallery import Gallery
from iapc_lib.explorers.importance import facts as trust
from iapc_lib.explorers.importance import words as text
from iapc_lib.explorers.parts import class_name
from iapc_lib.figures.charts import COLORS

PANEL_WIDTH = 3.0  # inches


def importance_view(
    gallery: Gallery,
    picture: int = 0,
    definition: str | None = None,
    labelling: str = trust.LABELLINGS[0],
    threshold: float = 0.3,
    exponent: float = 1.0,
    pixel: tuple[int, int] | None = None,
) -> Figure:
    """Which pixels a threshold on the importance keeps, and how many of them are right.

    Args:
        gallery: see `open_gallery`.
        picture: its position in the gallery.
        definition: of `facts.DEFINITIONS`; None is the run's own.
        labelling: of `facts.LABELLINGS`: the labels that are judged.
        threshold: pixels whose weight, see `facts.weight_of`, is not below it stay.
        exponent: of the weight.
        pixel: (row, column) at which the importance is worked out; None is the middle.

    Raises:
        ValueError: there is no such definition, kind of labels or pixel.
    """
    definition = gallery.fidelity.importance if definition is None else definition
    height, width = gallery.size
    pixel = (height // 2, width // 2) if pixel is None else pixel
    for value, known in ((definition, tuple(trust.DEFINITIONS)), (labelling, trust.LABELLINGS)):
        if value not in known:
            raise ValueError(f"{value!r}: there are {', '.join(known)}")
    if not (0 <= pixel[0] < height and 0 <= pixel[1] < width):
        raise ValueError(f"pixel {pixel}: the pictures have {height} rows and {width} columns")

    shown = gallery.pictures[picture]
    importance = trust.importance_of(gallery.source_logits(picture), definition)
    labels = trust.labels_of(gallery, picture, labelling)
    weight = trust.weight_of(importance, exponent)
    kept = weight >= threshold
    shares = trust.class_shares(labels, kept, shown.label)
    power = "" if exponent == 1 else f" to the power {exponent:g}"
    pictures = {
        shown.name: trust.darkened(shown.pixels, kept),
        f"{labelling}:\n{kept.mean():.1%} of it stays": trust.darkened(colorize(labels), kept),
        f"importance{power}:\n{trust.DEFINITIONS[definition]}": weight,
    }
    if shown.label is not None:
        right = text.percent(shares[0].right_kept)
        title = f"right (blue), wrong (orange):\n{right} of what stays is right"
        pictures[title] = trust.verdict_picture(shown, labels, kept)

    above, below = PANEL_WIDTH * height / width + 0.8, 0.2 * len(shares) + 0.6
    columns = len(pictures)
    figure = plt.figure(figsize=(PANEL_WIDTH * columns, above + below), layout="constrained")
    grid = figure.add_gridspec(2, columns, height_ratios=(above, below))
    limits = trust.weight_range(weight)
    for column, (title, values) in enumerate(pictures.items()):
        _draw_picture(figure.add_subplot(grid[0, column]), title, values, limits, pixel)
    titles = {"kept": "stay"}
    if shown.label is not None:
        titles["right_kept"] = "right of those that stay"
        titles["right_dropped"] = "right of those that fall out"
    for column, (field, title) in enumerate(titles.items()):
        axes = figure.add_subplot(grid[1, column])
        _draw_shares(axes, shares, field, title)
        axes.tick_params(labelleft=column == 0)
    facts = trust.pixel_trust(gallery, picture, pixel, importance, weight, kept)
    lines = [
        f"pixel at the cross: row {pixel[0]}, column {pixel[1]}",
        *_leading(facts),
        *text.formula(facts, definition, len(gallery.classes)),
        text.decision(facts, exponent, threshold),
        f"pseudo-label: {class_name(facts.pseudo_label)}",
        f"true class: {class_name(facts.label)}" if facts.label is not None else text.NO_LABELS,
    ]
    axes = figure.add_subplot(grid[1, len(titles)])
    axes.set_axis_off()
    wrapped = "\n".join(textwrap.fill(line, 46) for line in lines)
    axes.text(0, 1, wrapped, va="top", fontsize=8, linespacing=1.5)
    return figure


def _leading(facts: trust.PixelTrust) -> Iterator[str]:
    """A line for each of the two leading classes."""
    leading = zip(facts.classes, facts.logits, facts.probabilities, strict=True)
    for rank, (train_id, logit, probability) in enumerate(leading, start=1):
        values = f"z = {text.number(logit)}, p = {text.number(probability)}"
        yield f"{rank}. {class_name(train_id)}: {values}"


def _draw_picture(
    axes: plt.Axes,
    title: str,
    values: np.ndarray,
    limits: tuple[float, float],
    pixel: tuple[int, int],
) -> None:
    """A picture (H, W, 3) or a map (H, W) with its colour bar, and a cross at the pixel."""
    low, high = limits
    drawn = axes.imshow(values, cmap="cividis", vmin=low, vmax=high, interpolation="nearest")
    for color, size in (("black", 3.5), ("white", 1.2)):
        axes.plot(pixel[1], pixel[0], "+", color=color, markersize=13, markeredgewidth=size)
    axes.set_title(title, fontsize=8)
    axes.set_axis_off()
    if values.ndim == 2:
        # Within its axes, so that the map stays level with its neighbours.
        bar = axes.inset_axes((0.2, -0.12, 0.6, 0.05))
        axes.figure.colorbar(drawn, cax=bar, orientation="horizontal")
        bar.tick_params(labelsize=7)


def _draw_shares(
    axes: plt.Axes, shares: Sequence[trust.ClassShares], field: str, title: str
) -> None:
    """One column of the explorer's table as bars, a class a line."""
    names = ["all classes" if s.train_id is None else class_name(s.train_id) for s in shares]
    values = [getattr(row, field) for row in shares]
    bars = axes.barh(names, np.nan_to_num(values), color=COLORS[0])
    axes.bar_label(bars, [text.percent(value) for value in values], padding=3, fontsize=7)
    axes.set_title(title, fontsize=8)
    axes.set(xlim=(0, 1.2), xticks=[])
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.tick_params(labelsize=7.5, length=0)
    sns.despine(ax=axes, bottom=True)
