"""A small line chart as SVG: made in a millisecond, crisp at every size."""

import html
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 272, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 10, 22, 20  # pixels around the axes
_LINE = 15  # pixels a line of the legend


class Curve(NamedTuple):
    """One line of a chart."""

    name: str
    points: Sequence[tuple[float, float]]
    """(x, y), by rising x; may be empty."""
    color: str
    """Of CSS."""
    dots: bool = False
    """Whether the points are marked: where they are few and measured."""
    dashes: str = ""
    """SVG's `stroke-dasharray`, to tell lines apart without colour."""


def line_chart(title: str, curves: Sequence[Curve], marked: float, from_zero: bool = False) -> str:
    """HTML: a chart with its title above, its legend beneath, and one x marked by a line.

    The legend gives every curve's value at the marked x, or at the last one before it.

    Args:
        title: above it.
        curves: one legend line each.
        marked: the x.
        from_zero: whether the y axis begins at 0, so that noise does not look like movement.
    """
    points = [point for curve in curves for point in curve.points]
    if not points:
        return ""
    xs, ys = zip(*points, strict=True)
    room = 1e-3 * max(abs(min(ys)), abs(max(ys)))  # a flat curve's ticks would read alike
    ticks = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(min(ys) - room, max(ys) + room)
    if from_zero and min(ys) >= 0:
        ticks = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(0, max(ys) + room)
    first, last = min(xs), max(*xs, marked, min(xs) + 1)
    low, high = ticks[0], ticks[-1]

    def x_of(x: float) -> float:
        return _LEFT + (x - first) / (last - first) * (WIDTH - _LEFT - _RIGHT)

    def y_of(y: float) -> float:
        return HEIGHT - _BOTTOM - (y - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    parts = [f'<text x="{_LEFT}" y="13" font-weight="bold">{html.escape(title)}</text>']
    for tick in ticks:
        y = y_of(tick)
        parts.append(
            f'<path d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}" stroke="#ddd"/>'
            f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{tick:.4g}</text>'
        )
    for x, anchor in ((first, "start"), (last, "end")):
        parts.append(
            f'<text x="{x_of(x):.1f}" y="{HEIGHT - 5}" text-anchor="{anchor}">{x:g}</text>'
        )
    parts.append(
        f'<text x="{(WIDTH + _LEFT) / 2}" y="{HEIGHT - 5}" text-anchor="middle">step</text>'
        f'<path d="M{x_of(marked):.1f} {_TOP}V{HEIGHT - _BOTTOM}" stroke="currentColor" '
        'stroke-dasharray="2 2"/>'
    )
    said = []
    for curve in curves:
        where = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in curve.points)
        parts.append(
            f'<polyline points="{where}" fill="none" stroke="{curve.color}" stroke-width="2" '
            f'stroke-dasharray="{curve.dashes}"/>'
        )
        known = [point for point in curve.points if point[0] <= marked]
        for x, y in curve.points if curve.dots else known[-1:]:
            parts.append(
                f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="3" fill="{curve.color}"/>'
            )
        value = f"{known[-1][1]:.4g}" if known else "not known here"
        said.append(f"{curve.name}: {value}")
        y = HEIGHT + _LINE * len(said)
        parts.append(
            f'<path d="M{_LEFT} {y - 4}h20" stroke="{curve.color}" stroke-width="2" '
            f'stroke-dasharray="{curve.dashes}"/>'
            f'<text x="{_LEFT + 26}" y="{y}">{html.escape(said[-1])}</text>'
        )
    height = HEIGHT + _LINE * len(curves) + 6
    label = html.escape(f"{title}; at step {marked:g}: {'; '.join(said)}")
    return (
        f'<svg role="img" aria-label="{label}" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12" '
        f'fill="currentColor">{"".join(parts)}</svg>'
    )
