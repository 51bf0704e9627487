"""Grids of images, label maps and scalar maps, with the legend of the classes in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from PIL import Image
from scipy import ndimage
from torch import Tensor

from iapc_lib.classes import CLASSES, IGNORE, NAMES, ClassSet, colorize
from iapc_lib.evaluation.pieces import Piece, changed_pieces
from iapc_lib.figures.charts import RIGHT, WRONG
from iapc_lib.files import atomic_path
from iapc_lib.runs.folder import Run

PANEL_WIDTH = 3.2  # inches
WIDEST = 3
"""Panels of a line: three can still be read at 700 pixels."""
GAMMA = 1.5
"""Images are shown brighter than they are: dark streets would be black in print."""
CLOSE_COLORS = {NAMES.index(name) for name in (
    *("car", "truck", "bus", "train", "motorcycle"), *("person", "rider"),
    *("wall", "fence", "pole"),
)}  # fmt: skip
"""Train ids whose colours are close to another's."""
OUTLINE = "yellow"
NAMED_SHARE = 0.008
"""Of a picture's pixels: regions that are larger have their name written on them."""


@dataclass(frozen=True)
class Panel:
    """One picture of a grid.

    `kind` says what `values` are: `image` (H, W, 3) uint8; `labels` (H, W) uint8 train ids;
    `map` (H, W) float, drawn between `low` and `high` with a colour bar; `errors` (H, W) bool;
    `change` (H, W) int, 1 mended, -1 spoiled, 0 neither.
    """

    title: str
    values: np.ndarray | Image.Image
    kind: Literal["image", "labels", "map", "errors", "change"] = "image"
    low: float = 0.0
    high: float = 1.0
    outline: np.ndarray | None = None
    """(H, W) bool: pixels around which a line is drawn, those of the largest piece."""


def image_panel(title: str, image: Image.Image | np.ndarray | Tensor) -> Panel:
    """A panel of an RGB image: a Pillow image, (H, W, 3) uint8, or a tensor (3, H, W) uint8."""
    if isinstance(image, Tensor):
        image = image.movedim(0, -1).cpu().numpy()
    return Panel(title, image)


def label_panel(
    title: str,
    labels: np.ndarray | Tensor,
    classes: ClassSet | None = None,
    outline: Piece | None = None,
) -> Panel:
    """A panel of labels in the classes' colours.

    Args:
        title: above it.
        labels: (H, W), train ids, or with `classes` channel numbers; 255 = ignore.
        classes: what the channels stand for.
        outline: a piece around which a line is drawn.
    """
    labels = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    train_ids = labels if classes is None else classes.train_ids_of(labels)
    return Panel(title, train_ids, "labels", outline=None if outline is None else outline.mask)


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


def change_panel(
    title: str, truth: np.ndarray | Tensor, before: np.ndarray | Tensor, after: np.ndarray | Tensor
) -> Panel:
    """A panel of what changed between two predictions: mended, spoiled, and neither.

    Lines go round the largest piece of either.

    Args:
        title: above it.
        truth: (H, W) labels, 255 = ignore; `before` and `after` are predictions of the same kind.
    """
    truth, before, after = (
        np.asarray(x.cpu() if isinstance(x, Tensor) else x) for x in (truth, before, after)
    )
    change = (after == truth).astype(int) - (before == truth).astype(int)
    pieces = changed_pieces(before, after, truth).values()
    outline = np.any([piece.mask for piece in pieces if piece is not None], axis=0)
    return Panel(title, np.where(truth == IGNORE, 0, change), "change", outline=outline)


