"""Charts of one run: scores, curves and distributions."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from iapc_lib.classes import PALETTE
from iapc_lib.method.objective import TERMS

COLORS = ["#0173b2", "#de8f05", "#029e73", "#cc78bc", "#56b4e9"]
COLORS += ["#ca9161", "#949494", "#d55e00", "#fbafe4", "#ece133"]
"""seaborn's palette `colorblind`, its two oranges apart; seaborn itself takes a second to import."""
RIGHT, WRONG = COLORS[0], COLORS[1]


def _axes(width: float = 7.0, height: float = 3.2) -> plt.Axes:
    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def curves(
    lines: pd.DataFrame | Mapping[str, pd.Series],
    x: str,
    y: str,
    levels: Mapping[str, float] | None = None,
    marker: str = "",
) -> Figure:
    """Lines over their indices, and dashed levels.

    Args:
        lines: numbers by name; each may have an index of its own.
        x: name of the axis.
        y: the same.
        levels: values by name that have no index, such as scores of rows that are not trained.
        marker: matplotlib's, at every value; for lines of few values.
    """
    axes = _axes()
    for number, (name, line) in enumerate(lines.items()):
        axes.plot(
            line.index, line, marker=marker, lw=1.6, color=COLORS[number % len(COLORS)], label=name
        )
    for number, (name, value) in enumerate((levels or {}).items()):
        axes.axhline(value, color=str(0.2 + 0.6 * number / len(levels)), linestyle="--", label=name)
    axes.set(xlabel=x, ylabel=y)
    if any(len(line.get_xdata()) for line in axes.lines):
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    else:
        axes.text(0.5, 0.5, "no values", ha="center", transform=axes.transAxes)
    return axes.figure


def color_histograms(pixels: Mapping[str, np.ndarray]) -> Figure:
    """Distribution of red, green and blue by data set; pixels are (P, 3) uint8 each."""
    figure, grid = plt.subplots(1, 3, figsize=(10, 2.6), sharey=True, layout="constrained")
    for channel, (axes, name) in enumerate(zip(grid, ("red", "green", "blue"), strict=True)):
        for number, (label, values) in enumerate(pixels.items()):
            axes.hist(
                values[:, channel],
                np.arange(0, 257, 8),
                density=True,
                histtype="step",
                linewidth=1.6,
                color=COLORS[number],
                label=label,
            )
        axes.set(xlabel=f"{name} (grey levels)", xlim=(0, 255))
    grid[0].set_ylabel("density")
    grid[0].legend()
    return figure


def confusion_map(confusion: np.ndarray, names: Sequence[str]) -> Figure:
    """What every true class (row) is called, in per cent of its pixels; absent classes stay empty.

    Args:
        confusion: (K, K) counts, rows are the truth.
        names: of the K classes.
    """
    import seaborn as sns

    with np.errstate(invalid="ignore"):
        shares = 100 * confusion / confusion.sum(axis=1, keepdims=True)
    figure, axes = plt.subplots(figsize=(7.2, 6.2), layout="constrained")
    sns.heatmap(
        pd.DataFrame(shares, names, names),
        ax=axes,
        cmap="cividis",
        vmin=0,
        vmax=100,
        square=True,
        cbar_kws={"label": "share of the true class's pixels (%)"},
    )
    axes.set(xlabel="predicted", ylabel="true")
    axes.tick_params(labelsize=8)
    return figure


def symbol(term: str) -> str:
    """A term of `method.objective.TERMS` as it stands in formulas."""
    return "$L_{" + TERMS[term].removeprefix("L_") + "}$"


def loss_terms(history: Sequence[Mapping[str, Any]], window: int = 20) -> Figure:
    """Running means by step: a panel from 0 for each weighted term, one for importance and agreement."""
    frame = pd.DataFrame([e for e in history if "loss" in e]).set_index("step")
    means = frame.rolling(window, min_periods=1).mean()
    terms = [name for name in TERMS if name in means]
    panels = len(terms) + 1
    figure, grid = plt.subplots(1, panels, figsize=(10, 2.3), layout="constrained", sharex=True)
    for axes, term, color in zip(grid, terms, COLORS, strict=False):
        axes.plot(means[term], color=color)
        change = means[term].iloc[-1] / means[term].iloc[0] - 1
        axes.set_title(f"{symbol(term)}  {change:+.0%}")
        axes.set_ylim(0, 1.1 * means[term].max())
    grid[0].set_ylabel("weighted term")
    grid[-1].plot(means["importance"], color="0.3", label="importance")
    grid[-1].plot(means["agreement"], color="0.6", label="agreement")
    grid[-1].set_ylim(0, 1)
    grid[-1].legend()
    figure.supxlabel("update")
    return figure


def gradient_norms(norms: pd.DataFrame) -> Figure:
    """Length of every loss term's gradient (index, its symbol or words) in every part (columns).

    Bright is strong, on a logarithmic scale; cells without a gradient stay empty.
    """
    import seaborn as sns

    axes = _axes(8.6, 0.45 * len(norms) + 0.8)
    strength = np.log10(norms.where(norms > 0))
    sns.heatmap(strength, ax=axes, cmap="cividis", cbar=False, linewidths=1, annot=norms, fmt=".2g")
    axes.set_yticklabels([symbol(t) if t in TERMS else t for t in norms.index], rotation=0)
    axes.set_xticklabels([name.replace(" ", "\n", 1) for name in norms.columns], rotation=0)
    axes.set(xlabel="part of the network", ylabel="")
    axes.tick_params(length=0)
    return axes.figure


