"""The map of the method: which network sees which view, and which loss needs what.

Read from top to bottom: views of a target image, networks, what they give, what becomes of it,
and a table that says which loss takes it, as a constant or with a gradient (method.md, 4).
"""

from dataclasses import dataclass

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch

from iapc_lib.figures.charts import COLORS
from iapc_lib.method.settings import Losses

SOURCE, STUDENT, MEMORY = COLORS[0], COLORS[1], COLORS[2]
PLAIN = (0.55, 0.55, 0.55)

WIDTH, HEIGHT = 8.6, 9.45  # inches; the axes have the same units
COLUMNS = {"label": 2.45, "importance": 3.8, "prediction": 5.15, "similarity": 6.5, "nearest": 7.85}
BOX_WIDTH = 1.2
VIEWS, NETWORKS, OUTPUTS, SIGNALS = 8.9, 7.65, 6.35, 5.05  # heights of the rows of boxes
FIRST_LOSS, LOSS_STEP = 3.95, 0.56

MARKS = {
    "constant": dict(markersize=9, color="white", markeredgecolor="0.2", markeredgewidth=1.6),
    "gradient": dict(markersize=10, color=STUDENT, markeredgecolor="0.2", markeredgewidth=1.2),
}


@dataclass(frozen=True)
class Loss:
    """One row of the table: what a term takes from each column."""

    symbol: str
    words: str
    constants: tuple[str, ...]
    gradient: str
    """The column through which the student is taught."""
    factor: float
    """Its published weight in the sum."""


WEIGHTS = Losses()
LOSSES = (
    Loss(
        "L_{IA}",
        "importance-aware",
        ("label", "importance"),
        "prediction",
        WEIGHTS.importance_aware,
    ),
    Loss(
        "L_{PE}",
        "prototype-enhanced",
        ("label", "nearest"),
        "prediction",
        WEIGHTS.prototype_enhanced,
    ),
    Loss("L_{PS1}", "towards prototype", ("nearest",), "prediction", WEIGHTS.prototype_symmetric),
    Loss(
        "L_{PS2}", "towards prediction", ("prediction",), "similarity", WEIGHTS.prototype_symmetric
    ),
    Loss("L_{IM}", "entropy", (), "prediction", WEIGHTS.information_maximization),
)


def method_map() -> Figure:
    """The map of the method on one page, for the site, the notebooks and print."""
    figure = plt.figure(figsize=(WIDTH, HEIGHT))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, HEIGHT))
    axes.set_axis_off()
    _networks(axes)
    _signals(axes)
    _losses(axes)
    _key(axes)
    return figure


def _networks(axes: plt.Axes) -> None:
    """Views, networks and what these give."""
    _row_name(axes, VIEWS, "view of a\ntarget image")
    _row_name(axes, NETWORKS, "network")
    _row_name(axes, OUTPUTS, "gives")
    views = {
        "label": ("whole image,\nthree scales,\nmirrored too", SOURCE),
        "importance": ("rescaled\nview", SOURCE),
        "prediction": ("augmented:\nrescaled view,\nother colours", STUDENT),
        "similarity": ("clean view of\nanother image", STUDENT),
        "nearest": ("plain view", MEMORY),
    }
    outputs = {
        "label": ("summed\nprobabilities,\nmade once", SOURCE),
        "importance": ("logits", SOURCE),
        "prediction": ("logits $z$", STUDENT),
        "similarity": ("features $f$", STUDENT),
        "nearest": ("prototypes $\\rho$:\nmean feature\nof each class", MEMORY),
    }
    for column, (text, color) in views.items():
        style = "dashed" if "clean" in text else "solid"
        _box(axes, COLUMNS[column], VIEWS, text, color, style=style)
        _arrow(axes, (COLUMNS[column], VIEWS - 0.37), (COLUMNS[column], NETWORKS + 0.4), style)
    for column, (text, color) in outputs.items():
        _box(axes, COLUMNS[column], OUTPUTS, text, color)
        _arrow(axes, (COLUMNS[column], NETWORKS - 0.4), (COLUMNS[column], OUTPUTS + 0.37))
    two = BOX_WIDTH + COLUMNS["importance"] - COLUMNS["label"]
    source = (COLUMNS["label"] + COLUMNS["importance"]) / 2
    student = (COLUMNS["prediction"] + COLUMNS["similarity"]) / 2
    _box(axes, source, NETWORKS, "source network\nnever changes; eval mode", SOURCE, two, 0.8)
    _box(axes, student, NETWORKS, "student\nlearns; train mode", STUDENT, two, 0.8)
    _box(
        axes,
        COLUMNS["nearest"],
        NETWORKS,
        "memory\nfollows slowly;\ntrain mode",
        MEMORY,
        BOX_WIDTH,
        0.8,
    )
    memory_side = COLUMNS["nearest"] - BOX_WIDTH / 2
    _arrow(axes, (memory_side - 0.15, NETWORKS), (memory_side, NETWORKS))