def panels(rows: Sequence[Sequence[Panel]]) -> Figure:
    """A grid of panels, one sequence a row, with the legend that it needs.

    A row of more than three goes on in a line beneath, so that titles can be read on a page. Large
    regions whose colours are close to others have their class written on them.
    """
    lines = [line for row in rows for line in _broken(row)]
    columns = max(len(line) for line in lines)
    first = np.asarray(rows[0][0].values)
    height = PANEL_WIDTH * first.shape[0] / first.shape[1] + 0.3
    entries, across = _legend_entries(rows), max(1, round(PANEL_WIDTH * columns / 1.35))
    legend = 0.22 * -(-len(entries) // across) + 0.1 if entries else 0.0
    figure, grid = plt.subplots(
        len(lines),
        columns,
        figsize=(PANEL_WIDTH * columns, height * len(lines) + legend),
        squeeze=False,
        layout="constrained",
    )
    for axes in grid.flat:
        axes.set_axis_off()
    drawn = []
    for line, axes_of_line in zip(lines, grid, strict=True):
        for panel, axes in zip(line, axes_of_line, strict=False):
            drawn.append((panel, axes, _draw(panel, axes)))
    _color_bars(figure, grid, drawn)
    if entries:
        figure.legend(
            handles=entries,
            ncol=across,
            loc="outside lower center",
            handlelength=1.2,
            columnspacing=1.0,
        )
    return figure


def _broken(row: Sequence[Panel]) -> list[Sequence[Panel]]:
    """A row in lines of three panels at most, as equal as they can be."""
    number = -(-len(row) // WIDEST)
    length = -(-len(row) // number)
    return [row[start : start + length] for start in range(0, len(row), length)]


def _draw(panel: Panel, axes: plt.Axes) -> AxesImage:
    values = np.asarray(panel.values)
    axes.set_title(panel.title)
    if panel.outline is not None and panel.outline.any():
        for color, width in (("black", 2.6), (OUTLINE, 1.3)):
            axes.contour(panel.outline, [0.5], colors=color, linewidths=width)
    if panel.kind == "labels":
        _write_names(values, axes)
        return axes.imshow(colorize(values), interpolation="nearest")
    if panel.kind == "map":
        return axes.imshow(values, cmap="cividis", vmin=panel.low, vmax=panel.high)
    if panel.kind == "errors":
        shades = np.where(values, 0, 255)
        return axes.imshow(shades, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    if panel.kind == "change":
        colors = ListedColormap([WRONG, "0.9", RIGHT])
        return axes.imshow(values, cmap=colors, vmin=-1, vmax=1, interpolation="nearest")
    return axes.imshow(np.rint(255 * (values / 255) ** (1 / GAMMA)).astype(np.uint8))


def _write_names(labels: np.ndarray, axes: plt.Axes) -> None:
    """Writes the class on large regions of colours that are easily taken for one another."""
    for train_id in set(np.unique(labels)) & CLOSE_COLORS:
        regions, number = ndimage.label(labels == train_id)
        sizes = np.bincount(regions.ravel(), minlength=number + 1)
        for region in np.flatnonzero(sizes[1:] > NAMED_SHARE * labels.size) + 1:
            depth = ndimage.distance_transform_edt(np.pad(regions == region, 1))
            row, column = np.unravel_index(depth.argmax(), depth.shape)
            axes.text(
                column - 1,
                row - 1,
                NAMES[train_id],
                color="white",
                fontsize=7.5,
                ha="center",
                va="center",
                clip_on=True,
                path_effects=[withStroke(linewidth=1.6, foreground="black")],
            )


def _color_bars(figure: Figure, grid: np.ndarray, drawn: Sequence[tuple]) -> None:
    """One bar for all maps of the same range, beside the grid; else one beside each map."""
    maps = [(panel, axes, image) for panel, axes, image in drawn if panel.kind == "map"]
    ranges = {(panel.low, panel.high) for panel, _, _ in maps}
    if len(ranges) == 1:
        _, _, image = maps[0]
        figure.colorbar(image, ax=list(grid.flat), fraction=0.02, pad=0.01, aspect=30)
    else:
        for _, axes, image in maps:
            figure.colorbar(image, ax=axes, fraction=0.025, pad=0.01).ax.tick_params(labelsize=8)


def _legend_entries(rows: Sequence[Sequence[Panel]]) -> list[Patch]:
    """Classes that occur in the label maps, and the colours of changes."""
    shown = [panel for row in rows for panel in row]
    maps = [np.unique(np.asarray(panel.values)) for panel in shown if panel.kind == "labels"]
    present = np.unique(np.concatenate(maps)) if maps else []
    patches = [
        Patch(facecolor=np.array(c.color) / 255, edgecolor="0.4", label=c.name)
        for c in CLASSES
        if c.train_id in present
    ]
    if any(panel.kind == "change" for panel in shown):
        kinds = ((RIGHT, "mended"), (WRONG, "spoiled"), ("0.9", "unchanged"))
        patches += [Patch(facecolor=color, edgecolor="0.4", label=kind) for color, kind in kinds]
    if any(panel.outline is not None for panel in shown):
        patches.append(Patch(facecolor="none", edgecolor=OUTLINE, label="largest piece"))
    return patches


def save(run: Run, figure: Figure, name: str) -> Figure:
    """Writes a figure to `figures/<name>.png` of a run folder and returns it; see `save_figure`."""
    return save_figure(figure, run.path("figures", f"{name}.png"))


def save_figure(figure: Figure, path: Path) -> Figure:
    """Writes a figure to a PNG file, atomically, and returns it; a chart to an SVG beside it, too."""
    files = {path: {"dpi": 110}}
    if not any(axes.images for axes in figure.axes):
        files[path.with_suffix(".svg")] = {"metadata": {"Date": None}}
    for file, options in files.items():
        with atomic_path(file) as temporary:
            figure.savefig(temporary, bbox_inches="tight", **options)
    return figure
