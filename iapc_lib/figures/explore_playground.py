"""The loss playground on paper: the plane, the losses and their gradients for one handful."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke

from iapc_lib.classes import PALETTE
from iapc_lib.explorers.playground.facts import (
    CLASSES,
    PIXELS,
    START,
    START_LOSSES,
    Handful,
    Verdict,
    judge,
)
from iapc_lib.explorers.playground.plane import SHOWN, nearest_map
from iapc_lib.explorers.playground.words import CLASS_NAMES
from iapc_lib.figures.charts import COLORS
from iapc_lib.method.settings import Importance, Losses


def playground_view(
    handful: Handful = START,
    losses: Losses = START_LOSSES,
    importance: Importance = "logits",
    pixel: int = 0,
) -> Figure:
    """A handful of pixels in the feature plane, their losses, and the gradients at one of them.

    Args:
        handful: the pixels.
        losses: weights of the terms and of the classes.
        importance: its definition, see `importance_map`.
        pixel: number of the one whose gradients are shown.
    """
    verdict = judge(handful, losses, importance)
    figure, (plane, bars, logits, features) = plt.subplots(
        1, 4, figsize=(14, 4), width_ratios=[1.25, 1, 1.25, 0.8], layout="constrained"
    )
    _draw_plane(plane, handful, verdict)
    names = [f"${name[0]}_{{{name[2:]}}}$" for name in verdict.terms]
    weighted = [term.weight * term.value for term in verdict.terms.values()]
    bars.barh(names, weighted, color=COLORS[: len(names)])
    bars.invert_yaxis()
    bars.set_title(f"weighted losses, sum {verdict.total:.3f}", fontsize=9)
    bars.set_xlabel("nats per pixel")
    for axes, what, heads in (
        (logits, "logits", [f"z {name}" for name in CLASS_NAMES]),
        (features, "features", ["f x", "f y"]),
    ):
        field = {"logits": "logit_gradient", "features": "feature_gradient"}[what]
        found = [getattr(term, field) for term in verdict.terms.values()]
        empty = [np.nan] * len(heads)
        rows = [empty if gradient is None else gradient[pixel].tolist() for gradient in found]
        rows.append(getattr(verdict, field)[pixel].tolist())
        _draw_gradients(axes, np.array(rows), [*names, "sum"], heads)
        axes.set_title(f"gradient on the {what} of pixel {PIXELS[pixel]}", fontsize=9)
    return figure


def _draw_plane(axes: plt.Axes, handful: Handful, verdict: Verdict) -> None:
    """Features and prototypes, over the class of the nearest prototype."""
    colors = PALETTE[list(CLASSES.train_ids)] / 255
    ground = 1 - (1 - colors[nearest_map(handful.prototypes)]) * 0.22
    axes.imshow(ground, extent=(*SHOWN, *SHOWN))
    axes.add_patch(Circle((0, 0), 1, fill=False, color="0.6"))
    for name, color, (x, y) in zip(CLASS_NAMES, colors, handful.prototypes.tolist(), strict=True):
        axes.plot([0, x], [0, y], color=color)
        axes.plot(x, y, "D", color=color, markeredgecolor="black", markersize=8)
        ink = {"color": "black", "fontsize": 9, "zorder": 5}
        halo = [withStroke(linewidth=3, foreground="white")]
        axes.annotate(name, (x, y), (8, 8), textcoords="offset points", path_effects=halo, **ink)
    steps = -verdict.feature_gradient.numpy()
    longest = np.linalg.norm(steps, axis=1).max()
    for number, (x, y) in enumerate(handful.features.tolist()):
        if np.isfinite(longest) and longest > 1e-12:
            dx, dy = 0.42 * steps[number] / longest
            axes.annotate("", (x + dx, y + dy), (x, y), arrowprops={"arrowstyle": "-|>"})
        color = colors[handful.labels[number]]
        axes.plot(x, y, "o", color=color, markeredgecolor="black", markersize=14)
        ink = "white" if color.sum() < 1.5 else "black"
        axes.text(x, y, PIXELS[number], color=ink, ha="center", va="center", fontsize=9)
    axes.set_title("features (discs, coloured by pseudo-label),\nprototypes (diamonds)", fontsize=9)


def _draw_gradients(
    axes: plt.Axes, values: np.ndarray, rows: list[str], columns: list[str]
) -> None:
    """Numbers on colours that are scaled within each row; empty where a loss has no gradient."""
    largest = np.abs(values).max(axis=1, keepdims=True)
    axes.imshow(values / np.where(largest > 0, largest, 1), cmap="PuOr", vmin=-1.6, vmax=1.6,
                aspect="auto")  # fmt: skip
    for (row, column), value in np.ndenumerate(values):
        said = "none" if np.isnan(value) else f"{value:+.4f}"
        axes.text(column, row, said, ha="center", va="center", fontsize=8)
    axes.set_xticks(range(len(columns)), columns, fontsize=8)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