def dots_by_class(
    table: pd.DataFrame, label: str, limits: tuple[float, float], ticks: pd.Series | None = None
) -> Figure:
    """The rows of a table as dots on one line a class (its columns).

    Args:
        table: numbers, columns are class names.
        label: of the value, for the axis.
        limits: of the axis; dots beyond it are not shown.
        ticks: one more value a class, marked by a stroke; its name is in the legend.
    """
    axes = _axes(8, 0.26 * table.shape[1] + 0.8)
    lines = range(table.shape[1])
    axes.hlines(lines, table.min(), table.max(), color="0.8", linewidth=3, zorder=1)
    for color, (row, values) in zip(itertools.cycle(COLORS), table.iterrows(), strict=False):
        axes.plot(values, lines, "o", color=color, label=row, markersize=6)
    if ticks is not None:
        axes.plot(ticks, lines, "|", color="0.2", label=ticks.name, markersize=11, mew=1.6)
    axes.set_yticks(lines, table.columns)
    axes.set(xlabel=label, xlim=limits, ylim=(table.shape[1] - 0.5, -0.5))
    axes.legend(ncol=3, loc="lower left", bbox_to_anchor=(0, 1))
    return axes.figure


def histogram_right_wrong(
    values: np.ndarray, right: np.ndarray, name: str, limits: tuple[float, float] = (0, 1)
) -> Figure:
    """How many of the pixels that are right, and of those that are wrong, have a value.

    Args:
        values: (P,) float.
        right: (P,) bool.
        name: of the value, for the axis.
        limits: range shown; values beyond it are counted in the outermost bins.
    """
    axes = _axes(6, 3)
    clipped, bins = np.clip(values, *limits), np.linspace(*limits, 41)
    for chosen, color, label in ((right, RIGHT, "right"), (~right, WRONG, "wrong")):
        axes.hist(clipped[chosen], bins, color=color, alpha=0.55, label=label)
    axes.set(xlabel=name, ylabel="pixels")
    axes.legend(title="pseudo-label")
    return axes.figure


def reliability(values: Mapping[str, np.ndarray], right: np.ndarray, bins: int = 10) -> Figure:
    """Share of right pixels by value, in bins of equal width within 0..1.

    Args:
        values: (P,) float within 0..1 by name; others are clipped.
        right: (P,) bool.
        bins: number of bins.
    """
    axes = _axes(7, 3.8)
    edges = np.linspace(0, 1, bins + 1)
    for number, (name, value) in enumerate(values.items()):
        place = np.clip(np.digitize(value, edges) - 1, 0, bins - 1)
        share = pd.Series(right).groupby(place).mean()
        axes.plot(
            (share.index + 0.5) / bins,
            share,
            marker="o",
            color=COLORS[number % len(COLORS)],
            label=name,
        )
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="as often as it says")
    name = next(iter(values)) if len(values) == 1 else "value"
    axes.set(xlabel=name, ylabel="share of right pseudo-labels", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return axes.figure


def roc(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """How well values find the right pixels: rates over all thresholds, with the line of a guess.

    Args:
        curves: by name: share of the wrong pixels that pass, and of the right ones, (T,) each.
    """
    axes = _axes(7.6, 4.6)
    for number, (name, (wrong, right)) in enumerate(curves.items()):
        axes.plot(wrong, right, color=COLORS[number % len(COLORS)], linewidth=1.6, label=name)
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="a guess")
    axes.set(
        xlabel="share of the wrong pixels that pass",
        ylabel="share of the right pixels that pass",
        aspect="equal",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return axes.figure


def feature_planes(
    planes: Mapping[str, np.ndarray], labels: np.ndarray, names: Mapping[int, str]
) -> Figure:
    """Places of the same pixels in several planes, side by side, in the colours of their classes.

    Args:
        planes: (P, 2) float by title.
        labels: (P,) train ids.
        names: of classes that are written into the planes, at the medians of their pixels.
    """
    figure, grid = plt.subplots(
        1, len(planes), figsize=(4.8 * len(planes), 4.6), squeeze=False, layout="constrained"
    )
    for axes, (title, places) in zip(grid.flat, planes.items(), strict=True):
        axes.scatter(*places.T, s=9, color=PALETTE[labels] / 255, linewidths=0)
        for train_id, name in names.items():
            if (labels == train_id).any():
                x, y = np.median(places[labels == train_id], axis=0)
                halo = [withStroke(linewidth=2, foreground="white")]
                look = {"ha": "center", "va": "center", "fontsize": 9, "path_effects": halo}
                axes.text(x, y, name, **look)
        axes.set(title=title, xticks=[], yticks=[])
    return figure


def agreement_by_class(shares: pd.DataFrame) -> Figure:
    """Shares by class (index) for the columns given, in per cent, as horizontal bars."""
    axes = _axes(7, 0.36 * len(shares) + 0.8)
    if shares.empty:  # pandas draws no empty table
        return axes.figure
    shares.plot.barh(ax=axes, color=COLORS, width=0.8)
    axes.invert_yaxis()  # classes and bars in the order of the table, from the top
    for bars in axes.containers:  # what is there and zero must not pass for missing
        zero = [value == 0 for value in bars.datavalues]
        axes.bar_label(bars, ["0 %" if z else "" for z in zero], padding=2, fontsize=8)
    axes.set(xlabel="share of pixels (%)", ylabel="", xlim=(0, 100))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return axes.figure
