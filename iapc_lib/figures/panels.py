"""Grids of images, label maps and scalar maps, and the legend of classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image
from torch import Tensor

from iapc_lib.classes import ALL_19, CLASSES, ClassSet, colorize
from iapc_lib.files import atomic_path
from iapc_lib.runs.folder import Run

PANEL_WIDTH = 3.0  # inches


@dataclass(frozen=True)
class Panel:
    """One picture of a grid.

    `kind` says what `values` are: `image` (H, W, 3) uint8; `labels` (H, W) uint8 train ids;
    `map` (H, W) float, drawn between `low` and `high` with a colour bar; `errors` (H, W) bool.
    """

    title: str
    values: np.ndarray | Image.Image
    kind: Literal["image", "labels", "map", "errors"] = "image"
    low: float = 0.0
    high: float = 1.0


def image_panel(title: str, image: Image.Image | np.ndarray | Tensor) -> Panel:
    """A panel of an RGB image: a Pillow image, (H, W, 3) uint8, or a tensor (3, H, W) uint8."""
    if isinstance(image, Tensor):
        image = image.movedim(0, -1).cpu().numpy()
    return Panel(title, image)


def label_panel(title: str, labels: np.ndarray | Tensor, classes: ClassSet | None = None) -> Panel:
    """A panel of labels in the classes' colours.

    Args:
        title: above it.
        labels: (H, W), train ids, or with `classes` channel numbers; 255 = ignore.
        classes: what the channels stand for.
    """
    labels = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    return Panel(title, labels if classes is None else classes.train_ids_of(labels), "labels")


def map_panel(
    title: str, values: np.ndarray | Tensor, low: float = 0.0, high: float = 1.0
) -> Panel:
    """A panel of a scalar map (H, W), float or bool, between `low` and `high`."""
    if isinstance(values, Tensor):
        values = values.detach().float().cpu().numpy()
    return Panel(title, values, "map", low, high)


def error_panel(title: str, wrong: np.ndarray | Tensor) -> Panel:
    """A panel of pixels (H, W) bool: black where something is wrong."""
    return Panel(title, np.asarray(wrong.cpu() if isinstance(wrong, Tensor) else wrong), "errors")


def panels(rows: Sequence[Sequence[Panel]]) -> Figure:
    """A grid of panels, one sequence a row; titles are those of the panels."""
    columns = max(len(row) for row in rows)
    first = np.asarray(rows[0][0].values)
    height = PANEL_WIDTH * first.shape[0] / first.shape[1] + 0.35
    figure, grid = plt.subplots(
        len(rows),
        columns,
        figsize=(PANEL_WIDTH * columns, height * len(rows)),
        squeeze=False,
        layout="constrained",
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for row, axes_row in zip(rows, grid, strict=True):
        for panel, axes in zip(row, axes_row, strict=False):
            _draw(panel, axes)
    return figure


def _draw(panel: Panel, axes: plt.Axes) -> None:
    values = np.asarray(panel.values)
    axes.set_title(panel.title, fontsize=9)
    if panel.kind == "labels":
        axes.imshow(colorize(values), interpolation="nearest")
    elif panel.kind == "map":
        drawn = axes.imshow(values, cmap="cividis", vmin=panel.low, vmax=panel.high)
        axes.figure.colorbar(drawn, ax=axes, fraction=0.025, pad=0.01).ax.tick_params(labelsize=7)
    elif panel.kind == "errors":
        axes.imshow(
            np.where(values, 0, 255), cmap="gray", vmin=0, vmax=255, interpolation="nearest"
        )
    else:
        axes.imshow(values)


def class_legend(classes: ClassSet = ALL_19) -> Figure:
    """The names of the classes beside their colours."""
    patches = [
        Patch(facecolor=np.array(c.color) / 255, edgecolor="0.4", label=c.name)
        for c in CLASSES
        if c.train_id in classes.train_ids
    ]
    figure, axes = plt.subplots(figsize=(10, 0.85))  # without axes Jupyter shows nothing
    axes.set_axis_off()
    figure.legend(handles=patches, ncol=7, loc="center", frameon=False, fontsize=9)
    return figure


def save(run: Run, figure: Figure, name: str) -> Figure:
    """Writes a figure to `figures/<name>.png` of a run folder and returns it."""
    return save_figure(figure, run.path("figures", f"{name}.png"))


def save_figure(figure: Figure, path: Path) -> Figure:
    """Writes a figure to a file, atomically, and returns it."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, bbox_inches="tight")
    return figure