def _signals(axes: plt.Axes) -> None:
    """What the losses take: one box above each column of the table."""
    _row_name(axes, SIGNALS, "becomes")
    texts = {
        "label": ("pseudo-label $\\hat{y}$,\nclass weight $w$", SOURCE),
        "importance": ("importance\n$I = 1 - s_2/s_1$", SOURCE),
        "prediction": ("prediction\n$p = $softmax$(z)$", STUDENT),
        "similarity": ("similarity\n$S = \\cos(f, \\rho)$", PLAIN),
        "nearest": ("nearest\nprototype $\\hat{c}$", PLAIN),
    }
    for column, (text, color) in texts.items():
        _box(axes, COLUMNS[column], SIGNALS, text, color)
        if column != "nearest":
            _arrow(axes, (COLUMNS[column], OUTPUTS - 0.37), (COLUMNS[column], SIGNALS + 0.37))
    half = BOX_WIDTH / 2
    from_prototypes = (COLUMNS["nearest"] - half / 2, OUTPUTS - 0.37)
    _arrow(axes, from_prototypes, (COLUMNS["similarity"] + half / 2, SIGNALS + 0.37))
    _arrow(axes, (COLUMNS["similarity"] + half, SIGNALS), (COLUMNS["nearest"] - half, SIGNALS))


def _losses(axes: plt.Axes) -> None:
    """The table: a row for each term of the objective."""
    right = COLUMNS["nearest"] + BOX_WIDTH / 2
    last = FIRST_LOSS - LOSS_STEP * (len(LOSSES) - 1)
    for x in COLUMNS.values():
        axes.plot([x, x], [SIGNALS - 0.37, last], color="0.85", linewidth=1, zorder=0)
    for place, loss in enumerate(LOSSES):
        y = FIRST_LOSS - LOSS_STEP * place
        axes.plot([0.15, right], [y - LOSS_STEP / 2] * 2, color="0.85", linewidth=1, zorder=0)
        axes.text(
            0.15, y + 0.11, f"{loss.factor:g} $\\cdot\\ {loss.symbol}$", fontsize=11.5, va="center"
        )
        axes.text(0.15, y - 0.14, loss.words, fontsize=9, va="center", color="0.25")
        for column in loss.constants:
            axes.plot(COLUMNS[column], y, marker="o", **MARKS["constant"])
        axes.plot(COLUMNS[loss.gradient], y, marker="D", **MARKS["gradient"])


def _key(axes: plt.Axes) -> None:
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            marker="D",
            label="gradient passes, back into the student",
            **MARKS["gradient"],
        ),
        Line2D([], [], linestyle="", marker="o", label="taken as a constant", **MARKS["constant"]),
        Line2D([], [], linestyle="dashed", color="0.3", label="BatchNorm statistics only"),
    ]
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.0, 0.075),
        ncols=3,
        frameon=False,
        fontsize=9,
        columnspacing=1.4,
    )
    axes.text(
        0.15,
        0.4,
        "The loss is the sum of the five rows, with the published weights. "
        "A gradient on $S$ reaches layers 1 to 3 of the\nstudent only, "
        "one on $p$ all of it. $L_{PS2}$ takes from the prediction no more than its class.",
        fontsize=9,
        va="center",
        linespacing=1.5,
    )


def _row_name(axes: plt.Axes, y: float, text: str) -> None:
    axes.text(0.15, y, text, fontsize=10, va="center", color="0.25")


def _box(
    axes: plt.Axes,
    x: float,
    y: float,
    text: str,
    color: tuple[float, float, float],
    width: float = BOX_WIDTH,
    height: float = 0.74,
    style: str = "solid",
) -> None:
    corner = (x - width / 2, y - height / 2)
    round_corners = "round,pad=0,rounding_size=0.08"
    axes.add_patch(
        FancyBboxPatch(
            corner,
            width,
            height,
            round_corners,
            facecolor=(*color, 0.18),
            edgecolor=color,
            linewidth=1.4,
            linestyle=style,
        )
    )
    axes.text(x, y, text, fontsize=9.5, ha="center", va="center", linespacing=1.3)


def _arrow(
    axes: plt.Axes, start: tuple[float, float], end: tuple[float, float], style: str = "solid"
) -> None:
    arrow = dict(
        arrowstyle="-|>", color="0.3", linewidth=1.3, linestyle=style, shrinkA=0, shrinkB=0
    )
    axes.annotate("", end, start, arrowprops=arrow)
