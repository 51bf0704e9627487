"""The adaptation explorer on paper: the same pictures, numbers and curves for fixed settings."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from iapc_lib.classes import NAMES, colorize
from iapc_lib.explorers.adaptation.facts import (
    WINDOW,
    Look,
    check_same_pictures,
    dev_curve,
    look_at,
    loss_curve,
    nearest_step,
    update_at,
)
from iapc_lib.explorers.adaptation.views import available_views, draw_view
from iapc_lib.explorers.gallery import Gallery
from iapc_lib.explorers.terms import TERM_NAMES
from iapc_lib.figures.charts import COLORS


def adaptation_view(
    gallery: Gallery,
    other: Gallery | None = None,
    picture: int = 0,
    step: int | None = None,
    view: str | None = None,
) -> Figure:
    """A picture at one step of a run, beside its label and, if wanted, another run's prediction.

    Args:
        gallery: see `open_gallery`.
        other: another run of the same pictures, to compare with.
        picture: its position in the gallery.
        step: one of the gallery's; None is the last.
        view: of `available_views`; None is the first of them.

    Raises:
        ValueError: the other gallery shows other pictures, or there is no such step or view.
        CheckpointError: a network of that step cannot be read.
    """
    step, shown = gallery.steps[-1] if step is None else step, gallery.pictures[picture]
    if step not in gallery.steps:
        raise ValueError(f"step {step}: the run kept {', '.join(map(str, gallery.steps))}")
    views = available_views(shown.label is not None, other is not None)
    view = views[0] if view is None else view
    if view not in views:
        raise ValueError(f"view {view!r}: there are {', '.join(views)}")
    look, first = look_at(gallery, picture, step), look_at(gallery, picture, 0)
    runs, looks = {"this run": gallery}, {f"this run, step {step}": look}
    if step:
        looks = {"step 0": first, **looks}
    other_look = None
    if other is not None:
        check_same_pictures(gallery, other)
        other_look = look_at(other, picture, nearest_step(other.steps, step))
        runs["other run"], looks[f"other run, step {other_look.step}"] = other, other_look

    drawn = draw_view(view, shown, look, first, other_look)
    panels = {shown.name: shown.pixels, f"student, step {step}": colorize(look.student)}
    if look.memory is not None:
        panels[f"memory network, step {step}"] = colorize(look.memory)
    if other_look is not None:
        panels[f"other run's student, step {other_look.step}"] = colorize(other_look.student)
    panels[drawn.text.removeprefix(f"{shown.name}: ")] = drawn.pixels

    height, width = gallery.size
    columns = 3 if len(panels) > 4 else len(panels)
    lines = -(-len(panels) // columns)
    tall = lines * (13 / columns * height / width + 0.45)
    figure = plt.figure(figsize=(13, tall + 3.4), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[tall, 3.4])
    grid = above.subplots(lines, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (title, pixels) in zip(grid.flat, panels.items(), strict=False):
        axes.imshow(pixels, interpolation="nearest")
        axes.set_title(textwrap.fill(title, 198 // columns), fontsize=9)
    title = gallery.title if other is None else f"{gallery.title} (other run: {other.title})"
    figure.suptitle(title, fontsize=10)
    _numbers(below, runs, looks, look, update_at(gallery.history, step))
    return figure


def _numbers(
    figure: Figure,
    runs: Mapping[str, Gallery],
    looks: Mapping[str, Look],
    look: Look,
    update: Mapping[str, float],
) -> None:
    """Loss terms, the runs' curves with the step marked, scores by class."""
    terms, loss, miou, classes = figure.subplots(1, 4, width_ratios=[1.1, 1, 1, 1.2])
    _draw_terms(terms, look, update)
    for number, (name, gallery) in enumerate(runs.items()):
        of, color = (f", {name}" if len(runs) > 1 else ""), COLORS[number]
        if gallery.history:
            loss.plot(*zip(*loss_curve(gallery.history), strict=True), color=color, label=name)
        if measured := dev_curve(gallery.history):
            miou.plot(*zip(*measured, strict=True), marker="o", color=color, label=f"dev{of}")
    # The runs have the colours of their curves, the start of this run is grey.
    runs_colors = iter(COLORS)
    colors = {title: "0.6" if title == "step 0" else next(runs_colors) for title in looks}
    for title, one in looks.items():
        if one.miou is not None:
            miou.plot(one.step, one.miou, "D", color=colors[title], markeredgecolor="black",
                      label=f"this picture, {title}")  # fmt: skip
    for axes, label in ((loss, f"loss, mean of {WINDOW} updates"), (miou, "mIoU (%)")):
        if not axes.has_data():
            axes.set_axis_off()
            axes.set_title(f"{label}: not measured", fontsize=9)
            continue
        axes.axvline(look.step, color="0.3", linestyle=":")
        axes.set_xlabel("step")
        axes.set_title(label, fontsize=9)
        axes.legend(fontsize=7, frameon=False)
    _draw_classes(classes, looks, colors)


def _draw_terms(axes: plt.Axes, look: Look, update: Mapping[str, float]) -> None:
    """The weighted loss terms as bars, of this picture and of the run's own batch."""
    found = {"this picture": look.terms, "batch of the update": update}
    found = {name: terms for name, terms in found.items() if set(TERM_NAMES) & set(terms)}
    places = np.arange(len(TERM_NAMES))
    for number, (name, terms) in enumerate(found.items()):
        values = [terms[term] for term in TERM_NAMES]
        axes.barh(places + 0.4 * number, values, 0.38, color=COLORS[number], label=name)
    axes.set_yticks(places + 0.2 * (len(found) - 1), TERM_NAMES.values())
    axes.invert_yaxis()
    axes.set_title(f"weighted loss terms, step {look.step}", fontsize=9)
    if found:
        axes.legend(fontsize=7, frameon=False)
    else:
        axes.set_axis_off()
        axes.set_title("no loss terms: plain cross-entropy", fontsize=9)


def _draw_classes(axes: plt.Axes, looks: Mapping[str, Look], colors: Mapping[str, tuple]) -> None:
    """IoU by class, a dot a look; without labels what can be known: the agreement."""
    train_ids = sorted({train_id for look in looks.values() for train_id in look.iou})
    for title, look in looks.items():
        agreement = f"{title}: agrees with pseudo-label {look.agreement:.1%}"
        label = agreement if look.right is None else f"{agreement}, right {look.right:.1%}"
        values = [look.iou.get(train_id, np.nan) for train_id in train_ids]
        axes.plot(values, np.arange(len(train_ids)), "o", color=colors[title], label=label)
    axes.figure.legend(
        *axes.get_legend_handles_labels(),
        fontsize=8,
        frameon=False,
        ncols=3,
        loc="outside lower center",
    )
    if not train_ids:
        axes.set_axis_off()
        axes.set_title("no labels, hence no score", fontsize=9)
        return
    axes.set_title("IoU by class on this picture (%)", fontsize=9)
    axes.set_yticks(np.arange(len(train_ids)), [NAMES[train_id] for train_id in train_ids])
    axes.tick_params(axis="y", labelsize=7)
    axes.set_ylim(len(train_ids) - 0.5, -0.5)
    axes.set_xlim(-3, 103)
    axes.grid(axis="y", alpha=0.3)
