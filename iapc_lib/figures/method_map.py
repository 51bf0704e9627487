"""The map of the method: which network sees which view, and which loss needs what.

Read from top to bottom: views of a target image, networks, what they give, what becomes of it,
and a table that says which loss takes it, as a constant or with a gradient (method.md, 4). The
notebooks open with a small one, in which their own part is lit.
"""

from collections.abc import Collection
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from iapc_lib.figures.canvas import BOTH, FADED, MEMORY, SOURCE, STUDENT, UNLIT, WORDS, Canvas
from iapc_lib.method.settings import Losses

BOX_WIDTH = 1.2

MARKS = {
    "constant": dict(marker="o", markersize=9, color="white", markeredgewidth=1.6),
    "gradient": dict(marker="D", markersize=10, color=STUDENT, markeredgewidth=1.2),
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

PARTS = {
    "data": {"views"},
    "source network": {"source"},
    "pseudo-labels": {"label"},
    "importance": {"importance", "L_{IA}"},
    "prototypes": {"memory", "similarity", "nearest", "L_{PE}", "L_{PS1}", "L_{PS2}"},
    "student": {"student"},
}
"""What is lit of the small map, by the notebook's part; one that is not here lights all."""


class _Map(Canvas):
    """A canvas with columns, of which a part is lit.

    Args:
        size: (width, height).
        columns: place of the middle of every column.
        lit: names of what is lit; None lights all.
    """

    def __init__(
        self,
        size: tuple[float, float],
        columns: dict[str, float],
        lit: Collection[str] | None = None,
    ):
        super().__init__(*size)
        self.columns, self.lit = columns, lit

    def is_lit(self, *names: str) -> bool:
        return self.lit is None or not self.lit.isdisjoint(names)

    def over(
        self,
        columns: str,
        y: float,
        text: str,
        color: str,
        *names: str,
        height: float = 0.74,
        style: str = "solid",
    ) -> None:
        """A box over one or several columns, lit where one of its names is."""
        xs = [self.columns[column] for column in columns.split()]
        width, middle = max(xs) - min(xs) + BOX_WIDTH, (max(xs) + min(xs)) / 2
        self.box(middle, y, width, height, text, color, style, self.is_lit(*names))

    def join(
        self, start: tuple[float | str, float], end: tuple[float | str, float], style="solid"
    ) -> None:
        """An arrow between two points, (column name or inches, inches)."""
        ends = [(self.columns.get(x, x), y) for x, y in (start, end)]
        self.arrow(*ends, style, "0.3" if self.lit is None else "0.6")

    def row_name(self, y: float, text: str) -> None:
        self.axes.text(0.12, y, text, fontsize=10, va="center", color="0.25")

    def losses(self, top: float, first: float, step: float, dropped: Collection[str] = ()) -> None:
        """The table: a row for each term of the objective; dropped ones are crossed out.

        Rows of half an inch have their published weights.
        """
        right = max(self.columns.values()) + BOX_WIDTH / 2
        used = {c for loss in LOSSES for c in (*loss.constants, loss.gradient)}
        for column in used:
            x, last = self.columns[column], first - step * (len(LOSSES) - 1)
            self.axes.plot([x, x], [top, last], color="0.88", linewidth=1, zorder=0)
        for place, loss in enumerate(LOSSES):
            y = first - step * place
            lit = self.is_lit(loss.symbol) and loss.symbol not in dropped
            words = dict(va="center", color=WORDS if lit else FADED)
            self.axes.plot([0.12, right], [y - step / 2] * 2, color="0.88", linewidth=1, zorder=0)
            if step > 0.5:
                weighted = f"{loss.factor:g} $\\cdot\\ {loss.symbol}$"
                self.axes.text(0.12, y + 0.11, weighted, fontsize=11.5, **words)
                self.axes.text(0.12, y - 0.14, loss.words, fontsize=9, **words)
            else:
                self.axes.text(0.12, y, f"${loss.symbol}$", fontsize=11.5, **words)
                self.axes.text(0.6, y, loss.words, fontsize=9, **words)
            takes = {column: "constant" for column in loss.constants}
            for column, kind in {**takes, loss.gradient: "gradient"}.items():
                mark = MARKS[kind] | dict(markeredgecolor="0.2" if lit else UNLIT)
                if not lit:
                    mark |= dict(color="white")
                self.axes.plot(self.columns[column], y, **mark)
            if loss.symbol in dropped:
                self.axes.plot([0.12, right], [y, y], color="0.35", linewidth=1.2)


def method_map() -> Figure:
    """The map of the method on one page, for the site and print."""
    xs = (2.3, 3.6, 4.9, 6.2, 7.5, 9.5)
    names = ("label", "importance", "prediction", "similarity", "clean", "nearest")
    columns = dict(zip(names, xs, strict=True))
    views, networks, gives, becomes = 8.9, 7.6, 6.25, 4.95
    drawing = _Map((10.2, 9.4), columns)
    for y, text in (
        (views, "view of a\ntarget image"),
        (networks, "network"),
        (gives, "gives"),
        (becomes, "becomes"),
    ):
        drawing.row_name(y, text)

    drawing.over("label", views, "whole image,\nthree scales,\nmirrored too", SOURCE)
    drawing.over("importance", views, "rescaled\nview", SOURCE)
    drawing.over(
        "prediction similarity",
        views,
        "augmented view:\nthe rescaled view in other colours",
        STUDENT,
    )
    drawing.over("clean", views, "clean view of\nanother image", STUDENT, style="dashed")
    drawing.over("nearest", views, "plain view", MEMORY)
    drawing.over("label importance", networks, "source network\nnever changes; eval mode", SOURCE)
    drawing.over("prediction similarity clean", networks, "student\nlearns; train mode", STUDENT)
    drawing.over("nearest", networks, "memory\nnetwork;\ntrain mode", MEMORY)
    drawing.over("label", gives, "summed\nprobabilities,\nmade once", SOURCE)
    drawing.over("importance", gives, "logits", SOURCE)
    drawing.over("prediction", gives, "logits $z$", STUDENT)
    drawing.over("similarity", gives, "features $f$", STUDENT)
    drawing.over("clean", gives, "BatchNorm\nstatistics,\nno gradient", STUDENT, style="dashed")
    drawing.over("nearest", gives, "features and\nown labels", MEMORY)
    drawing.over("label", becomes, "pseudo-label $\\hat{y}$,\nclass weight $w$", SOURCE)
    drawing.over("importance", becomes, "importance\n$I = 1 - s_2/s_1$", SOURCE)
    drawing.over("prediction", becomes, "prediction\n$p = $softmax$(z)$", STUDENT)
    drawing.over("similarity", becomes, "similarity\n$S = \\cos(f, \\rho)$", BOTH)
    drawing.over("clean", becomes, "prototypes $\\rho$:\nmean feature\nof each class", MEMORY)
    drawing.over("nearest", becomes, "nearest\nprototype $\\hat{c}$", BOTH)

    half, middle = BOX_WIDTH / 2, (columns["prediction"] + columns["similarity"]) / 2
    for column in ("label", "importance", "clean", "nearest"):
        style = "dashed" if column == "clean" else "solid"
        drawing.join((column, views - 0.37), (column, networks + 0.37), style)
        drawing.join((column, networks - 0.37), (column, gives + 0.37), style)
    drawing.join((middle, views - 0.37), (middle, networks + 0.37))
    for column in ("prediction", "similarity"):
        drawing.join((column, networks - 0.37), (column, gives + 0.37))
    for column in ("label", "importance", "prediction", "similarity"):
        drawing.join((column, gives - 0.37), (column, becomes + 0.37))
    drawing.join(
        (columns["nearest"] - half + 0.2, gives - 0.37),
        (columns["clean"] + half - 0.2, becomes + 0.37),
    )
    drawing.join((columns["clean"] - half, becomes), (columns["similarity"] + half, becomes))
    follows = columns["clean"] + half, columns["nearest"] - half
    drawing.join((follows[0], networks + 0.12), (follows[1], networks + 0.12))
    drawing.join((follows[0], gives), (follows[1], networks - 0.25), "dashed")
    for x, y, text in ((8.5, networks + 0.38, "moving\naverage"), (8.59, gives + 0.26, "copied")):
        drawing.words(x, y, text, fontsize=9, color="0.3")
    _nearest(drawing, becomes)
    drawing.losses(becomes - 0.37, 3.85, 0.56)
    _key(drawing.axes)
    return drawing.figure


def small_map(part: str | None = None, dropped: Collection[str] = ()) -> Figure:
    """The map for the head of a notebook: networks, what they give, and the losses.

    Args:
        part: a key of `PARTS`, which is lit; None lights all.
        dropped: symbols of `LOSSES` that a variant leaves out; they are crossed out.
    """
    xs = (2.35, 3.65, 4.95, 6.25, 7.55)
    names = ("label", "importance", "prediction", "similarity", "nearest")
    lit = PARTS[part] if part else None
    drawing = _Map((8.25, 4.45), dict(zip(names, xs, strict=True)), lit)
    views, networks, becomes = 4.15, 3.4, 2.55
    low, high = 0.44, 0.5
    for y, text in ((views, "target image"), (networks, "network"), (becomes, "gives")):
        drawing.row_name(y, text)
    boxes = {
        (views, low): (
            ("label", "six views", SOURCE, "views", "label"),
            ("importance", "rescaled", SOURCE, "views", "importance"),
            ("prediction similarity", "rescaled, in other colours", STUDENT, "views", "student"),
            ("nearest", "plain", MEMORY, "views", "memory"),
        ),
        (networks, low): (
            ("label importance", "source network", SOURCE, "source", "label", "importance"),
            ("prediction similarity", "student", STUDENT, "student"),
            ("nearest", "memory", MEMORY, "memory"),
        ),
        (becomes, high): (
            ("label", "pseudo-label\n$\\hat{y}$", SOURCE, "label"),
            ("importance", "importance\n$I$", SOURCE, "importance"),
            ("prediction", "prediction\n$p$", STUDENT, "student"),
            ("similarity", "similarity to\nprototypes $S$", BOTH, "similarity"),
            ("nearest", "nearest\nprototype $\\hat{c}$", BOTH, "nearest"),
        ),
    }
    for (y, height), row in boxes.items():
        for columns, text, color, *parts in row:
            drawing.over(columns, y, text, color, *parts, height=height)
    middle = (drawing.columns["prediction"] + drawing.columns["similarity"]) / 2
    for column in ("label", "importance", middle, "nearest"):
        drawing.join((column, views - low / 2), (column, networks + low / 2))
    for column in ("label", "importance", "prediction", "similarity"):
        drawing.join((column, networks - low / 2), (column, becomes + high / 2))
    half = BOX_WIDTH / 2
    memory_side = drawing.columns["nearest"] - half
    drawing.join((memory_side - 0.1, networks), (memory_side, networks))
    drawing.join(
        (memory_side + 0.2, networks - low / 2),
        (drawing.columns["similarity"] + half - 0.2, becomes + high / 2),
    )
    drawing.join((memory_side - 0.1, becomes), (memory_side, becomes))
    drawing.losses(becomes - high / 2, 1.95, 0.38, dropped)
    return drawing.figure


def _nearest(drawing: _Map, y: float) -> None:
    """From the similarity, past the prototypes, to the nearest of them."""
    start, end = drawing.columns["similarity"], drawing.columns["nearest"]
    low = y - 0.52
    drawing.line([start + 0.3, start + 0.3, end], [y - 0.37, low, low])
    drawing.join((end, low), (end, y - 0.37))


def _key(axes: Axes) -> None:
    marks = {
        "gradient passes, back into the student": MARKS["gradient"],
        "taken as a constant": MARKS["constant"],
    }
    handles = [
        Line2D([], [], linestyle="", label=label, markeredgecolor="0.2", **mark)
        for label, mark in marks.items()
    ]
    handles.append(Line2D([], [], linestyle="dashed", color="0.3", label="BatchNorm statistics"))
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
        0.12,
        0.42,
        "The loss is the sum of the five rows, with the published weights; $w$ is counted in each "
        "batch. A gradient on $S$ reaches layers 1 to 3\nof the student only, "
        "one on $p$ all of it. $L_{PS2}$ takes from the prediction no more than its class.",
        fontsize=9,
        va="center",
        linespacing=1.5,
    )
