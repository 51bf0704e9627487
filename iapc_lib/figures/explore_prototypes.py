"""The prototypes explorer on paper: the same content for fixed settings."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from iapc_lib.classes import IGNORE, NAMES, PALETTE, colorize
from iapc_lib.explorers.gallery import Gallery
from iapc_lib.explorers.parts import BLUE, ORANGE, class_name
from iapc_lib.explorers.prototypes.facts import (
    Contrast,
    agreement_picture,
    pixel_facts,
    prototype_contrast,
    selection_picture,
    variant_notes,
)
from iapc_lib.explorers.prototypes.plane import project
from iapc_lib.explorers.prototypes.words import right_shares
from iapc_lib.explorers.terms import PixelFacts, terms_seen
from iapc_lib.method.settings import Losses

SMALL = 8  # points


def prototypes_view(
    gallery: Gallery,
    picture: int = 0,
    step: int = 0,
    pixel: tuple[int, int] | None = None,
    shown_class: str | None = None,
    region: tuple[int, int, int, int] | None = None,
    method: str = "PCA",
) -> Figure:
    """A pixel's similarity to every prototype, and which losses see it.

    Args:
        gallery: pictures and networks.
        picture: position in the gallery.
        step: one of `gallery.steps`.
        pixel: (row, column); None is the middle.
        shown_class: whose similarity map is shown, by name; None is the pixel's nearest prototype.
        region: [top, left, bottom, right) of a box in the picture whose dots are marked.
        method: of the plane, one of `plane.available_methods()`.

    Raises:
        ValueError: there is no such class or method.
        CheckpointError: the networks of this step cannot be had.
    """
    contrast = prototype_contrast(gallery, picture, step)
    facts = pixel_facts(contrast, tuple(pixel or (side // 2 for side in gallery.size)))
    shown_class = shown_class or class_name(facts.nearest)
    if shown_class not in gallery.classes.names:
        raise ValueError(f"{shown_class}: not among {', '.join(gallery.classes.names)}")
    cells = np.zeros(0, np.int64) if region is None else contrast.cells_in(region)

    figure = plt.figure(figsize=(13, 7.4), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(0.85, 2))
    pictures = upper.subplots(1, 4)
    plane, bars, words = lower.subplots(1, 3, width_ratios=(1.5, 1, 1.05))
    figure.suptitle(
        f"{gallery.title}: {contrast.picture.name}, step {step}\n"
        + "\n".join([*gallery.notes, *variant_notes(gallery)]),
        fontsize=10,
    )
    _pictures(pictures, contrast, gallery.classes.names.index(shown_class), cells, region)
    for axes in pictures:
        row, column = facts.pixel
        axes.plot(column, row, marker="+", color="black", markersize=14, markeredgewidth=4)
        axes.plot(column, row, marker="+", color="white", markersize=12, markeredgewidth=1.6)
    _plane(plane, contrast, cells, facts, method)
    _bars(bars, contrast, facts)
    _words(words, facts, gallery.losses)
    return figure


def _pictures(axes_row, contrast: Contrast, channel: int, cells: np.ndarray, region) -> None:
    values, low, high = contrast.similarity_map(channel)
    name = NAMES[contrast.train_ids[channel]]
    absent = "" if contrast.present[channel] else " (absent: zero prototype)"
    image, assignment, similarity, agreement = axes_row
    marked = f", {cells.size} feature cells selected" if cells.size else ""
    image.set_title(f"the picture{marked}", fontsize=9)
    image.imshow(selection_picture(contrast, cells))
    assignment.set_title("class of the nearest prototype", fontsize=9)
    assignment.imshow(colorize(contrast.nearest), interpolation="nearest")
    similarity.set_title(f"similarity to {name}{absent}", fontsize=9)
    drawn = similarity.imshow(values, cmap="cividis", vmin=low, vmax=high)
    bar = similarity.figure.colorbar(drawn, ax=similarity, fraction=0.025, pad=0.01)
    bar.ax.tick_params(labelsize=7)
    agreement.set_title("nearest prototype and pseudo-label", fontsize=9)
    agreement.imshow(agreement_picture(contrast))
    shares = right_shares(contrast)
    agreement.legend(
        handles=[
            Patch(color=np.array(color) / 255, label=label)
            for color, label in (
                (BLUE, f"agree, {contrast.agree.mean():.1%}" + _right(shares, 0)),
                (ORANGE, f"disagree, {1 - contrast.agree.mean():.1%}" + _right(shares, 1)),
            )
        ],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.02),
        fontsize=SMALL,
        frameon=False,
    )
    for axes in axes_row:
        axes.set_axis_off()
        if region is not None:
            top, left, bottom, right = region
            axes.add_patch(
                Rectangle(
                    (left - 0.5, top - 0.5), right - left, bottom - top,
                    fill=False, edgecolor="#d55e00", linestyle="--",
                )
            )  # fmt: skip


def _right(shares: tuple[float, float] | None, place: int) -> str:
    """How many of the pseudo-labels are right, where that is known."""
    if shares is None or np.isnan(shares[place]):
        return ""
    return f", of which {shares[place]:.1%} right"


def _plane(
    axes: plt.Axes, contrast: Contrast, cells: np.ndarray, facts: PixelFacts, method: str
) -> None:
    """Cells as dots and prototypes as diamonds, coloured by class."""
    present = contrast.present
    placed = project(contrast.features, contrast.prototypes[present], method)
    labels = contrast.on_cells(contrast.nearest)[placed.cells]
    colors = np.where((labels == IGNORE)[:, None], 170, PALETTE[labels]) / 255
    chosen = np.isin(placed.cells, cells)
    faded = colors if not cells.size else np.where(chosen[:, None], colors, 0.75 + colors / 4)
    axes.scatter(*placed.points.T, c=faded, s=12, linewidths=0)
    axes.scatter(*placed.points[chosen].T, c=colors[chosen], s=16, linewidths=0.7, edgecolors="k")
    for star, train_id in zip(placed.stars, contrast.train_ids[present], strict=True):
        axes.scatter(
            *star,
            color=PALETTE[train_id] / 255,
            s=70,
            marker="D",
            edgecolors="black",
            zorder=3,
            label=NAMES[train_id],
        )
    picked = placed.points[placed.cells == contrast.cells[facts.pixel]]
    axes.plot(*picked.T, marker="+", color="black", markersize=16, markeredgewidth=2, zorder=4)
    axes.legend(
        title="prototypes",
        title_fontsize=SMALL,
        fontsize=SMALL,
        frameon=False,
        ncols=4,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.02),
    )
    axes.set(xticks=[], yticks=[])
    axes.set_title(textwrap.fill(f"{method} of {placed.note}", 70), fontsize=9)
    axes.set_aspect("equal", adjustable="datalim")


def _bars(axes: plt.Axes, contrast: Contrast, facts: PixelFacts) -> None:
    """The cosines of the pixel's cell, a bar a class."""
    names = [NAMES[train_id] for train_id in contrast.train_ids]
    axes.barh(
        names,
        facts.similarity,
        color=PALETTE[contrast.train_ids] / 255,
        edgecolor="0.4",
        linewidth=0.6,
    )
    for row, (value, present) in enumerate(zip(facts.similarity, contrast.present, strict=True)):
        label = f"{value:.3f}" if present else "absent: zero prototype"
        axes.text(max(value, 0) + 0.02, row, label, va="center", fontsize=SMALL)
    axes.invert_yaxis()  # classes in their order, from the top
    axes.set(xlim=(min(0.0, facts.similarity.min()), 1.2))
    axes.set_title("cosine similarity to the prototype of", fontsize=9)
    axes.tick_params(labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)


def _words(axes: plt.Axes, facts: PixelFacts, losses: Losses) -> None:
    """What the pixel is given, and which losses see it."""
    row, column = facts.pixel
    true_class = "not known, no labels" if facts.label is None else class_name(facts.label)
    lines = [
        f"Pixel: row {row}, column {column}; feature cell {facts.cell[0]}, {facts.cell[1]}",
        "",
        f"nearest prototype: {class_name(facts.nearest)}",
        f"pseudo-label: {class_name(facts.pseudo_label)}",
        f"these two {'agree' if facts.agree else 'disagree'}",
        f"student's prediction: {class_name(facts.predicted)}",
        f"true class: {true_class}",
        "",
    ]
    for term in terms_seen(facts, losses):
        letter, _, index = term.name.partition("_")
        sees = "sees this pixel" if term.seen else "does not see this pixel"
        lines.append(f"${letter}_{{{index}}}$ (weight {term.weight:g}) {sees}:")
        lines.extend(textwrap.wrap(term.why, 48, initial_indent="    ", subsequent_indent="    "))
    axes.set_axis_off()
    axes.text(
        0, 1, "\n".join(lines), va="top", fontsize=9, linespacing=1.35, transform=axes.transAxes
    )
