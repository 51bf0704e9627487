"""What drawings are made of: boxes with words, arrows, and words alone, in inches."""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

from iapc_lib.figures.charts import COLORS

SOURCE, STUDENT, MEMORY = COLORS[:3]
"""The colours of the three networks in all drawings."""
BOTH, LINES, WORDS, FADED, UNLIT = "0.45", "0.3", "0.1", "0.65", "0.8"


class Canvas:
    """An empty figure whose coordinates are inches.

    Args:
        width: of the figure.
        height: of the figure.
    """

    def __init__(self, width: float, height: float):
        self.figure = plt.figure(figsize=(width, height))
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
        self.axes.set_axis_off()

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        text: str = "",
        color: str = BOTH,
        style: str = "solid",
        lit: bool = True,
    ) -> None:
        """A rounded box around its middle (x, y); one that is not lit is grey."""
        self.axes.add_patch(
            FancyBboxPatch(
                (x - width / 2, y - height / 2),
                width,
                height,
                "round,pad=0,rounding_size=0.08",
                facecolor=(color, 0.18) if lit else "white",
                edgecolor=color if lit else UNLIT,
                linewidth=1.5 if lit else 1.0,
                linestyle=style,
            )
        )
        self.words(x, y, text, color=WORDS if lit else FADED)

    def words(self, x: float, y: float, text: str, **look: Any) -> None:
        """Words around (x, y)."""
        look = dict(ha="center", va="center", fontsize=9.5, linespacing=1.3, color=WORDS) | look
        if text:
            self.axes.text(x, y, text, **look)

    def arrow(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        style: str = "solid",
        color: str = LINES,
    ) -> None:
        """A straight arrow between two points."""
        look = dict(arrowstyle="-|>", color=color, linewidth=1.3, linestyle=style)
        self.axes.annotate("", end, start, arrowprops=look | dict(shrinkA=0, shrinkB=0))

    def line(self, xs: list[float], ys: list[float], **look: Any) -> None:
        """A line through points."""
        self.axes.plot(xs, ys, **(dict(color=LINES, linewidth=1.3) | look))
